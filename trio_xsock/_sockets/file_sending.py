"""``FileSend``: sends a file as one send, with ``sendfile`` where possible.

A file is a ticket in the ledger like any other bytes, so progress, batches and cancellation are
those of every send. Where the kernel does not take the file (TLS, a pipe, a file system without
``sendfile``), or says that it has ended, the ticket is fed with pieces read in a thread.

To send what is still on a disk would stop the event loop until it is read. What may not be in
memory is read in a thread first, and dropped; then the kernel has it, and sends it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import TYPE_CHECKING, TypeVar

import trio

from trio_xsock._engine.connection import Connection
from trio_xsock._engine.reasons import check_sending, why_removed
from trio_xsock._engine.requests import end_ticket, remove
from trio_xsock._machines.ledger import FileRange, Ticket
from trio_xsock._network.file_sending import kernel_sends_files
from trio_xsock._network.file_source import PIECE, FileSource
from trio_xsock._network.page_cache import PageCache
from trio_xsock._runtime.guard import protect_from_ki
from trio_xsock._values.errors import SocketError

from .sending import see_through

if TYPE_CHECKING:
    from .facts import ConnectionFacts

T = TypeVar("T")


@protect_from_ki
class FileSend:
    """One ``send_file``.

    Args:
        connection: where to.
        source: the file.
        socket: the socket.
    """

    __slots__ = ("_cache", "_connection", "_socket", "_source", "_ticket")

    def __init__(self, connection: Connection, source: FileSource, socket: ConnectionFacts) -> None:
        self._connection = connection
        self._source = source
        self._socket = socket
        self._cache: PageCache | None = None
        self._ticket: Ticket | None = None

    async def run(self) -> int:
        """Send it; returns how many bytes were sent."""
        source, first = self._source, b""
        if source.size is None:
            first = await self._read_piece(PIECE)
        if not (source.size or first):
            await trio.lowlevel.checkpoint()
            return 0
        self._ticket = ticket = self._queue(first)
        await self._pass_through(ticket)
        return ticket.sent

    def give_up(self) -> None:
        """Remove the rest of it from the queue."""
        if self._ticket is not None:
            remove(self._connection, self._ticket)

    def _queue(self, first: bytes) -> Ticket:
        ledger, source = self._connection.outlet.ledger, self._source
        if source.size is None:
            ticket = ledger.announce(0)
            ticket.held = True
            ledger.extend(ticket, first)
            return ticket
        if source.fileno >= 0 and kernel_sends_files(self._connection.transport):
            self._cache = PageCache(source.fileno)
            self._connection.outlet.ask_before_sending_files(self._cache)
            return ledger.reserve_file(FileRange(source.fileno, source.position, source.size))
        return ledger.announce(source.size)

    async def _pass_through(  # noqa: ASYNC910 - there is something to wait for
        self, ticket: Ticket
    ) -> None:
        """Wait while the kernel sends, or the first piece goes; then read and feed the rest."""
        connection, source = self._connection, self._source
        begin = source.position
        if not ticket.idle:
            await trio.lowlevel.checkpoint_if_cancelled()
            await see_through(self._socket, connection, ticket)
            if not ticket.held:
                source.position = begin + ticket.sent
        while ticket.left or ticket.held:
            if ticket.removed:  # when its last piece had just gone
                raise why_removed(connection, ticket, self._socket)
            if ticket.is_file_aside:
                await self._load(ticket)
                await see_through(self._socket, connection, ticket)
                source.position = begin + ticket.sent
                continue
            piece = await self._read_piece(PIECE if ticket.held else min(PIECE, ticket.left))
            if not piece:
                self._end_of_file(ticket)
                break
            if ticket.held:
                connection.outlet.ledger.extend(ticket, piece)
            else:
                ticket.feed(piece)
            await see_through(self._socket, connection, ticket)

    async def _load(self, ticket: Ticket) -> None:
        """Have the kernel take the next bytes into its memory, for it to send them."""
        cache, source = self._cache, self._source
        assert cache is not None
        began = perf_counter()
        await self._unless_dropped(source.load, min(cache.ahead, ticket.left))
        cache.note_loaded(source.position + cache.ahead, perf_counter() - began)
        ticket.take_up_file()

    async def _read_piece(self, count: int) -> bytes:
        piece = await self._unless_dropped(self._source.read, count)
        if self._ticket is None:  # closing: nothing new is begun
            check_sending(self._connection, self._socket)
        return piece

    async def _unless_dropped(self, read: Callable[[int], Awaitable[T]], count: int) -> T:
        """Read, unless the send is dropped meanwhile; a pipe may block for ever."""
        connection, ticket = self._connection, self._ticket
        scope = trio.CancelScope()
        connection.outlet.waits.interrupt_on_drop(scope)
        try:
            with scope:
                result = await read(count)
                if not scope.cancel_called:
                    return result
        finally:
            connection.outlet.waits.interrupt_on_drop(None)
        raise why_removed(connection, ticket or Ticket(b"", 0), self._socket)

    def _end_of_file(self, ticket: Ticket) -> None:
        """The file has ended; too early if its length was known."""
        if not ticket.held:
            total = ticket.sent + ticket.left
            text = f"{self._socket!r}: the file ended after {ticket.sent} of {total} bytes"
            raise SocketError(text)
        end_ticket(self._connection, ticket)

"""``send_file``: a file goes out as one send, by the kernel itself where it can.

A file is a ticket in the ledger like any other bytes, so progress, batches and cancellation are
those of every send. Where the kernel does not take the file (TLS, a pipe, a file system without
``sendfile``), or says that it has ended, the ticket is fed with pieces read in a thread.

To send what is still on a disk would stop the event loop until it is read. What may not be in
memory is read in a thread first, and dropped; then the kernel has it, and sends it.
"""

from __future__ import annotations

import errno as errnos
import math
import os
import signal
import socket as stdlib_socket
import sys
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import TypeVar

import trio

from trio_xsock._machines.ledger import Chunk, FileRange, Ticket
from trio_xsock._network.file_source import PIECE, FileArgument, FileSource, open_source, source_of
from trio_xsock._network.page_cache import PageCache
from trio_xsock._runtime.guard import protect_from_ki
from trio_xsock._values.errors import SocketError

from .sending import SendCalls

T = TypeVar("T")

# What sendfile(2) says of the connection. All else may be the file's, and reading it will tell.
_CONNECTION_ERRORS = frozenset(
    {
        errnos.ECONNABORTED,
        errnos.ECONNRESET,
        errnos.EHOSTUNREACH,
        errnos.ENETDOWN,
        errnos.ENETUNREACH,
        errnos.ENOTCONN,
        errnos.EPIPE,
        errnos.ETIMEDOUT,
    }
)


@protect_from_ki
class FileCalls(SendCalls):
    """What a ``TCPSocket`` can do to send files."""

    __slots__ = ("_file_scope", "_page_cache")

    def _reset(self) -> None:
        super()._reset()
        self._file_scope: trio.CancelScope | None = None  # of reading a piece
        self._page_cache: PageCache | None = None  # of the file that the kernel sends

    async def send_file(
        self, file: FileArgument, *, offset: int = 0, count: int | None = None
    ) -> int:
        """Send a file, or a part of it, in constant memory.

        Args:
            file: a path, or a file opened for binary reading, which stays open; its position
                afterwards is not specified.
            offset: where to begin, in bytes from the beginning of the file.
            count: how many bytes to send; ``None`` for all there is from ``offset`` when the
                call begins, or until the end where that cannot be known (a pipe, and files in
                ``/proc`` and ``/sys``, which state another size than they have).

        Returns:
            How many bytes were sent; 0 if ``offset`` is past the end.

        Raises:
            SocketError: the file turned out shorter than ``count``, or than it was; the text
                says how many bytes went out. Also: ``abort_send()`` dropped some of it.
            OSError: what opening or reading the file said.
            OutOfMemoryError: the system starts no further thread, in which files are opened and
                read; the connection stays usable.
            TypeError, ValueError: not a binary file, or not such numbers.
            LostConnectionError, SocketClosedError, InvalidStateError, trio.BusyResourceError:
                as for ``send_all``.

        Cancellation: as for ``send_all``; the bytes that went out are in ``SendComplete``. Until
        a path is open, and until an endless file gives its first byte, nothing is queued. What a
        pipe of yours gave in that moment is lost, but not of one passed as a path.
        Slow disks: do not hold up the event loop; what is not in memory is read in a thread.
        Events: as for ``write``, one batch for the whole file.
        Source: sendfile(2).
        """
        source = source_of(file, offset, count)
        with self._send_conflict:
            try:
                self._check_sending()
                if source is None:
                    source = await open_source(file, offset, count)
                    self._check_sending()
                return await self._send_source(source)
            finally:
                if source is not None:
                    source.close()

    async def _send_source(self, source: FileSource) -> int:
        first = b""
        if source.size is None:
            first = await self._read_piece(source, PIECE, None)
        if not (source.size or first):
            await trio.lowlevel.checkpoint()
            return 0
        ticket = self._queue_file(source, first)
        try:
            await self._pass_through(ticket, source)
        except BaseException:
            self._remove(ticket)
            self._pump()
            raise
        await self._delivered()
        return ticket.sent

    def _queue_file(self, source: FileSource, first: bytes) -> Ticket:
        ledger = self._ledger
        if source.size is None:
            ticket = ledger.announce(0)
            ticket.held = True
            ledger.extend(ticket, first)
            return ticket
        if source.fileno >= 0 and self._kernel_sends_files():
            self._page_cache = PageCache(source.fileno)
            return ledger.reserve_file(FileRange(source.fileno, source.position, source.size))
        return ledger.announce(source.size)

    async def _pass_through(  # noqa: ASYNC910 - there is something to wait for
        self, ticket: Ticket, source: FileSource
    ) -> None:
        """Wait while the kernel sends, or the first piece goes; then read and feed the rest."""
        begin = source.position
        if not ticket.idle:
            await self._see_through(ticket, trio.current_effective_deadline() == -math.inf)
            if not ticket.held:
                source.position = begin + ticket.sent
        while ticket.left or ticket.held:
            if ticket.removed:  # when its last piece had just gone
                raise self._why_removed(ticket)
            if ticket.is_file_aside:
                await self._load(ticket, source)
                await self._see_through(ticket, cancelled=False)
                source.position = begin + ticket.sent
                continue
            wanted = PIECE if ticket.held else min(PIECE, ticket.left)
            piece = await self._read_piece(source, wanted, ticket)
            if not piece:
                self._end_of_file(ticket)
                break
            if ticket.held:
                self._ledger.extend(ticket, piece)
            else:
                ticket.feed(piece)
            await self._see_through(ticket, cancelled=False)

    async def _load(self, ticket: Ticket, source: FileSource) -> None:
        """Have the kernel take the next bytes into its memory, for it to send them."""
        cache = self._page_cache
        assert cache is not None
        began = perf_counter()
        await self._unless_dropped(source.load, min(cache.ahead, ticket.left), ticket)
        cache.note_loaded(source.position + cache.ahead, perf_counter() - began)
        ticket.take_up_file()

    async def _read_piece(self, source: FileSource, count: int, ticket: Ticket | None) -> bytes:
        piece = await self._unless_dropped(source.read, count, ticket)
        self._check_file_may_begin(ticket)
        return piece

    async def _unless_dropped(
        self, read: Callable[[int], Awaitable[T]], count: int, ticket: Ticket | None
    ) -> T:
        """Read, unless the send is dropped meanwhile; a pipe may let us wait for ever."""
        self._file_scope = scope = trio.CancelScope()
        try:
            with scope:
                result = await read(count)
                if not scope.cancel_called:
                    return result
        finally:
            self._file_scope = None
        raise self._why_removed(ticket or Ticket(b"", 0))

    def _check_file_may_begin(self, ticket: Ticket | None) -> None:
        if ticket is None:  # while closing, what is queued is still sent, but nothing new
            self._check_sending()

    def _drop_queue(self) -> None:
        super()._drop_queue()
        if self._file_scope is not None:
            self._file_scope.cancel("the send was dropped")

    def _end_of_file(self, ticket: Ticket) -> None:
        """The file has ended; where its length was known, too early."""
        if not ticket.held:
            total = ticket.sent + ticket.left
            raise SocketError(f"{self!r}: the file ended after {ticket.sent} of {total} bytes")
        ticket.held = False
        self._ledger.account(0)  # it leaves the queue
        self._queue_ran_empty()

    def _kernel_sends_files(self) -> bool:
        if sys.platform != "linux" or not self._transport_is_plain():
            return False
        # sendfile has no MSG_NOSIGNAL; where SIGPIPE would kill the program, we do without.
        return signal.getsignal(signal.SIGPIPE) is not signal.SIG_DFL

    def _transport_is_plain(self) -> bool:
        """Whether the descriptor takes the bytes as they are."""
        return isinstance(self._transport, stdlib_socket.socket)

    def _send_chunk(self, transport: stdlib_socket.socket, chunk: Chunk) -> int:
        if not isinstance(chunk, FileRange):
            return super()._send_chunk(transport, chunk)
        if not self._transport_is_plain():  # any more, since the file was queued
            return self._read_instead()
        cache = self._page_cache
        assert cache is not None
        size = cache.available(chunk.offset, chunk.size)
        if not size:  # to send it could wait for the disk
            return self._read_instead(for_now=True)
        try:
            sent = os.sendfile(transport.fileno(), chunk.fileno, chunk.offset, size)
        except (BlockingIOError, InterruptedError):
            raise
        except OSError as exc:
            if exc.errno in _CONNECTION_ERRORS:
                raise
            sent = 0
        return sent or self._read_instead()

    def _read_instead(self, *, for_now: bool = False) -> int:
        """The kernel does not send the file: its owner goes on by reading it.

        Args:
            for_now: the next piece only, for that may not be in memory.
        """
        assert self._ticket is not None
        if for_now:
            self._ticket.set_file_aside()
        else:
            self._ticket.give_up_file()
        self._sent_some()
        return 0

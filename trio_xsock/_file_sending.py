"""``send_file``: a file goes out as one send, by the kernel itself where it can.

A file is a ticket in the ledger like any other bytes, so progress, batches and cancellation are
those of every send. Where the kernel does not take the file (TLS, a pipe, a file system without
``sendfile``), or says that it has ended, the ticket is fed with pieces read in a thread.
"""

from __future__ import annotations

import errno as errnos
import math
import os
import signal
import socket as stdlib_socket
import sys

import trio

from ._errors import SocketError
from ._file_source import PIECE, FileArgument, FileSource, open_source
from ._guard import protect_from_ki
from ._ledger import Chunk, FileRange, Ticket
from ._sending import SendCalls

# sendfile(2): what says that this file, or this transport, is not for it.
_NOT_FOR_SENDFILE = frozenset(
    {errnos.EINVAL, errnos.ENOSYS, errnos.EOPNOTSUPP, errnos.EIO, errnos.EOVERFLOW, errnos.ESPIPE}
)


@protect_from_ki
class FileCalls(SendCalls):
    """What a ``TCPSocket`` can do to send files."""

    __slots__ = ()

    async def send_file(
        self, file: FileArgument, *, offset: int = 0, count: int | None = None
    ) -> int:
        """Send a file, or a part of it, in constant memory.

        Args:
            file: a path, or a file opened for binary reading. Its position afterwards is not
                specified; what was passed open stays open.
            offset: where to begin, in bytes from the beginning of the file.
            count: how many bytes to send; ``None`` for all there is from ``offset`` when the
                call begins, or until the end where that cannot be known (a pipe).

        Returns:
            How many bytes were sent; 0 if ``offset`` is past the end.

        Raises:
            SocketError: the file turned out shorter than ``count``, or than it was; the text
                says how many bytes went out. Also: ``abort_send()`` dropped some of it.
            OSError: what opening or reading the file said.
            TypeError, ValueError: not a binary file, or not such numbers.
            LostConnectionError, SocketClosedError, InvalidStateError, trio.BusyResourceError:
                as for ``send_all``.

        Cancellation: as for ``send_all``; the bytes that went out are in ``SendComplete``.
        Events: as for ``write``, one batch for the whole file.
        Source: sendfile(2).
        """
        with self._send_conflict:
            self._check_sending()
            source = await open_source(file, offset, count)
            try:
                self._check_sending()
                return await self._send_source(source)
            finally:
                source.close()

    async def _send_source(self, source: FileSource) -> int:
        if source.size == 0:
            await trio.lowlevel.checkpoint()
            return 0
        ledger = self._ledger
        if source.size is None:
            ticket = ledger.announce(0)
            ticket.held = True
        elif source.regular and self._kernel_sends_files():
            ticket = ledger.reserve_file(FileRange(source.fileno, source.position, source.size))
        else:
            ticket = ledger.announce(source.size)
        try:
            await self._pass_through(ticket, source)
        except BaseException:
            self._remove(ticket)
            self._pump()
            raise
        await self._delivered()
        return ticket.sent

    async def _pass_through(self, ticket: Ticket, source: FileSource) -> None:
        """Wait while the kernel sends; then read and feed what it left."""
        if not ticket.idle:
            await self._see_through(ticket, trio.current_effective_deadline() == -math.inf)
            source.position += ticket.sent
        while ticket.left or ticket.held:
            piece = await source.read(PIECE if ticket.held else min(PIECE, ticket.left))
            if ticket.removed:
                raise self._why_removed(ticket)
            if not piece:
                self._end_of_file(ticket)
            elif ticket.held:
                self._ledger.extend(ticket, piece)
                await self._see_through(ticket, cancelled=False)
            else:
                ticket.feed(piece)
                await self._see_through(ticket, cancelled=False)

    def _end_of_file(self, ticket: Ticket) -> None:
        """The file has ended; where its length was known, too early."""
        if not ticket.held:
            total = ticket.sent + ticket.left
            raise SocketError(f"{self!r}: the file ended after {ticket.sent} of {total} bytes")
        ticket.held = False
        self._ledger.account(0)
        self._queue_ran_empty()
        self._schedule_pump()

    def _kernel_sends_files(self) -> bool:
        # sendfile has no MSG_NOSIGNAL; where SIGPIPE would kill the program, we do without.
        ignored = signal.getsignal(signal.SIGPIPE) is not signal.SIG_DFL
        return sys.platform == "linux" and ignored and self._transport_is_plain()

    def _transport_is_plain(self) -> bool:
        """Whether the descriptor takes the bytes as they are."""
        return isinstance(self._transport, stdlib_socket.socket)

    def _send_chunk(self, transport: stdlib_socket.socket, chunk: Chunk) -> int:
        if not isinstance(chunk, FileRange):
            return super()._send_chunk(transport, chunk)
        if not self._transport_is_plain():  # any more, since the file was queued
            return self._read_instead()
        try:
            sent = os.sendfile(transport.fileno(), chunk.fileno, chunk.offset, chunk.size)
        except (BlockingIOError, InterruptedError):
            raise
        except OSError as exc:
            if exc.errno not in _NOT_FOR_SENDFILE:
                raise
            sent = 0
        return sent or self._read_instead()

    def _read_instead(self) -> int:
        """The kernel does not send the file: its owner goes on by reading it."""
        if self._ticket is not None:
            self._ticket.give_up_file()
            self._sent_some()
        return 0

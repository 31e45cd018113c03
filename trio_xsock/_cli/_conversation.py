"""Both directions of one connection: our input is sent, and the peer's bytes are received.

Each direction runs to its own end, as in netcat: when our input ends, our direction is shut down
and the peer may go on; when the peer ends, the rest of our input is still sent. If input is a
terminal, the end of the peer ends the conversation, because there is no reader any more.

A server that takes one client after the other (``hands_over``) cannot know whether a client that
has ended still reads. It sends the input that there is, and ends once the input has been silent for
a moment. Input that did not reach a client is kept for the next one: what was not sent, and what
was sent about when the client ended, or later, and was answered by a reset.
"""

from __future__ import annotations

import socket as stdlib_socket
from collections import deque
from collections.abc import Callable

import trio

from trio_xsock import LostConnectionError, SSLSocket, TCPSocket, TLSError
from trio_xsock._platform import system as platform

from ._beside import both
from ._stdin import PIECE, Input
from ._stdio import Output

_SILENCE = 0.5
"""Seconds of silent input after which the conversation with a client that has ended is over. Bytes
sent less than this time before the client's end may not have reached it."""
_FIRST = 8


class Conversation:
    """One connection and our two ends of it.

    Args:
        sock: connected; closed by the caller.
        source: what is sent.
        output: where to put what is received.
        shutdown: shut our direction down when ``source`` has ended.
        hands_over: ``source`` goes on to the next client when this one has ended.
        judge: called when the peer has ended; may raise ``CommandError`` for what came.

    Attributes:
        received: bytes that were received.
        first: the first few of them.
        unanswered: we sent something and shut our direction down, and then the peer ended, or
            the connection was lost, without a byte from the peer.
    """

    def __init__(
        self,
        sock: TCPSocket,
        source: Input,
        output: Output,
        *,
        shutdown: bool = True,
        hands_over: bool = False,
        judge: Callable[[Conversation], None] = lambda _: None,
    ) -> None:
        self._sock = sock
        self._source = source
        self._output = output
        self._shutdown = shutdown
        self._sending = trio.CancelScope()
        self._hands_over = hands_over
        self._judge = judge
        self._reading = trio.CancelScope()
        self._peer_ended = False
        self._told_end = False
        self._unsure: deque[tuple[float, bytes]] = deque()  # what was sent last, and when
        self._loss: LostConnectionError | TLSError | None = None
        self.received = 0
        self.first = b""
        self.unanswered = False

    @property
    def sent(self) -> int:
        """Bytes that the operating system took."""
        return self._sock.bytes_sent

    async def run(self) -> None:
        """Send and receive until both directions have ended.

        Raises:
            SocketError: the connection is lost.
            CommandError: what ``judge`` raises.
            OutputFailedError: our output cannot be written.
            OutputGoneError: the reader of our output has closed it.
        """
        await both(self._send, self._receive)
        if self._loss is not None:
            raise self._loss

    async def _send(self) -> None:
        with self._sending:
            try:
                while data := await self._next():
                    await self._send_piece(data)
                if self._peer_ended and _was_reset(self._sock.handle):
                    self._take_back()
                elif self._shutdown:
                    await self._end_input()
            except (LostConnectionError, TLSError) as exc:
                # Earlier bytes of the peer may still be unread; the receiving task finds the loss.
                self._loss = exc
                if self._peer_ended:
                    self._take_back()
        await trio.lowlevel.checkpoint()

    def _take_back(self) -> None:
        """Put back what the peer answered with a reset, because it was sent after its end."""
        self._source.put_back(b"".join(data for _, data in self._unsure))
        self._unsure.clear()

    async def _next(self) -> bytes:
        """The next input for this peer; empty once the peer has ended and our input is silent."""
        data = b""
        with trio.CancelScope() as self._reading:
            self._limit_silence()
            data = await self._source.read()
        if not data:  # otherwise a cancellation would lose it
            await trio.lowlevel.checkpoint_if_cancelled()
        return data

    def _limit_silence(self) -> None:
        if self._hands_over and self._peer_ended:
            self._reading.deadline = trio.current_time() + _SILENCE

    async def _end_input(self) -> None:
        """Shut our direction down; the peer may answer that before the call returns."""
        # TLS says so first, and the peer may answer before our direction has ended.
        early = isinstance(self._sock, SSLSocket)
        self._told_end = early or not self._peer_ended
        try:
            await self._sock.send_eof()
        except BaseException:
            self._told_end = early
            raise
        self._told_end = True

    async def _send_piece(self, data: bytes) -> None:
        before = self._sock.bytes_sent
        try:
            await self._sock.send_all(data)
        except BaseException:
            self._source.put_back(data[self._sock.bytes_sent - before :])
            raise
        finally:
            self._remember(data[: self._sock.bytes_sent - before])

    def _remember(self, data: bytes) -> None:
        """Keep ``data``, which was sent just now, for as long as it may prove to be lost."""
        if not self._hands_over:
            return
        self._unsure.append((trio.current_time(), data))
        if not self._peer_ended:
            self._forget()

    def _forget(self) -> None:
        """Drop what has certainly reached the peer."""
        oldest = trio.current_time() - _SILENCE
        while self._unsure and self._unsure[0][0] < oldest:
            self._unsure.popleft()

    async def _receive(self) -> None:
        try:
            while data := await self._sock.receive_some(PIECE):
                self.first += data[: _FIRST - len(self.first)]
                self.received += len(data)
                await self._output.write(data)
        finally:
            self.unanswered = self._told_end and self.sent > 0 and not self.received
        self._judge(self)
        self._peer_ended = True
        self._forget()
        self._limit_silence()
        await self._output.write(b"", final=True)
        if self._source.is_terminal:
            self._sending.cancel(reason="the peer has ended")


def _was_reset(descriptor: int) -> bool:
    """Whether the peer answered with a reset, which no read of ours will find after its end."""
    if descriptor < 0:
        return False
    if not platform.has_poll():
        with stdlib_socket.fromfd(descriptor, 0, stdlib_socket.SOCK_STREAM) as same:
            return same.getsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_ERROR) != 0
    poll = platform.make_poll()
    poll.register(descriptor, 0)
    return any(state & platform.POLLERR for _, state in poll.poll(0))

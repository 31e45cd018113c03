"""Two directions at once over one connection: our input out, the peer's bytes in.

Each direction runs to its own end, as with any netcat: when our input has ended the peer is
told and may go on, and when the peer has ended what is left of our input is still sent. A
person at a terminal is not left typing at nobody: there the peer's end ends it all.
"""

from __future__ import annotations

import trio

from trio_xsock import LostConnectionError, TCPSocket, TLSError

from ._beside import both
from ._stdio import PIECE, Input, Output


class Conversation:
    """One connection and our two ends of it.

    Args:
        sock: connected; whoever made it closes it.
        source: what is sent.
        output: where to put what is received.
        shutdown: tell the peer when ``source`` has ended.

    Attributes:
        received: bytes that the peer sent and we took.
    """

    def __init__(
        self, sock: TCPSocket, source: Input, output: Output, *, shutdown: bool = True
    ) -> None:
        self._sock = sock
        self._source = source
        self._output = output
        self._shutdown = shutdown
        self._sending = trio.CancelScope()
        self._loss: LostConnectionError | TLSError | None = None
        self.received = 0

    @property
    def sent(self) -> int:
        """Bytes that the operating system took."""
        return self._sock.bytes_sent

    async def run(self) -> None:
        """Talk until both directions have ended.

        Raises:
            SocketError: the connection is lost.
            CommandError: our input or output fails.
            OutputGoneError: nobody reads our output any more.
        """
        await both(self._send, self._receive)
        if self._loss is not None:
            raise self._loss

    async def _send(self) -> None:
        with self._sending:
            try:
                while data := await self._source.read():
                    await self._sock.send_all(data)
                if self._shutdown:
                    await self._sock.send_eof()
            except (LostConnectionError, TLSError) as exc:
                # What the peer said before may still be unread; that task will find the loss.
                self._loss = exc
        await trio.lowlevel.checkpoint()

    async def _receive(self) -> None:
        while data := await self._sock.receive_some(PIECE):
            self.received += len(data)
            await self._output.write(data)
        await self._output.write(b"", final=True)
        if self._source.is_terminal:
            self._sending.cancel(reason="the peer has ended")

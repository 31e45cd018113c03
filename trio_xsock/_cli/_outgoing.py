"""One file on its way out over a connected socket, without a word to the user.

Whoever runs it can ask at any moment, and after any end, how many bytes of the file went
out: that is what the operating system took on this connection, less the header.
"""

from __future__ import annotations

from collections.abc import Callable

import trio

from trio_xsock import SendProgress, SocketError, TCPSocket

from ._beside import beside
from ._errors import (
    CommandError,
    IncompleteTransferError,
    PeerSilentError,
    RefusedByPeerError,
    TransferFormatError,
)
from ._exchange import read_frame
from ._patience import Patience
from ._source import Source
from ._text import escape
from ._threads import in_thread
from ._transfer import Header, Reply, Status, Trailer, UntrustedReplyParser


class Outgoing:
    """The sending half of a transfer.

    Args:
        source: the file; its size is known by the time of ``run``.
        name: what the receiver shall call it.
        timeout: seconds of silence after which the receiver is given up.
        on_progress: called with the bytes that went out so far.
    """

    def __init__(
        self,
        source: Source,
        name: str,
        *,
        timeout: float,
        on_progress: Callable[[int], None],
    ) -> None:
        self._source = source
        self._name = name
        self._header = b""
        self._patience = Patience(timeout, "the receiver")
        self._on_progress = on_progress
        self._sock: TCPSocket | None = None
        self._go_ahead = trio.Event()
        self._answering = trio.CancelScope()
        self._reply: Reply | None = None
        self._loss: SocketError | CommandError | None = None
        self._all_sent = False

    @property
    def size(self) -> int:
        """Bytes in the file, as announced."""
        return self._source.size

    @property
    def bytes_out(self) -> int:
        """Bytes of the file that the operating system took."""
        if self._sock is None:
            return 0
        return max(0, min(self.size, self._sock.bytes_sent - len(self._header)))

    async def run(self, sock: TCPSocket) -> Reply:
        """Send the file over ``sock``, which has just been connected.

        Returns:
            The receiver's last reply, which confirms size and checksum.

        Raises:
            RefusedByPeerError: the receiver does not take it, with its reason.
            CommandError: the receiver does not speak this protocol, fell silent, went
                away, or stored something else; or the file cannot be read, or shrank.
        """
        self._sock = sock
        self._header = Header(self._name, self._source.size).encode()
        events = sock.subscribe()

        async def follow() -> None:
            async for event in events:
                if isinstance(event, SendProgress):
                    self._patience.renew()
                    self._on_progress(self.bytes_out)
            await trio.lowlevel.checkpoint()

        async def exchange() -> None:
            with self._answering:
                await beside(lambda: self._listen(sock), lambda: self._speak(sock))
            await trio.lowlevel.checkpoint()

        async def talk() -> None:
            try:
                await self._patience.during(exchange, sock)
            except PeerSilentError as exc:
                self._loss = self._loss or exc
            await trio.lowlevel.cancel_shielded_checkpoint()

        with events:
            await beside(follow, talk)
        self._on_progress(self.bytes_out)
        return self._verdict()

    async def _speak(self, sock: TCPSocket) -> None:
        """Send everything, then wait for the listening task to end it all."""
        try:
            await sock.send_all(self._header)
            await self._go_ahead.wait()
            while piece := await self._read_piece():
                await sock.send_all(piece)
            self._all_sent = True
            await sock.send_all(Trailer(self._source.digest()).encode())
        except SocketError as exc:
            # A receiver that refuses may be gone before we noticed; its reason may still
            # be in our receive buffer. The listening task finds that, or the loss.
            self._loss = exc
        await trio.sleep_forever()

    async def _read_piece(self) -> bytes:
        with self._patience.at_work():
            return await in_thread("the sender", self._source.read_piece)

    async def _listen(self, sock: TCPSocket) -> None:
        """Take replies until the last one, which may come at any time."""
        try:
            while self._reply is None:
                reply = await read_frame(sock, UntrustedReplyParser())
                self._patience.renew()
                if reply.status is Status.GO_AHEAD:
                    self._go_ahead.set()
                elif reply.status is not Status.BUSY:
                    self._reply = reply
        except (SocketError, CommandError) as exc:
            self._loss = self._loss or exc
        await trio.lowlevel.cancel_shielded_checkpoint()
        self._answering.cancel(reason="the receiver has nothing more to say")

    def _verdict(self) -> Reply:
        reply = self._reply
        if reply is None:
            raise self._why_lost()
        if reply.status is Status.REFUSED:
            raise RefusedByPeerError(f"the receiver refused: {escape(reply.text)}")
        if not self._all_sent or reply.bytes_received != self.size:
            raise TransferFormatError(
                f"the receiver claims to have stored {reply.bytes_received} bytes; "
                f"{self.bytes_out} of {self.size} went out"
            )
        if reply.digest != self._source.digest():
            raise TransferFormatError(
                f"the checksums differ: {self._source.digest().hex()} was sent, "
                f"{reply.digest.hex()} was received"
            )
        return reply

    def _why_lost(self) -> CommandError:
        loss = self._loss
        if isinstance(loss, IncompleteTransferError):
            return IncompleteTransferError(
                "the receiver closed the connection before it confirmed the transfer"
            )
        if isinstance(loss, TransferFormatError):
            return TransferFormatError(f"the other side is not an xsock receiver: {loss}")
        if isinstance(loss, CommandError):
            return loss
        return CommandError(escape(str(loss)))

"""One file that is sent over a connected socket, without output to the user.

``bytes_out`` says at any time, and after any end, how many bytes of the file were sent: what the
operating system took on this connection since the body began.

A receiver that has a part of the file already offers it, with its checksum. The same part of our
file is read and compared; the body begins after it, or at the beginning if it differs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import trio

from trio_xsock import SendProgress, SocketError, TCPSocket

from ._beside import beside
from ._errors import (
    CommandError,
    DeclinedByPeerError,
    IncompleteTransferError,
    PeerSilentError,
    RefusedByPeerError,
    TransferFormatError,
)
from ._exchange import at_work, read_frame
from ._patience import Patience
from ._source import PIECE, Source
from ._text import escape, plural
from ._threads import in_thread
from ._transfer import Header, Reply, Resume, Status, Trailer, UntrustedReplyParser

_MOST_OFFERS: Final = 2
"""Names for a part that was received before, and for a file of that name with other content."""


class Outgoing:
    """The sending half of a transfer.

    Args:
        source: the file; its size is known by the time of ``run``.
        name: its name at the receiver; with ``/`` in it, a path below the receiver's folder.
        timeout: seconds of silence of the receiver after which the transfer fails.
        on_progress: called with the position in the file, in bytes.
        more: another file follows on the same connection.

    Attributes:
        offset: bytes that the receiver had already.
    """

    def __init__(
        self,
        source: Source,
        name: str,
        *,
        timeout: float,
        on_progress: Callable[[int], None],
        more: bool = False,
    ) -> None:
        self._source = source
        self._name = name
        self._more = more
        self._body_start: int | None = None
        self.offset = 0
        self._patience = Patience(timeout, "the receiver")
        self._on_progress = on_progress
        self._sock: TCPSocket | None = None
        self._answer = trio.Event()
        self._offer: Reply | None = None
        self._offers = 0
        self._answering = trio.CancelScope()
        self._reply: Reply | None = None
        self._loss: SocketError | CommandError | None = None
        self._all_sent = False

    @property
    def name(self) -> str:
        """Its name at the receiver."""
        return self._name

    @property
    def size(self) -> int:
        """Bytes in the file, as announced."""
        return self._source.size

    @property
    def bytes_out(self) -> int:
        """Bytes of the file that the operating system took."""
        if self._sock is None or self._body_start is None:
            return 0
        return max(0, min(self.size - self.offset, self._sock.bytes_sent - self._body_start))

    async def run(self, sock: TCPSocket) -> Reply:
        """Send the file over ``sock``, on which nothing is under way.

        Returns:
            The receiver's last reply, which confirms size and checksum.

        Raises:
            DeclinedByPeerError: the receiver skips it; the next file may follow.
            RefusedByPeerError: the receiver refuses the transfer, with its reason.
            CommandError: the receiver does not speak this protocol, was silent, closed, or
                stored something else; or the file cannot be read, or shrank.
        """
        self._sock = sock
        events = sock.subscribe()

        async def follow() -> None:
            async for event in events:
                if isinstance(event, SendProgress):
                    self._patience.renew()
                    self._on_progress(self.offset + self.bytes_out)
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
        self._on_progress(self.offset + self.bytes_out)
        return self._verdict()

    async def _speak(self, sock: TCPSocket) -> None:
        """Send everything, then wait for the task that receives replies to end the exchange."""
        try:
            await sock.send_all(Header(self._name, self._source.size, self._more).encode())
            while offer := await self._next_offer():
                await self._resume(sock, offer)
            self._body_start = sock.bytes_sent
            while piece := await self._read_piece():
                await sock.send_all(piece)
            self._all_sent = True
            await sock.send_all(Trailer(self._source.digest()).encode())
        except SocketError as exc:
            # A receiver that refuses may have closed already; its reason may still be in our
            # receive buffer. The task that receives replies finds that, or the loss.
            self._loss = exc
        await trio.sleep_forever()

    async def _read_piece(self, most: int = PIECE) -> bytes:
        with self._patience.at_work():
            return await in_thread("the sender", self._source.read_piece, most)

    async def _next_offer(self) -> Reply | None:
        """Wait for the receiver's offer; ``None`` when it asks for the body."""
        await self._answer.wait()
        self._answer = trio.Event()
        offer, self._offer = self._offer, None
        return offer

    async def _resume(self, sock: TCPSocket, offer: Reply) -> None:
        """Compare the receiver's part with our file, and tell it where the body begins."""
        there, self.offset = offer.bytes_received, 0
        await in_thread("the sender", self._source.rewind)

        async def compare() -> bool:
            while piece := await self._read_piece(min(PIECE, there - self._source.bytes_read)):
                del piece
            await trio.lowlevel.checkpoint()
            return self._source.digest() == offer.digest

        busy = Resume(ready=False).encode
        if await at_work(sock, self._patience, busy, compare):
            self.offset = there
        else:
            await in_thread("the sender", self._source.rewind)
        await sock.send_all(Resume(ready=True, offset=self.offset).encode())

    async def _listen(self, sock: TCPSocket) -> None:
        """Receive replies until the last one, which may come at any time."""
        try:
            while self._reply is None:
                reply = await read_frame(sock, UntrustedReplyParser())
                self._patience.renew()
                if reply.status is Status.GO_AHEAD:
                    self._answer.set()
                elif reply.status is Status.OFFER:
                    self._take_offer(reply)
                elif reply.status is not Status.BUSY:
                    self._reply = reply
        except (SocketError, CommandError) as exc:
            self._loss = self._loss or exc
        await trio.lowlevel.cancel_shielded_checkpoint()
        self._answering.cancel(reason="the receiver has nothing more to say")

    def _take_offer(self, reply: Reply) -> None:
        self._offers += 1
        makes_sense = self._body_start is None and self._offers <= _MOST_OFFERS
        if not makes_sense or not 0 < reply.bytes_received <= self.size:
            raise TransferFormatError(
                f"it offers to go on after {reply.bytes_received} bytes of {self.size}, which "
                "makes no sense here"
            )
        self._offer = reply
        self._answer.set()

    def _verdict(self) -> Reply:
        reply = self._reply
        if reply is None:
            raise self._why_lost()
        if reply.status is Status.REFUSED:
            raise RefusedByPeerError(f"the receiver refused: {escape(reply.text)}")
        if reply.status is Status.DECLINED:
            raise DeclinedByPeerError(f"the receiver refused: {escape(reply.text)}")
        if not self._all_sent or reply.bytes_received != self.size:
            raise TransferFormatError(
                f"the receiver claims to have stored {plural(reply.bytes_received, 'byte')}, "
                f"and {self.offset + self.bytes_out} of {self.size} are sent"
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


async def send_folder(sock: TCPSocket, name: str, patience: Patience) -> None:
    """Announce an empty folder, on a connection on which nothing is under way.

    Args:
        sock: the connection.
        name: its path below the receiver's folder.
        patience: the limit on the receiver's silence.

    Raises:
        DeclinedByPeerError: the receiver skips it.
        CommandError: the receiver refuses the transfer, was silent, or closed.
        SocketError: the connection is lost.
    """

    async def tell() -> Reply:
        await sock.send_all(Header(name, 0, more=True, folder=True).encode())
        return await read_frame(sock, UntrustedReplyParser())

    reply = await patience.during(tell, sock)
    if reply.status is Status.DECLINED:
        raise DeclinedByPeerError(f"the receiver refused: {escape(reply.text)}")
    if reply.status is not Status.STORED:
        raise RefusedByPeerError(f"the receiver refused: {escape(reply.text)}")

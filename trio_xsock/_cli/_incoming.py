"""One file that is received from a connected socket, without output to the user.

Nothing that the sender says is trusted: the name is checked, no more than the announced size is
read, and the checksum is computed here. A failure is reported to the sender if it can still be
reached, and leaves no file behind.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import trio

from trio_xsock import SocketError, TCPSocket

from ._errors import (
    CommandError,
    DeclinedError,
    IncompleteTransferError,
    NothingReceivedError,
    RefusedError,
    describe,
)
from ._exchange import LINGER, at_work, read_frame
from ._files import Folder, IncomingFile
from ._landing import Landing
from ._patience import Patience
from ._source import PIECE
from ._text import escape
from ._threads import in_thread
from ._transfer import (
    NO_DIGEST,
    Header,
    Reply,
    Status,
    UntrustedHeaderParser,
    UntrustedTrailerParser,
)


@dataclass(frozen=True, slots=True)
class Received:
    """A file that was received completely, or an empty folder."""

    name: str
    """The name, or path, that it has in the folder now."""
    size: int
    digest: bytes
    offset: int = 0
    """Bytes that were there before."""
    is_folder: bool = False


class Incoming:
    """The receiving half of a transfer.

    Args:
        folder: where the file should land.
        timeout: seconds of silence of the sender after which the transfer fails.
        max_size: the largest file that is accepted, in bytes; ``None`` for any.
        is_first: nothing was received on this connection before.
        on_header: called once a header was received and accepted.
        on_progress: called with the bytes of the file that are here so far.

    Attributes:
        header: what the sender announced, once it has; its name has been checked.
        more: another file follows on this connection, even if this one fails.
        bytes_in: bytes of the file that were received.
    """

    def __init__(
        self,
        folder: Folder,
        *,
        timeout: float,
        max_size: int | None = None,
        is_first: bool = True,
        on_header: Callable[[Header], None],
        on_progress: Callable[[int], None],
    ) -> None:
        self._patience = Patience(timeout, "the sender")
        self._landing = Landing(folder, self._patience, max_size)
        self._on_header = on_header
        self._on_progress = on_progress
        self._parser = UntrustedHeaderParser()
        self._is_first = is_first
        self._received: Received | None = None
        self._is_wrong = False
        self._on_good_terms = False
        self.header: Header | None = None
        self.more = False
        self.bytes_in = 0

    async def run(self, sock: TCPSocket) -> Received | None:
        """Receive a file from ``sock``, then close it unless another file follows.

        Returns:
            The file; ``None`` if the sender said that nothing more follows.

        Raises:
            NothingReceivedError: the peer closed without sending a byte.
            DeclinedError: this side refuses the file, and the next one may follow.
            RefusedError: this side refuses the transfer.
            CommandError: the input is invalid, the sender is silent or gone, the file is not
                the announced one; or any failure on this side.
        """
        last_words = "the receiver was interrupted"
        try:
            await self._take(sock)
            self._on_good_terms = True
        except CommandError as exc:
            last_words = str(exc)
            raise
        except SocketError as exc:
            raise CommandError(escape(f"the sender is gone: {exc}")) from exc
        except Exception as exc:  # any failure ends this transfer, and no other
            last_words = f"the receiver failed: {describe(exc)}"
            raise CommandError(last_words) from exc
        finally:
            self._landing.let_go(wrong=self._is_wrong)
            if not self._on_good_terms and self._received is None:
                with trio.move_on_after(LINGER, shield=True):
                    await self._refuse(sock, last_words)
                with trio.move_on_after(LINGER, shield=True):
                    await sock.aclose(grace=0)
        if not self.more:
            with trio.move_on_after(LINGER, shield=True):
                await sock.aclose()
        return self._received

    @property
    def offset(self) -> int:
        """Bytes of the file that were here before."""
        return self._landing.offset

    @property
    def _position(self) -> int:
        """Bytes of the file that are here."""
        return self.offset + self.bytes_in

    async def _take(self, sock: TCPSocket) -> None:
        header = await self._read_header(sock)
        if header.is_end:
            return
        self.more = header.more
        refusal: RefusedError | None = None
        file: IncomingFile | None = None
        try:
            file = await self._patience.during(lambda: self._landing.prepare(sock, header), sock)
        except RefusedError as exc:
            refusal = exc
        if refusal is not None:
            await self._decline(sock, refusal)
            raise refusal
        self.header = header
        self._on_header(header)
        if header.folder:
            await self._store(sock, header.name, None)
            return

        async def take_body() -> bytes:
            await sock.send_all(Reply(Status.GO_AHEAD).encode())
            await self._read_body(sock, header.size, file)
            return await self._read_trailer(sock)

        trailer = await self._patience.during(take_body, sock)
        digest = self._landing.digest()
        if trailer != digest:
            self._is_wrong = True
            raise RefusedError(
                f"the checksum is wrong: the sender says {trailer.hex()}, "
                f"what came in has {digest.hex()}"
            )
        if file is not None:
            await self._at_work(sock, file.sync)
        await self._store(sock, header.name, file, size=header.size, digest=trailer)

    async def _store(
        self,
        sock: TCPSocket,
        path: str,
        file: IncomingFile | None,
        *,
        size: int = 0,
        digest: bytes = b"",
    ) -> None:
        """Give the file its name and tell the sender, if it has none yet."""
        # Shielded: a file that has its name must be confirmed.
        with trio.CancelScope(shield=True):
            folder, slash, name = path.rpartition("/")
            if file is not None:
                name = await in_thread("the receiver", file.publish, name)
            stored = folder + slash + name
            self._received = Received(stored, size, digest, self.offset, not digest)
            await self._confirm(sock, self._received)

    async def _decline(self, sock: TCPSocket, why: RefusedError) -> None:
        """If another file follows, tell the sender that this one is skipped, and raise."""
        if self.more:
            await sock.send_all(Reply(Status.DECLINED, text=str(why)).encode())
            self._on_good_terms = True
            raise DeclinedError(str(why)) from why
        await trio.lowlevel.checkpoint()

    async def _read_header(self, sock: TCPSocket) -> Header:
        try:
            return await self._patience.during(
                lambda: read_frame(sock, self._parser), sock, whole=True
            )
        except (IncompleteTransferError, SocketError) as exc:
            if not self._parser.started and not self._is_first:
                raise IncompleteTransferError(
                    "the sender left before it had sent all files"
                ) from exc
            if not self._parser.started:
                raise NothingReceivedError("the sender left without a word") from exc
            raise IncompleteTransferError("the sender left within the header") from exc

    async def _read_body(self, sock: TCPSocket, size: int, file: IncomingFile | None) -> None:
        left = size - self.offset
        while file is not None and self.bytes_in < left:
            piece = await sock.receive_some(min(PIECE, left - self.bytes_in))
            if not piece:
                raise IncompleteTransferError("the transfer is incomplete: the sender left")
            self.bytes_in += len(piece)
            self._patience.renew()
            self._on_progress(self._position)
            await self._at_work(sock, functools.partial(file.write, piece))
        await trio.lowlevel.checkpoint()

    async def _read_trailer(self, sock: TCPSocket) -> bytes:
        try:
            return (await read_frame(sock, UntrustedTrailerParser())).digest
        except IncompleteTransferError:
            raise IncompleteTransferError(
                "the transfer is incomplete: the sender left after all bytes, "
                "but before their checksum"
            ) from None

    async def _at_work(self, sock: TCPSocket, work: Callable[[], None]) -> None:
        def busy() -> bytes:
            return Reply(Status.BUSY, self._position).encode()

        await at_work(sock, self._patience, busy, lambda: in_thread("the receiver", work))

    async def _confirm(self, sock: TCPSocket, stored: Received) -> None:
        reply = Reply(Status.STORED, stored.size, stored.digest or NO_DIGEST, stored.name)
        try:
            with trio.move_on_after(LINGER):
                await sock.send_all(reply.encode())
        except SocketError:
            # The file is stored, even if the sender does not get the confirmation.
            await trio.lowlevel.cancel_shielded_checkpoint()

    async def _refuse(self, sock: TCPSocket, reason: str) -> None:
        """Tell the sender why, if it can still be reached.

        Its input until then is read and dropped: closing with unread input would
        reset the connection, and the reason would be lost.
        """
        try:
            sock.write(Reply(Status.REFUSED, self._position, text=reason).encode())
            await sock.send_eof()
            while self._parser.started and await sock.receive_some(PIECE):
                pass
        except SocketError:  # the sender is gone
            await trio.lowlevel.checkpoint()

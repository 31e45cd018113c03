"""One file on its way in from a connected socket, without a word to the user.

Everything the sender says is taken as a claim: the name is checked, the size is what is
read and no more, the checksum is our own. Whatever goes wrong is told to the sender if it
can still be reached, and leaves no file behind.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import trio

from trio_xsock import SocketError, TCPSocket

from ._beside import beside
from ._errors import (
    CommandError,
    IncompleteTransferError,
    NothingReceivedError,
    RefusedError,
    describe,
)
from ._exchange import LINGER, read_frame
from ._files import Folder, IncomingFile
from ._names import check_untrusted_name
from ._patience import Patience
from ._source import PIECE
from ._text import escape
from ._threads import in_thread
from ._transfer import (
    Header,
    Reply,
    Status,
    UntrustedHeaderParser,
    UntrustedTrailerParser,
)

_REASSURE_EVERY = 1.0
"""Seconds between two BUSY replies while the disk works."""


@dataclass(frozen=True, slots=True)
class Received:
    """A file that came in whole."""

    name: str
    """The name that it has in the folder now."""
    size: int
    digest: bytes


class Incoming:
    """The receiving half of a transfer.

    Args:
        folder: where the file shall land.
        timeout: seconds of silence after which the sender is given up.
        max_size: the largest file that is taken, in bytes; ``None`` for any.
        on_header: called once a header has come and was accepted.
        on_progress: called with the bytes that came in so far.

    Attributes:
        header: what the sender announced, once it has; only checked names get here.
        bytes_in: bytes of the file that came in.
    """

    def __init__(
        self,
        folder: Folder,
        *,
        timeout: float,
        max_size: int | None = None,
        on_header: Callable[[Header], None],
        on_progress: Callable[[int], None],
    ) -> None:
        self._folder = folder
        self._patience = Patience(timeout, "the sender")
        self._max_size = max_size
        self._on_header = on_header
        self._on_progress = on_progress
        self._parser = UntrustedHeaderParser()
        self._file: IncomingFile | None = None
        self._received: Received | None = None
        self.header: Header | None = None
        self.bytes_in = 0

    async def run(self, sock: TCPSocket) -> Received:
        """Take a file from ``sock``, then close it.

        Raises:
            NothingReceivedError: the peer left without a byte.
            RefusedError: we do not take it.
            CommandError: the sender sends garbage, falls silent, goes away or sends
                another file than it announced; or something failed here, whatever it is.
        """
        last_words = "the receiver was interrupted"
        try:
            await self._take(sock)
        except CommandError as exc:
            last_words = str(exc)
            raise
        except SocketError as exc:
            raise CommandError(escape(f"the sender is gone: {exc}")) from exc
        except Exception as exc:  # whatever it is, it ends this transfer and no other
            last_words = f"the receiver failed: {describe(exc)}"
            raise CommandError(last_words) from exc
        finally:
            if self._file is not None:
                self._file.discard()
            if self._received is None:
                with trio.move_on_after(LINGER, shield=True):
                    await self._refuse(sock, last_words)
                with trio.move_on_after(LINGER, shield=True):
                    await sock.aclose(grace=0)
        with trio.move_on_after(LINGER, shield=True):
            await sock.aclose()
        assert self._received is not None
        return self._received

    async def _take(self, sock: TCPSocket) -> None:
        header = await self._read_header(sock)
        file = self._file = await in_thread("the receiver", self._prepare, header)
        self.header = header
        self._on_header(header)

        async def take_body() -> bytes:
            await sock.send_all(Reply(Status.GO_AHEAD).encode())
            await self._read_body(sock, header.size, file)
            return await self._read_trailer(sock)

        trailer = await self._patience.during(take_body, sock)
        if trailer != file.digest():
            raise RefusedError(
                f"the checksum is wrong: the sender says {trailer.hex()}, "
                f"what came in has {file.digest().hex()}"
            )
        await self._at_work(sock, file.sync)
        # The last step is not left half done: a file that has its name is confirmed.
        with trio.CancelScope(shield=True):
            name = await in_thread("the receiver", file.publish, header.name)
            self._received = Received(name, header.size, trailer)
            await self._confirm(sock, self._received)

    async def _read_header(self, sock: TCPSocket) -> Header:
        try:
            return await self._patience.during(
                lambda: read_frame(sock, self._parser), sock, whole=True
            )
        except (IncompleteTransferError, SocketError) as exc:
            if not self._parser.started:
                raise NothingReceivedError("the sender left without a word") from exc
            raise IncompleteTransferError("the sender left within the header") from exc

    def _prepare(self, header: Header) -> IncomingFile:
        check_untrusted_name(header.name)
        if self._max_size is not None and header.size > self._max_size:
            raise RefusedError(
                f"the file has {header.size} bytes, at most {self._max_size} are taken"
            )
        self._folder.check_room(header.name, header.size)
        return self._folder.create()

    async def _read_body(self, sock: TCPSocket, size: int, file: IncomingFile) -> None:
        while self.bytes_in < size:
            piece = await sock.receive_some(min(PIECE, size - self.bytes_in))
            if not piece:
                raise IncompleteTransferError(
                    f"the transfer is incomplete: the sender left after {self.bytes_in} of "
                    f"{size} bytes"
                )
            self.bytes_in += len(piece)
            self._patience.renew()
            self._on_progress(self.bytes_in)
            await self._at_work(sock, functools.partial(file.write, piece))
        await trio.lowlevel.checkpoint()

    async def _read_trailer(self, sock: TCPSocket) -> bytes:
        try:
            return (await read_frame(sock, UntrustedTrailerParser())).digest
        except IncompleteTransferError:
            raise IncompleteTransferError(
                f"the transfer is incomplete: the sender left after all {self.bytes_in} bytes, "
                "but before their checksum"
            ) from None

    async def _at_work(self, sock: TCPSocket, work: Callable[[], None]) -> None:
        """Wait for the disk, and let the sender know meanwhile that we live.

        That is not the sender's silence, nor shall it be taken for ours.
        """

        async def reassure() -> None:
            while True:
                await trio.sleep(_REASSURE_EVERY)
                try:
                    # Not send_all: a frame must never go out by half when this is ended.
                    sock.write(Reply(Status.BUSY, self.bytes_in).encode())
                except SocketError:
                    return

        with self._patience.at_work():
            await beside(reassure, lambda: in_thread("the receiver", work))

    async def _confirm(self, sock: TCPSocket, stored: Received) -> None:
        reply = Reply(Status.STORED, stored.size, stored.digest, stored.name)
        try:
            with trio.move_on_after(LINGER):
                await sock.send_all(reply.encode())
        except SocketError:
            # The file is here and right, whether the sender learns of it or not.
            await trio.lowlevel.cancel_shielded_checkpoint()

    async def _refuse(self, sock: TCPSocket, reason: str) -> None:
        """Tell the sender why, if it still listens.

        What it had sent meanwhile is read and dropped: closing with unread input would
        reset the connection, and the reason would be lost with it.
        """
        try:
            sock.write(Reply(Status.REFUSED, self.bytes_in, text=reason).encode())
            await sock.send_eof()
            while self._parser.started and await sock.receive_some(PIECE):
                pass
        except SocketError:  # it is gone: nothing is left to be told
            await trio.lowlevel.checkpoint()

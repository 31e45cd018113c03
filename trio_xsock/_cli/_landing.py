"""The place of an announced file in the folder, and the part of it that is there already.

A file is accepted only after its name, its size and its place were checked. With ``--resume``,
the part that is there is offered to the sender with its checksum; the sender compares, and says
whether it continues from there or begins again.
"""

from __future__ import annotations

from typing import Final

import trio

from trio_xsock import TCPSocket

from ._errors import RefusedError, TransferFormatError
from ._exchange import at_work, read_frame
from ._files import Folder, IncomingFile
from ._names import check_untrusted_path
from ._partial import BusyError, There, WholeFile, find_whole, open_partial
from ._patience import Patience
from ._threads import in_thread
from ._transfer import Header, Reply, Status, UntrustedResumeParser

_HANDOVER: Final = 5.0
"""Seconds that a transfer which broke off gets to close its file when it is resumed."""
_RETRY: Final = 0.05


class Landing:
    """The place of one file.

    Args:
        folder: the folder of the file.
        patience: the limit on the sender's silence.
        max_size: the largest file that is accepted, in bytes; ``None`` for any.

    Attributes:
        offset: bytes of the file that were here before, and are correct.
    """

    def __init__(self, folder: Folder, patience: Patience, max_size: int | None) -> None:
        self._folder = folder
        self._patience = patience
        self._max_size = max_size
        self._inner: Folder | None = None
        self._whole: WholeFile | None = None
        self._file: IncomingFile | None = None
        self.offset = 0

    async def prepare(self, sock: TCPSocket, header: Header) -> IncomingFile | None:
        """Find or create what ``header`` announces, before its body is requested.

        Returns:
            The file to write to; ``None`` if all of it is here, or for a folder.

        Raises:
            RefusedError: this side refuses the file.
            TransferFormatError: the sender's answer to an offer is invalid.
            IncompleteTransferError: the sender closed instead of answering.
            SocketError: the connection is lost.
        """
        *above, name = check_untrusted_path(header.name)
        if self._max_size is not None and header.size > self._max_size:
            raise RefusedError(
                f"the file has {header.size} bytes, at most {self._max_size} are taken"
            )
        parts = [*above, name] if header.folder else above
        self._inner = folder = await in_thread("the receiver", self._folder.below, parts)
        if header.folder:
            return None
        if not folder.resume:
            await in_thread("the receiver", folder.check_room, name, header.size)
            self._file = await in_thread("the receiver", folder.create)
            return self._file
        self._whole = await in_thread("the receiver", find_whole, folder, name, header.size)
        if self._whole is not None:
            if not header.size or await self._offer(sock, self._whole):
                return None
            self._whole.close()
            self._whole = None
        await in_thread("the receiver", folder.check_name, name)
        file = self._file = await self._open_partial(folder, name, header.size)
        if not await self._offer(sock, file):
            await in_thread("the receiver", file.start_over)
        left = header.size - self.offset
        await in_thread("the receiver", folder.check_room, name, left)
        return file

    async def _open_partial(self, folder: Folder, name: str, size: int) -> IncomingFile:
        """Open the received part; a transfer that has just failed gets a moment to close it."""
        deadline = trio.current_time() + _HANDOVER
        while True:
            try:
                return await in_thread("the receiver", open_partial, folder, name, size)
            except BusyError:
                if trio.current_time() >= deadline:
                    raise
            await trio.sleep(_RETRY)

    async def _offer(self, sock: TCPSocket, there: There) -> bool:
        """Offer the sender to continue after what is there; return whether it accepted."""
        if not there.there:
            await trio.lowlevel.checkpoint()
            return False

        async def read_back() -> None:
            while await in_thread("the receiver", there.read_back):
                pass
            await trio.lowlevel.checkpoint()

        await at_work(sock, self._patience, Reply(Status.BUSY).encode, read_back)
        await sock.send_all(Reply(Status.OFFER, there.there, there.digest()).encode())
        while not (answer := await read_frame(sock, UntrustedResumeParser())).ready:
            self._patience.renew()
        if answer.offset not in (0, there.there):
            raise TransferFormatError(
                f"the sender goes on at {answer.offset}, which was not offered"
            )
        self.offset = answer.offset
        return bool(answer.offset)

    def digest(self) -> bytes:
        """SHA-256 of what is there now."""
        there = self._whole if self._file is None else self._file
        assert there is not None
        return there.digest()

    def let_go(self, *, wrong: bool) -> None:
        """Close everything; the received part is kept for the next time unless it is wrong."""
        if self._file is not None:
            if wrong:
                self._file.discard()
            else:
                self._file.let_go()
        if self._whole is not None:
            self._whole.close()
        if self._inner is not None:
            self._inner.close()

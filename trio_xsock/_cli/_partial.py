"""The part of a file that is there before its transfer begins, for transfers that are resumed.

Everything here blocks and is meant to be called in a worker thread.

The part of a transfer that broke off is stored in the folder of the file, under a hidden name that
is derived from the file's. It is locked while it is written, so that two transfers never write into
one file.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from typing import Final, Protocol

from trio_xsock._platform import files as platform

from ._errors import RefusedError
from ._files import TEMPORARY_PREFIX, TEMPORARY_SUFFIX, Folder
from ._incoming_file import IncomingFile, disk_errors
from ._source import PIECE
from ._text import quote

_ATTEMPTS: Final = 8


class BusyError(RefusedError):
    """Another transfer writes to the same file."""


class There(Protocol):
    """Bytes that are there, to be read back and compared.

    Attributes:
        there: their number.
    """

    there: int

    def read_back(self) -> bool:
        """Read and hash a piece of them; return whether there is more."""
        ...

    def digest(self) -> bytes:
        """SHA-256 of what was read."""
        ...


class WholeFile:
    """A file that has its name already, and as many bytes as are announced.

    Attributes:
        there: its bytes.
    """

    def __init__(self, fd: int, size: int) -> None:
        self._fd = fd
        self._hash = hashlib.sha256()
        self._read = 0
        self.there = size

    def read_back(self) -> bool:
        """Read and hash a piece; return whether there is more.

        Raises:
            CommandError: the disk cannot be read.
        """
        with disk_errors("reading what was there"):
            piece = os.read(self._fd, PIECE)
        self._hash.update(piece)
        self._read += len(piece)
        return bool(piece)

    def digest(self) -> bytes:
        """SHA-256 of what was read."""
        return self._hash.digest()

    def close(self) -> None:
        """Close it; legal more than once."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def find_whole(folder: Folder, name: str, size: int) -> WholeFile | None:
    """The regular file ``name``, if there is one of that size that can be read."""
    try:
        fd = folder.place.open(name, os.O_RDONLY | platform.NON_BLOCKING)
    except OSError:  # there is no such file
        return None
    status = os.fstat(fd)
    if stat.S_ISREG(status.st_mode) and status.st_size == size:
        return WholeFile(fd, size)
    os.close(fd)
    return None


def partial_name(name: str) -> str:
    """The name under which the file ``name`` is written; short, however long ``name`` is."""
    digest = hashlib.sha256(name.encode()).hexdigest()[:32]
    return f"{TEMPORARY_PREFIX}{digest}{TEMPORARY_SUFFIX}"


def open_partial(folder: Folder, name: str, size: int) -> IncomingFile:
    """Open the part of ``name`` that is there, or create a file if there is none to continue.

    Raises:
        BusyError: another transfer writes it.
        CommandError: it cannot be opened or created.
    """
    temporary = partial_name(name)
    with disk_errors("opening the file"):
        for _ in range(_ATTEMPTS):
            fd = _open_locked(folder, temporary, name)
            if fd is None:
                continue
            there = _usable(folder, temporary, fd)
            if there is not None:
                keep = folder.resume
                file = IncomingFile(
                    folder.place, temporary, fd, folder.if_exists, keep=keep, there=there
                )
                if there > size:
                    file.start_over()
                return file
            platform.close_file(fd)
    raise BusyError(f"{quote(name)} cannot be locked: something else uses {quote(temporary)}")


def _open_locked(folder: Folder, temporary: str, name: str) -> int | None:
    """A descriptor that holds the lock; ``None`` if there was a link of that name, now removed."""
    try:
        fd = folder.place.open(temporary, os.O_RDWR | os.O_CREAT | platform.NON_BLOCKING)
    except OSError:
        status = folder.place.status(temporary)
        if not platform.is_link(status):
            raise
        folder.place.unlink(temporary)
        return None
    try:
        platform.lock_file(fd)
    except BlockingIOError:
        os.close(fd)
        raise BusyError(f"{quote(name)} is being received by another transfer") from None
    except OSError:  # the file system has no locks
        pass
    return fd


def _usable(folder: Folder, temporary: str, fd: int) -> int | None:
    """The size of what is there; ``None`` if it must not be written to, and was removed.

    The transfer that had the lock before may have given the file its name meanwhile, or have been
    killed while it did; then what is open here is the file with that name.
    """
    status = os.fstat(fd)
    try:
        named = folder.place.status(temporary)
    except FileNotFoundError:
        return None
    if not os.path.samestat(status, named):
        return None
    ours = status.st_nlink == 1 and platform.is_ours(status)
    if stat.S_ISREG(status.st_mode) and ours:
        return status.st_size
    with contextlib.suppress(FileNotFoundError):
        folder.place.unlink(temporary)
    return None

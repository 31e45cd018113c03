"""Files: flags of ``open``, and calls on files and folders, that not every system has."""

from __future__ import annotations

import errno as errnos
import os
import shutil
import stat
import sys
import threading
from collections.abc import Sequence
from typing import Final

from .system import MINIMAL, is_linux, missing, number

if sys.platform != "win32":
    import fcntl

# Files

BINARY: Final[int] = getattr(os, "O_BINARY", 0)
"""Windows would otherwise change the ends of lines; to be given to each ``os.open``."""
CLOSE_ON_EXEC: Final = number(os, "O_CLOEXEC")
DIRECTORY: Final = number(os, "O_DIRECTORY")
NO_FOLLOW: Final = number(os, "O_NOFOLLOW")
NON_BLOCKING: Final[int] = getattr(os, "O_NONBLOCK", 0)
"""Opening a named pipe does not wait for its other end."""
NAMES_BY_DESCRIPTOR: Final[bool] = (
    not MINIMAL
    and {
        os.access,
        os.mkdir,
        os.open,
        os.stat,
        os.unlink,
    }
    <= os.supports_dir_fd
)
"""Whether files can be named relative to the descriptor of their folder."""
RENAMES_OPEN_FILES: Final[bool] = not MINIMAL and os.name == "posix"

_NO_WAIT: Final = number(os, "RWF_NOWAIT")
_REPARSE_POINT: Final = 0x400
_mutex = threading.Lock()
_locked: dict[int, tuple[int, int]] = {}  # by descriptors of ours


def pread(fd: int, count: int, position: int) -> bytes:
    """Read at a position; the descriptor's own stays as it is."""
    if sys.platform != "win32" and not MINIMAL:
        return os.pread(fd, count, position)
    with _mutex:
        before = os.lseek(fd, 0, os.SEEK_CUR)
        try:
            os.lseek(fd, position, os.SEEK_SET)
        except OSError:  # farther than the longest file of its file system
            return b""
        try:
            return os.read(fd, count)
        finally:
            os.lseek(fd, before, os.SEEK_SET)


def tells_what_is_in_memory() -> bool:
    """Whether ``preadv`` can be called with ``wait=False``."""
    return is_linux() and _NO_WAIT != 0


def preadv(fd: int, buffers: Sequence[bytearray], position: int, *, wait: bool = True) -> int:
    """Read into buffers at a position; only where ``is_linux()``.

    Raises:
        BlockingIOError: with ``wait=False``, the disk would have to be waited for.
        OSError: reading failed.
    """
    if sys.platform == "linux" and not MINIMAL:
        return os.preadv(fd, buffers, position, 0 if wait else _NO_WAIT)
    raise missing("preadv")


def read_ahead(fd: int, position: int, count: int) -> None:
    """Let the system read a part of a file that will be needed soon."""
    if sys.platform == "linux" and not MINIMAL:
        os.posix_fadvise(fd, position, count, os.POSIX_FADV_WILLNEED)


def blocks(status: os.stat_result) -> int | None:
    """How many blocks of its disk a file occupies; ``None`` if the system does not tell."""
    found: int | None = getattr(status, "st_blocks", None)
    return found


def is_link(status: os.stat_result) -> bool:
    """Whether a name leads somewhere else: a symbolic link, or what Windows has like it."""
    attributes: int = getattr(status, "st_file_attributes", 0)
    return stat.S_ISLNK(status.st_mode) or bool(attributes & _REPARSE_POINT)


def is_ours(status: os.stat_result) -> bool:
    """Whether we own a file, as far as the system has owners that can be compared."""
    if sys.platform != "win32" and not MINIMAL:
        return status.st_uid == os.geteuid()
    return True


def is_for_writing_only(fd: int) -> bool:
    """Whether a descriptor was opened so that it cannot be read, as far as it can be told."""
    is_so = False
    if sys.platform != "win32":
        is_so = fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_WRONLY
    return is_so


def lock_file(fd: int) -> None:
    """Lock an open file until ``close_file``, against other programs too where that can be done.

    Raises:
        BlockingIOError: it is locked already.
        OSError: its file system has no locks.
    """
    if sys.platform != "win32" and not MINIMAL:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return
    status = os.fstat(fd)
    file = status.st_dev, status.st_ino
    with _mutex:
        if file in _locked.values():
            raise BlockingIOError(errnos.EWOULDBLOCK, os.strerror(errnos.EWOULDBLOCK))
        _locked[fd] = file


def close_file(fd: int) -> None:
    """Close a file that may be locked."""
    with _mutex:
        _locked.pop(fd, None)
    os.close(fd)


def room_on_disk(fd: int | None, path: bytes) -> int | None:
    """Bytes that are left for us on the disk of a folder; ``None`` if that is not known.

    Args:
        fd: the folder's descriptor, where folders have one.
        path: where it is.

    Raises:
        OSError: the file system does not say.
    """
    if sys.platform != "win32" and not MINIMAL and fd is not None:
        disk = os.fstatvfs(fd)
        return disk.f_bavail * disk.f_frsize if disk.f_blocks else None
    usage = shutil.disk_usage(path)
    return usage.free if usage.total else None


def link(old: bytes, new: bytes, folder: int | None) -> None:
    """Give a file a second name, if that is free.

    Args:
        old: its name.
        new: its second name.
        folder: what both are relative to, if not to the working directory.

    Raises:
        FileExistsError: the name is in use.
        OSError: it cannot be done here.
    """
    if sys.platform != "win32" and not MINIMAL:
        os.link(old, new, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
        return
    raise missing("link")

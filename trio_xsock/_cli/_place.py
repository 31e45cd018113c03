"""A folder on the disk, and the calls on its files.

All names are relative to the folder's descriptor, so that no file is written elsewhere, even if the
path changes meanwhile; and no link is followed. Some systems can neither name files like this nor
refuse to follow a link. There each name is checked first, which leaves a moment for another program
to change it. Names are stored as UTF-8 in any locale.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import Final

from trio_xsock._platform import files as platform

_FLAGS: Final[int] = platform.BINARY | platform.CLOSE_ON_EXEC | platform.NO_FOLLOW
_FOLDER: Final[int] = os.O_RDONLY | platform.DIRECTORY | platform.CLOSE_ON_EXEC
NEW: Final[int] = os.O_WRONLY | os.O_CREAT | os.O_EXCL
"""Flags of a file that is to be made, and must not be there."""


class Place:
    """An open folder. Every call blocks, and raises ``OSError``.

    Args:
        path: where it is.
        fd: its descriptor, if it is open already; it is closed with this.

    Attributes:
        path: where it was.
    """

    def __init__(self, path: bytes, fd: int | None = None) -> None:
        self.path = path
        self._fd = fd
        if fd is not None:
            return
        if platform.NAMES_BY_DESCRIPTOR:
            self._fd = os.open(path, _FOLDER)
        elif not os.path.isdir(path):
            os.stat(path)  # says what is wrong, unless it is a file
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))

    def below(self, name: str) -> Place:
        """The folder ``name``, made if it is missing.

        Raises:
            NotADirectoryError: there is something else of that name.
            OSError: it cannot be made or opened.
        """
        with contextlib.suppress(FileExistsError):
            os.mkdir(self._called(name), dir_fd=self._fd)
        path = os.path.join(self.path, name.encode())
        status = self.status(name)
        if platform.is_link(status) or not stat.S_ISDIR(status.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        if self._fd is None:
            return Place(path)
        return Place(path, os.open(name.encode(), _FOLDER | platform.NO_FOLLOW, dir_fd=self._fd))

    def again(self) -> Place:
        """The same folder, to be closed by itself."""
        return Place(self.path, None if self._fd is None else os.dup(self._fd))

    def is_writable(self) -> bool:
        """Whether files can be made here, as far as rights tell."""
        return os.access(self._called("."), os.W_OK | os.X_OK, dir_fd=self._fd)

    def room(self) -> int | None:
        """Bytes that the disk has left; ``None`` if it does not say."""
        return platform.room_on_disk(self._fd, self.path)

    def open(self, name: str, flags: int) -> int:
        """Open the file ``name``; a link is refused."""
        if not (platform.NO_FOLLOW or flags & os.O_EXCL):  # the latter never follows a link
            with contextlib.suppress(FileNotFoundError):
                if platform.is_link(self.status(name)):
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        return os.open(self._called(name), _FLAGS | flags, 0o666, dir_fd=self._fd)

    def status(self, name: str) -> os.stat_result:
        """The status of the file of that name, or of the link itself."""
        return os.stat(self._called(name), dir_fd=self._fd, follow_symlinks=False)

    def unlink(self, name: str) -> None:
        """Remove a file."""
        os.unlink(self._called(name), dir_fd=self._fd)

    def link(self, old: str, new: str) -> None:
        """Give a file a second name, if that is free; see ``_platform.link``."""
        platform.link(self._called(old), self._called(new), self._fd)

    def replace(self, old: str, new: str) -> None:
        """Give a file another name, and replace the file that has it."""
        os.replace(self._called(old), self._called(new), src_dir_fd=self._fd, dst_dir_fd=self._fd)

    def close(self) -> None:
        """Close it; legal more than once."""
        if self._fd is not None and self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _called(self, name: str) -> bytes:
        """A name in the form that the system takes."""
        return name.encode() if self._fd is not None else os.path.join(self.path, name.encode())

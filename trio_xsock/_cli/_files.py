"""The folder that files are received into, and those below it.

Everything here blocks and is meant to be called in a worker thread, one call at a time;
nothing here uses the network.

All calls name files relative to the folder's descriptor and never follow a link, so that no file
is written elsewhere, even if the path changes meanwhile. Names are stored as UTF-8 in any locale.
Not every file system says how much room is left; then room is not checked.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Sequence
from typing import Self

from ._errors import RefusedError, UsageError
from ._incoming_file import IfExists as IfExists
from ._incoming_file import IncomingFile as IncomingFile
from ._incoming_file import disk_errors, exists_already
from ._text import amount, escape, quote

TEMPORARY_PREFIX = ".xsock-"
TEMPORARY_SUFFIX = ".part"


class Folder:
    """The one folder that files are received into."""

    def __init__(
        self,
        path: str,
        if_exists: IfExists = IfExists.REFUSE,
        *,
        ask_for_room: bool = True,
        resume: bool = False,
        fd: int | None = None,
    ) -> None:
        """Open ``path``.

        Args:
            path: of the folder.
            if_exists: what happens to a name that is in use.
            ask_for_room: refuse a file that is larger than the room that is left.
            resume: keep the part of a file whose transfer broke off, and continue from there.
            fd: its descriptor, if it is open already; it is closed with this.

        Raises:
            UsageError: it is not there, not a folder, or not writable.
        """
        self.path = path
        self.if_exists = if_exists
        self.resume = resume
        self._ask_for_room = ask_for_room
        if fd is not None:
            self.fd = fd
            return
        try:
            self.fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except (OSError, ValueError) as exc:
            reason = exc.strerror if isinstance(exc, OSError) else "not a valid path"
            raise UsageError(f"cannot receive into {quote(path)}: {reason}") from exc
        if not os.access(".", os.W_OK | os.X_OK, dir_fd=self.fd):
            self.close()
            raise UsageError(f"cannot receive into {quote(path)}: it is not writable")

    def below(self, parts: Sequence[str]) -> Folder:
        """Open the folder at ``parts`` below this one, creating what is missing.

        The caller closes it. No link is followed on the way.

        Raises:
            RefusedError: it cannot be created, or there is something else of that name.
        """
        fd = os.dup(self.fd)
        for part in parts:
            try:
                inner = _enter(fd, part)
            finally:
                os.close(fd)
            fd = inner
        return Folder(
            os.path.join(self.path, *parts),
            self.if_exists,
            ask_for_room=self._ask_for_room,
            resume=self.resume,
            fd=fd,
        )

    def check_room(self, name: str, size: int) -> None:
        """Refuse a file that cannot be stored, before a byte of it is received.

        Args:
            name: of the file.
            size: bytes of it that are still to come.

        Raises:
            RefusedError: the name is in use, or the disk has less than ``size`` bytes left.
        """
        self.check_name(name)
        free = self._room()
        if free is not None and size > free:
            raise RefusedError(
                f"{amount(size)} of {quote(name)} are to come, but the receiver's disk has only "
                f"{amount(free)} left"
            )

    def _room(self) -> int | None:
        """Bytes that the disk has left; ``None`` if that is not checked, or not known."""
        if not self._ask_for_room:
            return None
        try:
            disk = os.fstatvfs(self.fd)
        except OSError:
            return None
        return disk.f_bavail * disk.f_frsize if disk.f_blocks else None

    def check_name(self, name: str) -> None:
        """Refuse a name that is in use; raises ``RefusedError``."""
        try:
            status = os.stat(name.encode(), dir_fd=self.fd, follow_symlinks=False)
        except FileNotFoundError:
            return
        except OSError as exc:
            raise RefusedError(f"{quote(name)} is refused: {exc.strerror}") from exc
        if self.if_exists is IfExists.REFUSE:
            raise RefusedError(exists_already(name))
        if self.if_exists is IfExists.OVERWRITE and stat.S_ISDIR(status.st_mode):
            raise RefusedError(f"{quote(name)} exists already and is a folder")

    def create(self) -> IncomingFile:
        """A new temporary file in the folder, for what is about to come.

        Raises:
            CommandError: the disk does not allow it.
        """
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        name = f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}{TEMPORARY_SUFFIX}"
        with disk_errors("creating the file"):
            fd = os.open(name, flags, 0o666, dir_fd=self.fd)
        return IncomingFile(self.fd, name, fd, self.if_exists)

    def close(self) -> None:
        """Close the folder; legal more than once."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def _enter(fd: int, name: str) -> int:
    """The descriptor of a folder in the folder ``fd``, made if it is missing."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with contextlib.suppress(FileExistsError):
            os.mkdir(name.encode(), dir_fd=fd)
        return os.open(name.encode(), flags, dir_fd=fd)
    except OSError as exc:
        if exc.errno in (errno.ENOTDIR, errno.ELOOP):
            raise RefusedError(f"{quote(name)} exists already and is not a folder") from exc
        raise RefusedError(f"the folder {quote(name)} cannot be used: {exc.strerror}") from exc


def shown_path(folder: str, name: str) -> str:
    """The path of ``name``, escaped."""
    return escape(os.path.join(folder, name))

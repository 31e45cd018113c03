"""The folder that files are received into, and a file that grows while it is received.

Everything here blocks and is meant to be called in a worker thread, one call at a time;
nothing here knows of the network. Writing hashes on the way, in the same call, so that the
event loop never does.

What is received grows under a temporary name in its folder and gets its own name only at
the end, in one step: whoever looks sees the whole file or none. All calls name files
relative to the folder's descriptor and never follow a link, so that nothing lands
elsewhere, whatever is done to the path meanwhile. Names lie in the folder as UTF-8, whatever
the locale.

Not every file system can make links, confirm that a file is on the disk, or tell how much room
is left. What it cannot do is done in another way, or done without.
"""

from __future__ import annotations

import contextlib
import enum
import errno
import hashlib
import os
import secrets
import stat
from collections.abc import Generator
from typing import Self

from ._errors import RefusedError, UsageError
from ._names import numbered
from ._text import escape, quote

TEMPORARY_PREFIX = ".xsock-"
TEMPORARY_SUFFIX = ".part"

_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})
_DISK_FAILS = _NO_SPACE | {errno.EIO, errno.EROFS}
"""Of a link that cannot be made: the disk is broken or full. All else means: no links here."""
_NO_SYNC = frozenset(
    {
        errno.EACCES,
        errno.EINVAL,
        errno.ENOSYS,
        errno.ENOTSUP,
        errno.ENOTTY,
        errno.EOPNOTSUPP,
        errno.EPERM,
    }
)
"""The file system does not tell when a file is on the disk."""


class IfExists(enum.Enum):
    """What happens to a file whose name is in use in the folder."""

    REFUSE = "refuse"
    OVERWRITE = "overwrite"
    RENAME = "rename"


class Folder:
    """The one folder that files are received into."""

    def __init__(
        self,
        path: str,
        if_exists: IfExists = IfExists.REFUSE,
        *,
        ask_for_room: bool = True,
    ) -> None:
        """Open ``path``.

        Args:
            path: of the folder.
            if_exists: what happens to a name that is in use.
            ask_for_room: refuse a file that is larger than the room that is left.

        Raises:
            UsageError: it is not there, not a folder, or not writable.
        """
        self.path = path
        self.if_exists = if_exists
        self._ask_for_room = ask_for_room
        try:
            self.fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except (OSError, ValueError) as exc:
            reason = exc.strerror if isinstance(exc, OSError) else "not a valid path"
            raise UsageError(f"cannot receive into {quote(path)}: {reason}") from exc
        if not os.access(".", os.W_OK | os.X_OK, dir_fd=self.fd):
            self.close()
            raise UsageError(f"cannot receive into {quote(path)}: it is not writable")

    def check_room(self, name: str, size: int) -> None:
        """Refuse what cannot end well, before a byte of it comes.

        Raises:
            RefusedError: the name is in use, or the disk has less than ``size`` bytes left.
        """
        self._check_name_free(name)
        free = self._room()
        if free is not None and size > free:
            raise RefusedError(
                f"{quote(name)} has {size} bytes, but the receiver's disk has only {free} left"
            )

    def _room(self) -> int | None:
        """Bytes that the disk has left; ``None`` if nobody asks, or it does not say."""
        if not self._ask_for_room:
            return None
        try:
            disk = os.fstatvfs(self.fd)
        except OSError:
            return None
        return disk.f_bavail * disk.f_frsize if disk.f_blocks else None

    def _check_name_free(self, name: str) -> None:
        try:
            status = os.stat(name.encode(), dir_fd=self.fd, follow_symlinks=False)
        except FileNotFoundError:
            return
        except OSError as exc:
            raise RefusedError(f"{quote(name)} is refused: {exc.strerror}") from exc
        if self.if_exists is IfExists.REFUSE:
            raise RefusedError(f"{quote(name)} exists already")
        if self.if_exists is IfExists.OVERWRITE and stat.S_ISDIR(status.st_mode):
            raise RefusedError(f"{quote(name)} exists already and is a folder")

    def create(self) -> IncomingFile:
        """A new temporary file in the folder, for what is about to come.

        Raises:
            CommandError: the disk does not allow it.
        """
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        name = f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}{TEMPORARY_SUFFIX}"
        with _disk_errors("creating the file"):
            return IncomingFile(self, name, os.open(name, flags, 0o666, dir_fd=self.fd))

    def close(self) -> None:
        """Close the folder; legal more than once."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


class IncomingFile:
    """A file on its way in, under a temporary name until :meth:`publish`."""

    def __init__(self, folder: Folder, temporary_name: str, fd: int) -> None:
        self._folder = folder
        self._temporary: str | None = temporary_name
        self._fd = fd
        self._hash = hashlib.sha256()

    def write(self, data: bytes) -> None:
        """Append and hash ``data``.

        Raises:
            CommandError: the disk does not take it; a full disk is named as such.
        """
        with _disk_errors("writing the file"), memoryview(data) as view:
            done = 0
            while done < len(data):
                done += os.write(self._fd, view[done:])
        self._hash.update(data)

    def digest(self) -> bytes:
        """SHA-256 of what was written so far."""
        return self._hash.digest()

    def sync(self) -> None:
        """Wait until the disk has it all, so that the name never shows less than the file.

        Raises:
            CommandError: the disk reports an error only now.
        """
        with _disk_errors("writing the file"):
            try:
                os.fsync(self._fd)
            except OSError as exc:
                if exc.errno not in _NO_SYNC:
                    raise

    def publish(self, name: str) -> str:
        """Give the file its name in one step; which one it is, if that had to be changed.

        Raises:
            RefusedError: the name came into use meanwhile.
            CommandError: the file system does not allow it.
        """
        with _disk_errors("naming the file"):
            if self._folder.if_exists is IfExists.OVERWRITE:
                self._replace(name)
                return name
            if self._folder.if_exists is IfExists.RENAME:
                for candidate in numbered(name):
                    if self._claim(candidate):
                        return candidate
            elif self._claim(name):
                return name
        raise RefusedError(f"{quote(name)} exists already")

    def discard(self) -> None:
        """Close and remove what is left of the temporary file; legal at any time."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        if self._temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(self._temporary, dir_fd=self._folder.fd)
            self._temporary = None

    def _claim(self, name: str) -> bool:
        """Whether ``name`` was free and is ours now."""
        assert self._temporary is not None
        try:
            self._link(self._temporary, name)
        except FileExistsError:
            return False
        except OSError as exc:
            if exc.errno in _DISK_FAILS:
                raise
            return self._claim_without_links(name)
        return True

    def _link(self, temporary: str, name: str) -> None:
        fd = self._folder.fd
        os.link(
            temporary.encode(), name.encode(), src_dir_fd=fd, dst_dir_fd=fd, follow_symlinks=False
        )

    def _claim_without_links(self, name: str) -> bool:
        """As :meth:`_claim` where the file system has no links: reserve, then replace."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            os.close(os.open(name.encode(), flags, 0o666, dir_fd=self._folder.fd))
        except FileExistsError:
            return False
        try:
            self._replace(name)
        except BaseException:
            with contextlib.suppress(OSError):  # the first error is the one to be told
                os.unlink(name.encode(), dir_fd=self._folder.fd)
            raise
        return True

    def _replace(self, name: str) -> None:
        assert self._temporary is not None
        fd = self._folder.fd
        os.replace(self._temporary.encode(), name.encode(), src_dir_fd=fd, dst_dir_fd=fd)
        self._temporary = None


@contextlib.contextmanager
def _disk_errors(doing: str) -> Generator[None]:
    """Turn an ``OSError`` of the receiving disk into a sentence for both ends."""
    try:
        yield
    except OSError as exc:
        if exc.errno in _NO_SPACE:
            raise RefusedError(f"the receiver's disk is full: {doing} failed") from exc
        raise RefusedError(f"{doing} failed at the receiver: {exc.strerror or exc}") from exc


def shown_path(folder: str, name: str) -> str:
    """Where ``name`` lies, fit to be shown."""
    return escape(os.path.join(folder, name))

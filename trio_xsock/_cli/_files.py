"""Files on both ends: one that is read to be sent, and one that grows while it is received.

Everything here blocks and is meant to be called in a worker thread, one call at a time;
nothing here knows of the network. Reading and writing hash on the way, in the same call,
so that the event loop never does.

What is received grows under a temporary name in its folder and gets its own name only at
the end, in one step: whoever looks sees the whole file or none. All calls name files
relative to the folder's descriptor and never follow a link, so that nothing lands
elsewhere, whatever is done to the path meanwhile.
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

from ._errors import CommandError, RefusedError, UsageError
from ._names import numbered
from ._text import escape, quote

PIECE = 2**20
"""Bytes that are read, hashed or written in one go."""
TEMPORARY_PREFIX = ".xsock-"
TEMPORARY_SUFFIX = ".part"

_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK})
_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})


class IfExists(enum.Enum):
    """What happens to a file whose name is in use in the folder."""

    REFUSE = "refuse"
    OVERWRITE = "overwrite"
    RENAME = "rename"


class FileShrankError(CommandError):
    """The file that is being sent lost bytes that were already announced."""


class Source:
    """A regular file open for reading, its size as it was when it was opened."""

    def __init__(self, path: str) -> None:
        """Open ``path``.

        Raises:
            UsageError: it is not there, not readable or not a regular file.
        """
        self.path = path
        try:
            # O_NONBLOCK: opening a named pipe must not wait for somebody who writes.
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except (OSError, ValueError) as exc:
            reason = exc.strerror if isinstance(exc, OSError) else "not a valid path"
            raise UsageError(f"cannot read {quote(path)}: {reason}") from exc
        status = os.fstat(self._fd)
        if not stat.S_ISREG(status.st_mode):
            os.close(self._fd)
            raise UsageError(f"cannot send {quote(path)}: it is not a regular file")
        self.size = status.st_size
        self.bytes_read = 0
        self._hash = hashlib.sha256()

    def read_piece(self) -> bytes:
        """The next piece, hashed; ``b""`` when all of the announced size was read.

        Raises:
            FileShrankError: the file ends before that.
            CommandError: the disk does not give it.
        """
        wanted = min(PIECE, self.size - self.bytes_read)
        if wanted == 0:
            return b""
        try:
            piece = os.read(self._fd, wanted)
        except OSError as exc:
            raise CommandError(f"reading {quote(self.path)} failed: {exc.strerror}") from exc
        if not piece:
            raise FileShrankError(
                f"{quote(self.path)} shrank while it was sent: it had {self.size} bytes at the "
                f"start and ends after {self.bytes_read} now"
            )
        self._hash.update(piece)
        self.bytes_read += len(piece)
        return piece

    def digest(self) -> bytes:
        """SHA-256 of what was read so far."""
        return self._hash.digest()

    def growth(self) -> int:
        """How many bytes the file has now beyond the size that was announced."""
        return max(0, os.fstat(self._fd).st_size - self.size)

    def close(self) -> None:
        """Close the file; legal more than once."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


class Folder:
    """The one folder that files are received into."""

    def __init__(self, path: str, if_exists: IfExists = IfExists.REFUSE) -> None:
        """Open ``path``.

        Raises:
            UsageError: it is not there, not a folder, or not writable.
        """
        self.path = path
        self.if_exists = if_exists
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
        disk = os.fstatvfs(self.fd)
        free = disk.f_bavail * disk.f_frsize
        if disk.f_blocks and size > free:
            raise RefusedError(
                f"{quote(name)} has {size} bytes, but the receiver's disk has only {free} left"
            )

    def _check_name_free(self, name: str) -> None:
        try:
            status = os.stat(name, dir_fd=self.fd, follow_symlinks=False)
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
            os.fsync(self._fd)

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
            if exc.errno not in _NO_LINKS:
                raise
            return self._claim_without_links(name)
        return True

    def _link(self, temporary: str, name: str) -> None:
        fd = self._folder.fd
        os.link(temporary, name, src_dir_fd=fd, dst_dir_fd=fd, follow_symlinks=False)

    def _claim_without_links(self, name: str) -> bool:
        """As :meth:`_claim` where the file system has no links: reserve, then replace."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            os.close(os.open(name, flags, 0o666, dir_fd=self._folder.fd))
        except FileExistsError:
            return False
        try:
            self._replace(name)
        except BaseException:
            os.unlink(name, dir_fd=self._folder.fd)
            raise
        return True

    def _replace(self, name: str) -> None:
        assert self._temporary is not None
        fd = self._folder.fd
        os.replace(self._temporary, name, src_dir_fd=fd, dst_dir_fd=fd)
        self._temporary = None


@contextlib.contextmanager
def _disk_errors(doing: str) -> Generator[None]:
    """Turn an ``OSError`` of the receiving disk into a sentence for both ends."""
    try:
        yield
    except OSError as exc:
        if exc.errno in _NO_SPACE:
            raise RefusedError(f"the receiver's disk is full: {doing} failed") from exc
        raise RefusedError(f"{doing} failed at the receiver: {exc.strerror}") from exc


def shown_path(folder: str, name: str) -> str:
    """Where ``name`` lies, fit to be shown."""
    return escape(os.path.join(folder, name))

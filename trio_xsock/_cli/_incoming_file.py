"""A file that grows while it is received.

Everything here blocks and is meant to be called in a worker thread, one call at a time. Writing
hashes on the way, in the same call, so that the event loop never does.

It is written under a temporary name in its folder and gets its own name only at the end, in one
step, so other programs see the whole file or none. The part of a file whose transfer broke off may
be kept, and continued by the next transfer.

Not every file system can make links, or confirm that a file is on the disk. There it is done in
another way, or left out.
"""

from __future__ import annotations

import contextlib
import enum
import errno
import hashlib
import os
from collections.abc import Generator

from trio_xsock._platform import files as platform

from ._errors import RefusedError
from ._names import numbered
from ._place import NEW, Place
from ._source import PIECE
from ._text import quote

_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})
_DISK_FAILS = _NO_SPACE | {errno.EIO, errno.EROFS}
"""Errors of ``link`` that mean a broken or full disk. Any other means that there are no links."""
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
"""Errors of ``fsync`` on file systems that do not have it."""


class IfExists(enum.Enum):
    """What happens to a file whose name is in use in the folder."""

    REFUSE = "refuse"
    OVERWRITE = "overwrite"
    RENAME = "rename"


class IncomingFile:
    """A file on its way in, under a temporary name until :meth:`publish`.

    Args:
        place: the folder that it lies in.
        temporary_name: its name there.
        fd: its own descriptor.
        if_exists: what happens to a name that is in use.
        keep: keep the received part when the transfer breaks off.
        there: bytes that were there before, of a transfer that broke off.

    Attributes:
        there: bytes that were there before, of a transfer that broke off.
        size: bytes that are there now, as far as they were read or written here.
    """

    def __init__(
        self,
        place: Place,
        temporary_name: str,
        fd: int,
        if_exists: IfExists,
        *,
        keep: bool = False,
        there: int = 0,
    ) -> None:
        self._place = place
        self._if_exists = if_exists
        self._keep = keep
        self._temporary: str | None = temporary_name
        self._fd = fd
        self._hash = hashlib.sha256()
        self._published = False
        self.there = there
        self.size = 0

    def read_back(self) -> bool:
        """Read and hash a piece of what was there; return whether there is more of it.

        Raises:
            CommandError: the disk cannot be read.
        """
        with disk_errors("reading what was there"):
            piece = os.read(self._fd, min(PIECE, self.there - self.size))
        self._hash.update(piece)
        self.size += len(piece)
        if not piece:  # another program has truncated it
            self.there = self.size
        return self.size < self.there

    def start_over(self) -> None:
        """Drop what was there.

        Raises:
            CommandError: the file cannot be truncated.
        """
        with disk_errors("beginning the file anew"):
            os.ftruncate(self._fd, 0)
            os.lseek(self._fd, 0, os.SEEK_SET)
        self._hash, self.there, self.size = hashlib.sha256(), 0, 0

    def write(self, data: bytes) -> None:
        """Append and hash ``data``.

        Raises:
            CommandError: the disk cannot be written; a full disk is named as such.
        """
        with disk_errors("writing the file"), memoryview(data) as view:
            done = 0
            while done < len(data):
                done += os.write(self._fd, view[done:])
        self._hash.update(data)
        self.size += len(data)

    def digest(self) -> bytes:
        """SHA-256 of what was written so far."""
        return self._hash.digest()

    def sync(self) -> None:
        """Wait until all of it is on the disk, so that a file with its name is always complete.

        Raises:
            CommandError: the disk reports an error that it did not report before.
        """
        with disk_errors("writing the file"):
            try:
                os.fsync(self._fd)
            except OSError as exc:
                if exc.errno not in _NO_SYNC:
                    raise

    def publish(self, name: str) -> str:
        """Give the file its name in one step; return the name, which may have been changed.

        Raises:
            RefusedError: the name came into use meanwhile.
            CommandError: the file system does not allow it.
        """
        with disk_errors("naming the file"):
            if self._if_exists is IfExists.OVERWRITE:
                self._replace(name)
                return self._published_as(name)
            if self._if_exists is IfExists.RENAME:
                for candidate in numbered(name):
                    if self._claim(candidate):
                        return self._published_as(candidate)
            elif self._claim(name):
                return self._published_as(name)
        raise RefusedError(exists_already(name))

    def let_go(self) -> None:
        """Close it; the received part is kept if the next transfer may continue it."""
        if self._keep and self.size and not self._published:
            self._temporary = None
        self.discard()

    def discard(self) -> None:
        """Close and remove what is left of the temporary file; legal at any time."""
        self._close()
        if self._temporary is not None:
            with contextlib.suppress(OSError):
                self._place.unlink(self._temporary)
            self._temporary = None

    def _close(self) -> None:
        if self._fd >= 0:
            platform.close_file(self._fd)
            self._fd = -1

    def _published_as(self, name: str) -> str:
        self._published = True
        return name

    def _claim(self, name: str) -> bool:
        """Whether ``name`` was free and is ours now."""
        assert self._temporary is not None
        try:
            self._place.link(self._temporary, name)
        except FileExistsError:
            return False
        except OSError as exc:
            if exc.errno in _DISK_FAILS:
                raise
            return self._claim_without_links(name)
        return True

    def _claim_without_links(self, name: str) -> bool:
        """As :meth:`_claim` where the file system has no links: reserve, then replace."""
        try:
            os.close(self._place.open(name, NEW))
        except FileExistsError:
            return False
        try:
            self._replace(name)
        except BaseException:
            with contextlib.suppress(OSError):  # the first error is the one to report
                self._place.unlink(name)
            raise
        return True

    def _replace(self, name: str) -> None:
        assert self._temporary is not None
        if not platform.RENAMES_OPEN_FILES:
            self._close()
        self._place.replace(self._temporary, name)
        self._temporary = None


@contextlib.contextmanager
def disk_errors(doing: str) -> Generator[None]:
    """Turn an ``OSError`` of the receiving disk into a sentence for both ends."""
    try:
        yield
    except OSError as exc:
        if exc.errno in _NO_SPACE:
            raise RefusedError(f"the receiver's disk is full: {doing} failed") from exc
        raise RefusedError(f"{doing} failed at the receiver: {exc.strerror or exc}") from exc


def exists_already(name: str) -> str:
    """The message for a name that is in use, with the options that allow it."""
    return (
        f"{quote(name)} exists already (the receiver takes it all the same with --rename, under "
        "another name, or with --overwrite)"
    )

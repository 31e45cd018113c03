"""The folder that files are received into, and those below it.

Everything here blocks and is meant to be called in a worker thread, one call at a time;
nothing here uses the network.

No link is ever followed, see ``_place``. Not every file system says how much room is left; then
room is not checked.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Sequence
from typing import Self

from ._errors import RefusedError, UsageError
from ._incoming_file import IfExists as IfExists
from ._incoming_file import IncomingFile as IncomingFile
from ._incoming_file import disk_errors, exists_already
from ._place import NEW, Place
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
        place: Place | None = None,
    ) -> None:
        """Open ``path``.

        Args:
            path: of the folder.
            if_exists: what happens to a name that is in use.
            ask_for_room: refuse a file that is larger than the room that is left.
            resume: keep the part of a file whose transfer broke off, and continue from there.
            place: the folder, if it is open already; it is closed with this.

        Raises:
            UsageError: it is not there, not a folder, or not writable.
        """
        self.path = path
        self.if_exists = if_exists
        self.resume = resume
        self._ask_for_room = ask_for_room
        if place is not None:
            self.place = place
            return
        try:
            self.place = Place(os.fsencode(path))
        except (OSError, ValueError) as exc:
            reason = exc.strerror if isinstance(exc, OSError) else "not a valid path"
            raise UsageError(f"cannot receive into {quote(path)}: {reason}") from exc
        if not self.place.is_writable():
            self.close()
            raise UsageError(f"cannot receive into {quote(path)}: it is not writable")

    def below(self, parts: Sequence[str]) -> Folder:
        """Open the folder at ``parts`` below this one, creating what is missing.

        The caller closes it. No link is followed on the way.

        Raises:
            RefusedError: it cannot be created, or there is something else of that name.
        """
        place = self.place.again()
        for part in parts:
            try:
                inner = _enter(place, part)
            finally:
                place.close()
            place = inner
        return Folder(
            os.path.join(self.path, *parts),
            self.if_exists,
            ask_for_room=self._ask_for_room,
            resume=self.resume,
            place=place,
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
            return self.place.room()
        except OSError:
            return None

    def check_name(self, name: str) -> None:
        """Refuse a name that is in use; raises ``RefusedError``."""
        try:
            status = self.place.status(name)
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
        name = f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}{TEMPORARY_SUFFIX}"
        with disk_errors("creating the file"):
            fd = self.place.open(name, NEW)
        return IncomingFile(self.place, name, fd, self.if_exists)

    def close(self) -> None:
        """Close the folder; legal more than once."""
        self.place.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def _enter(place: Place, name: str) -> Place:
    """A folder in ``place``, made if it is missing."""
    try:
        return place.below(name)
    except NotADirectoryError as exc:
        raise RefusedError(f"{quote(name)} exists already and is not a folder") from exc
    except OSError as exc:
        raise RefusedError(f"the folder {quote(name)} cannot be used: {exc.strerror}") from exc


def shown_path(folder: str, name: str) -> str:
    """The path of ``name``, escaped."""
    return escape(os.path.join(folder, name))

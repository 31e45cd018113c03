"""The list of what one ``xsock send`` sends: files, the files of folders, and standard input.

Links within a folder are not followed: they may lead out of it, or in circles. Names that the
receiver would refuse are left out here, with the reason.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ._errors import UsageError
from ._names import objection
from ._source import STDIN, Source
from ._text import quote
from ._transfer import NAME_LIMIT, PATH_LIMIT


@dataclass(slots=True)
class Item:
    """One file, or one empty folder."""

    path: str
    """Its path; ``-`` for standard input."""
    name: str
    """Its name at the receiver, with ``/`` between the names of folders."""
    size: int = 0
    """Bytes in it, as far as that is known."""
    is_folder: bool = False
    source: Source | None = None
    """The open file, if it was opened already."""


@dataclass(slots=True)
class Parcel:
    """The items, in the order in which they are sent."""

    items: list[Item] = field(default_factory=list[Item])
    left_out: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    """Paths that are not sent, and why."""
    is_single: bool = False
    """It is one file that was named on the command line, and no folder."""

    @property
    def size(self) -> int:
        """Bytes in all."""
        return sum(item.size for item in self.items)

    def close(self) -> None:
        """Close what is open; legal more than once."""
        for item in self.items:
            if item.source is not None:
                item.source.close()


def pack(paths: Sequence[str], name: str | None) -> Parcel:
    """Find the files at ``paths``; blocks. The caller closes the parcel.

    Args:
        paths: as they were given; ``-`` is standard input.
        name: the name at the receiver of standard input, or else of the only path.

    Raises:
        UsageError: something is not there, cannot be sent, or has no name, or two have the same.
    """
    named = _names(paths, name)
    parcel = Parcel(is_single=len(paths) == 1 and not _is_folder(paths[0]))
    try:
        for path, called in named.items():
            if _is_folder(path):
                _walk(parcel, path, called)
            else:
                parcel.items.append(_named_file(path, called, keep=parcel.is_single))
    except BaseException:
        parcel.close()
        raise
    return parcel


def _names(paths: Sequence[str], name: str | None) -> dict[str, str]:
    """The name of each path at the receiver."""
    if STDIN in paths and name is None:
        raise UsageError("standard input has no name; give it one with --name")
    if name is not None and len(paths) > 1 and STDIN not in paths:
        raise UsageError("--name is for one file or folder, or for standard input")
    named: dict[str, str] = {}
    taken: dict[str, str] = {}
    for path in paths:
        is_given = name is not None and (path == STDIN or len(paths) == 1)
        called = _checked(path, name if is_given and name is not None else _own_name(path))
        if called in taken:
            both = f"{quote(taken[called])} and {quote(path)}"
            raise UsageError(f"{both} would both be called {quote(called)} at the receiver")
        named[path], taken[called] = called, path
    return named


def _own_name(path: str) -> str:
    """The last component; for a path such as ``.``, of the path that it resolves to."""
    name = os.path.basename(path.rstrip("/") or path)
    return os.path.basename(os.path.realpath(path)) if name in ("", ".", "..") else name


def _checked(path: str, name: str) -> str:
    name = _decoded(name)
    try:
        length = len(name.encode())
    except UnicodeEncodeError:
        raise UsageError(
            f"the name of {quote(path)} is not valid Unicode; give another with --name"
        ) from None
    if not 1 <= length <= NAME_LIMIT:
        raise UsageError(f"a name has 1 to {NAME_LIMIT} bytes, {quote(name)} has {length}")
    if "/" in name:
        raise UsageError(f"{quote(name)} is a path; a name has no / in it")
    return name


def _decoded(name: str) -> str:
    """A name that is UTF-8 on the disk, in a locale that is not."""
    with contextlib.suppress(UnicodeError):
        return os.fsencode(name).decode()
    return name


def _is_folder(path: str) -> bool:
    return path != STDIN and os.path.isdir(path)


def _named_file(path: str, name: str, *, keep: bool) -> Item:
    """A file that was named; raises at once if it cannot be sent."""
    source = Source(path)
    if keep or source.is_stream:
        return Item(path, name, source.size, source=source)
    source.close()
    return Item(path, name, source.size)


def _walk(parcel: Parcel, path: str, name: str) -> None:
    """Add what is in the folder ``path``, which is called ``name``."""
    waiting = [(path, name)]
    while waiting:
        folder, called = waiting.pop()
        try:
            with os.scandir(folder) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as exc:
            parcel.left_out.append((folder, exc.strerror or str(exc)))
            continue
        if not entries:
            parcel.items.append(Item(folder, called, is_folder=True))
        waiting.extend(reversed([*_look_into(parcel, entries, called)]))


def _look_into(
    parcel: Parcel, entries: Sequence[os.DirEntry[str]], called: str
) -> Iterator[tuple[str, str]]:
    """Add the files among ``entries``; the folders among them are left to the caller."""
    for entry in entries:
        name = f"{called}/{_decoded(entry.name)}"
        try:
            status = entry.stat(follow_symlinks=False)
        except OSError as exc:
            parcel.left_out.append((entry.path, exc.strerror or str(exc)))
            continue
        reason = _objection(name, status.st_mode)
        if reason is not None:
            parcel.left_out.append((entry.path, reason))
        elif stat.S_ISDIR(status.st_mode):
            yield entry.path, name
        else:
            parcel.items.append(Item(entry.path, name, status.st_size))


def _objection(name: str, mode: int) -> str | None:
    """Why something in a folder is not sent."""
    if reason := objection(name.rpartition("/")[2]):
        return reason
    if len(name.encode()) > PATH_LIMIT:
        return f"its path is longer than {PATH_LIMIT} bytes"
    if stat.S_ISLNK(mode):
        return "it is a symbolic link"
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        return "it is neither a file nor a folder"
    return None

"""Which file names from the network are accepted, and how a name is changed when it is in use.

A name is one path component; a file of a folder has several, each of which is checked by the same
rule. The rule is the same on every system, so that a folder can be copied to any other afterwards,
and so that the answer to a sender does not depend on the receiver's system.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterator

from ._errors import RefusedError
from ._text import quote

_NAME_BYTES = 255
_DEVICES = re.compile(
    r"(?:con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[0-9\u00b9\u00b2\u00b3]) *(?:\..*)?",
    re.IGNORECASE | re.DOTALL,
)
_RESERVED = frozenset('<>:"|?*')
"""Characters that Windows, and FAT and SMB on any system, do not allow in names."""
_DIRECTION = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_OTHER_NAME = "(send it under another name with --name)"
_LAST_NUMBER = 9999


def check_untrusted_name(name: str) -> str:
    """Return ``name`` if it may become a file in the folder.

    Raises:
        RefusedError: it is empty, hidden or too long, would lead elsewhere, names a
            device, looks like an option, cannot be stored on some systems, or has
            characters that mislead a reader.
    """
    reason = objection(name)
    if reason is not None:
        raise RefusedError(f"the file name {quote(name)} is refused: {reason}")
    return name


def check_untrusted_path(path: str) -> tuple[str, ...]:
    """Split ``path`` at ``/``, if each of its components may be a name.

    Raises:
        RefusedError: a component is not allowed; see ``check_untrusted_name``.
    """
    parts = tuple(path.split("/"))
    if len(parts) == 1:
        return (check_untrusted_name(path),)
    for part in parts:
        if reason := objection(part):
            raise RefusedError(f"the path {quote(path)} is refused, for {quote(part)}: {reason}")
    return parts


def objection(name: str) -> str | None:
    """Why ``name`` is not accepted for a file or folder; ``None`` if it is."""
    if not name:
        return "it is empty"
    if name in (".", ".."):
        return "it means a folder"
    if "/" in name or "\\" in name:
        return "it holds a path separator"
    if any(_deceives(character) for character in name):
        return "it holds control characters"
    if name.startswith("."):
        return f"hidden files are not taken {_OTHER_NAME}"
    if name.startswith("-"):  # "rm *" and "tar *" would take it for an option
        return f"it begins with a dash, which commands take for an option {_OTHER_NAME}"
    if reserved := _RESERVED.intersection(name):
        shown = " ".join(sorted(reserved))
        return f"some systems have no {shown} in a name {_OTHER_NAME}"
    if name.endswith((".", " ")):
        return f"some systems drop a dot or blank at the end {_OTHER_NAME}"
    length = len(name.encode())
    if length > _NAME_BYTES:
        return f"it has {length} bytes, {_NAME_BYTES} are allowed"
    if _DEVICES.fullmatch(name):
        return f"it names a device on some systems {_OTHER_NAME}"
    return None


def _deceives(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") or character in _DIRECTION


def numbered(name: str) -> Iterator[str]:
    """``name``, then ``name (1)``, ``name (2)`` and so on, the number before the suffix.

    The stem is cut where the result would be too long for a file name.
    """
    yield name
    stem, suffix = os.path.splitext(name)
    for number in range(1, _LAST_NUMBER + 1):
        tail = f" ({number}){suffix}"
        room = _NAME_BYTES - len(tail.encode())
        if room < 1:  # nearly all of the name is suffix
            tail, room = f" ({number})", _NAME_BYTES - len(f" ({number})")
            stem = name
        yield stem.encode()[:room].decode(errors="ignore") + tail

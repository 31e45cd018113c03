"""Making text fit to be shown: nothing from outside reaches the terminal as it came.

A name or a message that was chosen by the peer may hold escape sequences that move the
cursor, change the window's title or feed the keyboard, or characters that turn the
direction of writing. :func:`escape` leaves nothing but visible characters and spaces.
"""

from __future__ import annotations

_LONGEST = 400


def escape(text: str, *, longest: int = _LONGEST) -> str:
    """``text`` with every character that is not visible written as a backslash escape.

    Backslashes are doubled, so that what is shown can be told apart from what was
    escaped. Texts of more than ``longest`` characters are cut, and end in ``...``.
    """
    cut = text[:longest]
    shown = "".join(_escape_character(character) for character in cut)
    return shown if len(text) <= longest else shown + "..."


def quote(text: str, *, longest: int = _LONGEST) -> str:
    """``text`` escaped and in single quotes, for names within a sentence."""
    escaped = escape(text, longest=longest).replace("'", "\\'")
    return f"'{escaped}'"


def _escape_character(character: str) -> str:
    if character == "\\":
        return "\\\\"
    if character.isprintable():
        return character
    return character.encode("unicode_escape").decode("ascii")


def endpoint(host: str, port: int) -> str:
    """``host:port`` as a person would type it, IPv6 addresses in brackets."""
    shown = escape(host)
    return f"[{shown}]:{port}" if ":" in shown else f"{shown}:{port}"


_UNITS = ("kB", "MB", "GB", "TB", "PB", "EB")


def amount(count: float) -> str:
    """``count`` bytes in a unit that is easy to read, powers of ten: ``1.5 MB``."""
    if count < 1000:
        return f"{count:.0f} bytes"
    power = 0
    while count >= 999.5 and power < len(_UNITS):
        count /= 1000
        power += 1
    unit = _UNITS[power - 1]
    return f"{count:.1f} {unit}" if count < 99.95 else f"{count:.0f} {unit}"


def speed(count: int, seconds: float) -> str:
    """The rate of ``count`` bytes in ``seconds``; at least a millisecond is reckoned."""
    return f"{amount(count / max(seconds, 0.001))}/s"

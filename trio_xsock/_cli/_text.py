"""Escaping text: nothing from the network reaches the terminal unchanged.

A name or a message that was chosen by the peer may contain escape sequences that move the
cursor, change the window's title or simulate input, or characters that change the
direction of writing. :func:`escape` leaves nothing but visible characters and spaces.
"""

from __future__ import annotations

_LONGEST = 400


def escape(text: str, *, longest: int = _LONGEST) -> str:
    """``text`` with every character that is not visible written as a backslash escape.

    Backslashes are doubled, so that the result is unambiguous. Texts of more than ``longest``
    characters are cut, and end in ``...``.
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


def plural(count: int, noun: str) -> str:
    """``count`` and a noun, with an s for the plural: ``1 member``, ``2 members``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def amount(count: float) -> str:
    """``count`` bytes in a unit that is easy to read, powers of ten: ``1.5 MB``."""
    if count < 999.5:
        return plural(round(count), "byte")
    power = 0
    while count >= 999.5 and power < len(_UNITS):
        count /= 1000
        power += 1
    unit = _UNITS[power - 1]
    return f"{count:.1f} {unit}" if count < 99.95 else f"{count:.0f} {unit}"


def amounts(done: int, total: int) -> str:
    """``done`` and ``total`` bytes in the unit of the latter, in few characters: ``0.5/2.0 MB``."""
    figure, _, unit = amount(total).partition(" ")
    if total < 1000:
        return f"{done}/{figure} {unit}"
    power = _UNITS.index(unit) + 1
    return f"{done / 1000**power:.1f}/{figure} {unit}"


def clock(seconds: float) -> str:
    """A time as a clock shows it: ``0:00:07``, ``3:05:00``; days where there are many."""
    minutes, second = divmod(max(0, round(seconds)), 60)
    hours, minute = divmod(minutes, 60)
    if hours >= 100:
        return f"{hours // 24} days"
    return f"{hours}:{minute:02}:{second:02}"


def part(done: int, total: int) -> str:
    """``done`` of ``total`` bytes: ``0 of 10 bytes``, ``1.5 MB of 2.0 GB``."""
    if total < 1000:
        return f"{done} of {plural(total, 'byte')}"
    return f"{amount(done)} of {amount(total)}"


def both_ways(sent: int, received: int) -> str:
    """How many bytes went each way: ``4 bytes went out, 0 came in``."""
    small = sent < 1000 and received < 1000
    return f"{amount(sent)} went out, {received if small else amount(received)} came in"


def speed(count: int, seconds: float) -> str:
    """The rate of ``count`` bytes in ``seconds``, which count as at least a millisecond."""
    return f"{amount(count / max(seconds, 0.001))}/s"

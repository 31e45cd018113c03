"""What a peer sent, on its way to whoever reads our output.

Into a pipe or a file bytes go as they came. A terminal would obey what is in them, so there
nothing but visible characters, line ends and tabs is written, and the rest as escapes. For
a program that asked for ``--json`` they become members of an object.
"""

from __future__ import annotations

import base64
import codecs
import io

from ._text import escape

_KEPT = "\n\t"
_BROKEN = range(0xDC80, 0xDD00)
"""Where surrogateescape puts bytes that are no UTF-8."""


class TerminalView:
    r"""Bytes as text that a terminal can show, whatever the pieces in which they come.

    A character that came in part waits for the rest of it; bytes that are no UTF-8 are
    shown as ``\xff``; CR, LF and CR LF each end a line.
    """

    def __init__(self) -> None:
        characters = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self._decoder = io.IncrementalNewlineDecoder(characters, translate=True)

    def feed(self, data: bytes, *, final: bool = False) -> str:
        """The text of the next bytes; if they are the final ones, of what waited too."""
        return "".join(map(_show, self._decoder.decode(data, final)))


def _show(character: str) -> str:
    if character in _KEPT:
        return character
    if ord(character) in _BROKEN:
        return f"\\x{ord(character) - 0xDC00:02x}"
    return escape(character)


class JSONView:
    """Bytes as the members of a JSON object: ``text`` where they are UTF-8, else ``base64``."""

    def __init__(self) -> None:
        self._waiting = b""

    def feed(self, data: bytes, *, final: bool = False) -> dict[str, str]:
        """The members for the next bytes; none while all of them wait for a rest."""
        data = self._waiting + data
        try:
            text, used = codecs.utf_8_decode(data, "strict", final)
        except UnicodeDecodeError:
            self._waiting = b""
            return {"base64": base64.b64encode(data).decode()}
        self._waiting = data[used:]
        return {"text": text} if text else {}

"""Decoding the peer's bytes for our output.

A pipe or a file gets them unchanged. A terminal would interpret control characters, so it gets
visible characters, line ends and tabs only, and the rest as escapes. With ``--json`` they become
members of an object.
"""

from __future__ import annotations

import base64
import codecs
import io

from ._text import escape

_KEPT = "\n\t"
_BROKEN = range(0xDC80, 0xDD00)
"""The characters that surrogateescape uses for bytes that are not UTF-8."""


class TerminalView:
    r"""Decodes bytes, in pieces of any size, to text that a terminal can show.

    An incomplete character waits for the rest of it; bytes that are not UTF-8 are
    shown as ``\xff``; CR, LF and CR LF each end a line.
    """

    def __init__(self) -> None:
        characters = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self._decoder = io.IncrementalNewlineDecoder(characters, translate=True)

    def feed(self, data: bytes, *, final: bool = False) -> str:
        """The text of the next bytes; if they are the last ones, of all that waited too."""
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
        """The members for the next bytes; none while a character is incomplete."""
        data = self._waiting + data
        try:
            text, used = codecs.utf_8_decode(data, "strict", final)
        except UnicodeDecodeError:
            self._waiting = b""
            return {"base64": base64.b64encode(data).decode()}
        self._waiting = data[used:]
        return {"text": text} if text else {}

"""What a command says: lines for a person, or one JSON object per line for a program.

Facts go to standard output, troubles and progress to standard error. Each statement is
made once, as a sentence together with its facts; ``--json`` decides which of the two is
written, and then everything goes to standard output. Sentences are expected to be escaped
already (``_text``); JSON escapes by itself, all but ASCII included.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TextIO

Fact = str | int | float | bool | tuple[str, ...] | None


class Report:
    """Writes statements; whoever reads them may go away at any time without harm."""

    def __init__(
        self, *, as_json: bool = False, out: TextIO | None = None, err: TextIO | None = None
    ) -> None:
        self.as_json = as_json
        self.out = out or sys.stdout or _nowhere()
        self.err = err or sys.stderr or _nowhere()
        self.around: Callable[[], AbstractContextManager[object]] = contextlib.nullcontext
        """Entered around each line; the progress bar steps aside in it."""
        self.paint: Callable[[str, str], None] | None = None
        """Writes a sentence in a style to standard output, where colours are wanted."""

    def fact(self, event: str, sentence: str, *, style: str = "", **facts: Fact) -> None:
        """Something that the user asked for; ``style`` is rich's, for a coloured terminal."""
        self._say(self.out, event, sentence, style, facts)

    def note(self, event: str, sentence: str, **facts: Fact) -> None:
        """Something worth knowing, where standard output belongs to what the peer sends."""
        self._say(self.err, event, f"xsock: {sentence}", "", facts)

    def trouble(self, event: str, sentence: str, **facts: Fact) -> None:
        """Something that went wrong, or that ended the work early."""
        facts.setdefault("message", sentence)
        self._say(self.err, event, f"xsock: {sentence}", "", facts)

    def _say(
        self, stream: TextIO, event: str, sentence: str, style: str, facts: dict[str, Fact]
    ) -> None:
        with self.around():
            if self.as_json:
                write_line(self.out, json.dumps({"event": event, **facts}))
            elif style and self.paint is not None:
                self.paint(sentence, style)
            else:
                write_line(stream, sentence)


def _nowhere() -> TextIO:
    """In place of a stream that was closed before we began, as by ``>&-``."""
    return open(os.devnull, "w", encoding="utf-8")


def write_line(stream: TextIO, line: str) -> None:
    """Write and flush ``line``; a reader that went away is not our failure.

    Characters that the terminal's encoding lacks are written as escapes.
    """
    encoding = stream.encoding or "utf-8"
    try:
        stream.write(line.encode(encoding, "backslashreplace").decode(encoding) + "\n")
        stream.flush()
    except BrokenPipeError:
        _silence(stream)


def _silence(stream: TextIO) -> None:
    """Let everything that is still written to ``stream`` vanish, at exit too."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, stream.fileno())
        finally:
            os.close(nowhere)

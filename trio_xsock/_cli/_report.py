"""The messages of a command: lines for a person, or one JSON object per line for a program.

Facts go to standard output, troubles and progress to standard error. Each message is given once,
as a sentence together with its facts; ``--json`` decides which of the two is written, and then
everything goes to standard output. Sentences must be escaped already (``_text``); the JSON encoder
escapes everything but ASCII.

Writing a message never waits for its reader. Commands whose purpose is their output wait with
``room``, ``delivered`` and ``while_read``; for the others a lost line is not a failure.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from typing import TextIO, TypeVar

import trio

from ._beside import beside
from ._errors import OutputFailedError, OutputGoneError
from ._stream import Stream, standard_streams
from ._text import plural

T = TypeVar("T")

Fact = str | int | float | bool | tuple[str, ...] | None


class Report:
    """Writes messages; the reader may close its end at any time.

    Attributes:
        as_json: objects are written, not sentences.
        out, err: standard output and standard error.
        around: entered around each line; it hides the progress bar.
        paint: writes a sentence in a style to standard output, where colours are wanted.
    """

    def __init__(
        self, *, as_json: bool = False, out: TextIO | None = None, err: TextIO | None = None
    ) -> None:
        self.as_json = as_json
        self._opened = contextlib.ExitStack()
        self.out, self.err = standard_streams(
            out or sys.stdout or self._nowhere(),
            err or sys.stderr or self._nowhere(),
        )
        self.around: Callable[[], AbstractContextManager[object]] = contextlib.nullcontext
        self.paint: Callable[[str, str], None] | None = None
        self._failure_told = False

    def fact(self, event: str, sentence: str, *, style: str = "", **facts: Fact) -> None:
        """A result that the user asked for; ``style`` is rich's, for a coloured terminal."""
        self._say(self.out, event, sentence, style, facts)

    def note(self, event: str, sentence: str, **facts: Fact) -> None:
        """Information for standard error, where standard output has the peer's bytes."""
        self._say(self.err, event, f"xsock: {sentence}", "", facts)

    def trouble(self, event: str, sentence: str, **facts: Fact) -> None:
        """A failure, or what ended the work early."""
        facts.setdefault("message", sentence)
        self._say(self.err, event, f"xsock: {sentence}", "", facts)
        why = self.out.why_failed()
        if why and why in sentence and not self.as_json:
            self._failure_told = True

    def plain(self, text: str, *, error: bool) -> None:
        """Unchanged text, such as ``--help``, to standard error or standard output."""
        (self.err if error else self.out).text(text)

    def _say(
        self, stream: Stream, event: str, sentence: str, style: str, facts: dict[str, Fact]
    ) -> None:
        with self.around():
            self._tell_lost(self.out if self.as_json else stream)
            if self.as_json:
                self.out.line(json.dumps({"event": event, **facts}))
            elif style and self.paint is not None:
                self.paint(sentence, style)
            else:
                stream.line(sentence)

    def _tell_lost(self, stream: Stream) -> None:
        """Write how many lines were lost for lack of room, once there is room again."""
        lost, stream.lost = stream.lost, 0
        if lost:
            sentence = f"xsock: {plural(lost, 'line')} lost here, since nobody took them in time"
            message = json.dumps({"event": "lost", "lines": lost})
            stream.line(message if self.as_json else sentence)
            if stream.lost:  # no room yet
                stream.lost = lost

    # Waiting for the reader

    async def room(self) -> None:
        """Wait until standard output has room for more.

        Raises:
            OutputGoneError: its reader has closed it.
            OutputFailedError: it cannot be written.
        """
        await self.out.room()

    async def delivered(self) -> None:
        """Wait until all of standard output is written; raises like ``room``."""
        await self.out.emptied()

    async def while_read(self, work: Callable[[], Awaitable[T]]) -> T:
        """Run ``work``, and cancel it when the reader of standard output is gone.

        It returns when all output of the work was read, or its reader is gone. Raises like
        ``room``.
        """
        results: list[T] = []
        failures: list[OutputGoneError | OutputFailedError] = []

        async def watch() -> None:
            failures.append(await self.out.broken())
            scope.cancel(reason="standard output is of no use any more")

        async def all_of_it() -> None:
            results.append(await work())
            await self.delivered()

        with trio.CancelScope() as scope:
            try:
                await beside(watch, all_of_it)
            except (OutputGoneError, OutputFailedError) as exc:
                failures.insert(0, exc)
        await trio.lowlevel.cancel_shielded_checkpoint()
        if failures and not (results and isinstance(failures[0], OutputGoneError)):
            raise failures[0]
        return results[0]

    def is_delivered(self) -> bool:
        """Whether no output is left that might still be read."""
        return not self.out.sink.waiting and not self.err.sink.waiting

    def finish(self, give_up: Callable[[], bool]) -> None:
        """Block until all is written, or ``give_up()`` returns True; the report is closed then."""
        self._tell_lost(self.out)
        self.out.sink.drain(give_up)
        why = self.out.why_failed()
        if why and not self._failure_told:
            self.err.line(f"xsock: {why}")
        self._tell_lost(self.err)
        self.err.sink.drain(give_up)
        self.out.sink.close()
        self.err.sink.close()
        self._opened.close()

    def _nowhere(self) -> TextIO:
        """Replaces a stream that was closed before the program began, as by ``>&-``."""
        return self._opened.enter_context(open(os.devnull, "w", encoding="utf-8"))

"""``xsock demo``: all transfers in one process, with a real file, and a check at the end."""

from __future__ import annotations

import argparse
import os
import tempfile

from trio_xsock import SocketError

from . import _arguments
from ._command import Command, add_json
from ._errors import CommandError, ExitCode, escape_error
from ._files import Folder
from ._interrupt import until_interrupted
from ._progress import use_colours
from ._report import Fact, Report
from ._rounds import Aborted, Whole, aborted_by_cancellation, aborted_by_handler, whole_file
from ._source import PIECE
from ._text import escape, speed
from ._threads import in_thread

_SIZE = 200 * 2**20
_SMALLEST = 32 * 2**20
"""Less might fit into the system's buffers, and then there is nothing left to abort."""


def _demo_size(text: str) -> int:
    size = _arguments.size(text)
    if size < _SMALLEST:
        raise argparse.ArgumentTypeError(f"the demo needs at least {_SMALLEST} bytes (32M)")
    return size


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--size",
        type=_demo_size,
        default=_SIZE,
        help="size of the file that is made and sent (default: 200M)",
    )
    add_json(parser)


def _make_file(path: str, size: int) -> None:
    """Fill a file with random bytes; blocks."""
    try:
        with open(path, "xb") as file:
            file.writelines(os.urandom(min(PIECE, size - at)) for at in range(0, size, PIECE))
    except OSError as exc:
        raise CommandError(f"cannot make the file {escape(path)}: {exc.strerror}") from exc


class _Demo:
    """One run of the command."""

    def __init__(self, size: int, report: Report) -> None:
        self._size = size
        self._report = report
        self._agreed = True

    async def run(self) -> ExitCode:
        use_colours(self._report)
        try:
            with tempfile.TemporaryDirectory(prefix="xsock-demo-") as temporary:
                code = await until_interrupted(lambda: self._read(temporary))
        except OSError as exc:
            raise CommandError(f"no temporary folder: {exc.strerror}") from exc
        if code is None:
            self._report.trouble("interrupted", "interrupted; the temporary files are removed")
            return ExitCode.INTERRUPTED
        return code

    async def _read(self, temporary: str) -> ExitCode:
        return await self._report.while_read(lambda: self._rounds(temporary))

    async def _rounds(self, temporary: str) -> ExitCode:
        path = os.path.join(temporary, "sample.bin")
        await in_thread("the demo", _make_file, path, self._size)
        self._title("file", f"A file of {self._size} random bytes: {escape(path)}")
        self._title("round", "1. The whole file, as 'xsock send' and 'xsock receive' move it")
        with Folder(temporary) as folder:
            self._say_whole(await whole_file(self._report, path, folder))
        self._title("round", "2. Aborted half way: the scope around send_all is cancelled")
        self._say_aborted("cancellation", await aborted_by_cancellation(self._report, path))
        self._title("round", "3. Aborted half way: on_send_progress returns True")
        self._say_aborted("handler", await aborted_by_handler(self._report, path))
        return self._say_summary()

    def _title(self, event: str, text: str) -> None:
        self._report.fact(event, text, style="bold", text=text)

    def _say_whole(self, whole: Whole) -> None:
        self._rate = speed(whole.size, whole.seconds)
        sent, received = whole.digest_sent.hex(), whole.digest_received.hex()
        self._verdict(
            "whole",
            f"{whole.size} bytes in {whole.seconds:.2f} s, {self._rate}; "
            f"SHA-256 sent {sent[:16]}..., received {received[:16]}...",
            whole.agrees,
            bytes_sent=whole.size,
            seconds=round(whole.seconds, 3),
            sha256_sent=sent,
            sha256_received=received,
        )

    def _say_aborted(self, how: str, aborted: Aborted) -> None:
        complete = aborted.complete
        self._verdict(
            "aborted",
            f"SendComplete: user_aborted={complete.user_aborted}, {complete.bytes_sent} bytes "
            f"sent, {complete.bytes_unsent} unsent; the receiver counted {aborted.received}",
            aborted.agrees,
            how=how,
            size=aborted.size,
            user_aborted=complete.user_aborted,
            bytes_sent=complete.bytes_sent,
            bytes_unsent=complete.bytes_unsent,
            bytes_received=aborted.received,
        )

    def _verdict(self, event: str, text: str, agrees: bool, **facts: Fact) -> None:
        self._agreed = self._agreed and agrees
        mark, style = ("  agreed  ", "green") if agrees else ("  DIFFERS ", "bold red")
        self._report.fact(event, mark + text, style=style, agrees=agrees, **facts)

    def _say_summary(self) -> ExitCode:
        if not self._agreed:
            self._report.trouble("failed", "the two ends do not agree, see above")
            return ExitCode.FAILED
        self._report.fact(
            "done",
            f"Done: {self._rate}, and both ends agree on every byte, aborted or not.",
            style="bold green",
            rate=self._rate,
        )
        return ExitCode.DONE


async def _run(options: argparse.Namespace, report: Report) -> ExitCode:
    try:
        return await _Demo(options.size, report).run()
    except SocketError as exc:
        raise CommandError(escape_error(exc)) from exc


COMMAND = Command(
    name="demo",
    summary="send a file to yourself, see the events, abort, and compare both ends",
    description="Make a file in a temporary folder, send it over the loopback interface, print "
    "the events as they come, abort two more transfers half way, and check that both ends "
    "counted the same bytes.",
    configure=_configure,
    run=_run,
)

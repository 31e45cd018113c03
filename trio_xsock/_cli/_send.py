"""``xsock send FILE HOST:PORT``."""

from __future__ import annotations

import argparse
import contextlib
import os

import trio

from trio_xsock import SocketError

from . import _arguments
from ._command import Command, add_json, add_timeout
from ._errors import CommandError, ExitCode, UsageError, describe, escape_error
from ._interrupt import until_interrupted
from ._outgoing import Outgoing
from ._patience import Patience
from ._progress import Bars, Meter
from ._report import Report
from ._source import Source
from ._text import endpoint, escape, quote, speed
from ._tls import add_tls, check_tls, make_tcp_socket
from ._transfer import NAME_LIMIT, Reply


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="the file, pipe or disk to send; any size")
    parser.add_argument(
        "to",
        metavar="HOST:PORT",
        type=_arguments.endpoint,
        help="where 'xsock receive' listens; IPv6 as [::1]:7000",
    )
    parser.add_argument("--name", help="what the receiver shall call it (default: its own name)")
    add_tls(parser, serves=False)
    add_timeout(parser)
    add_json(parser)


def _outgoing_name(options: argparse.Namespace) -> str:
    name: str = os.path.basename(options.file) if options.name is None else options.name
    with contextlib.suppress(UnicodeError):  # UTF-8 on the disk, in a locale that is not
        name = os.fsencode(name).decode()
    try:
        length = len(name.encode())
    except UnicodeEncodeError:
        raise UsageError(
            f"the name of {quote(options.file)} is not valid Unicode; give another with --name"
        ) from None
    if not 1 <= length <= NAME_LIMIT:
        raise UsageError(f"a name has 1 to {NAME_LIMIT} bytes, {quote(name)} has {length}")
    return name


class _Sender:
    """One run of the command."""

    def __init__(self, options: argparse.Namespace, report: Report) -> None:
        check_tls(options)
        self._options = options
        self._host: str = options.to.host
        self._port: int = options.to.port
        self._timeout: float = options.timeout
        self._report = report
        self._name = _outgoing_name(options)
        self._source = Source(options.file)
        self._meter: Meter | None = None
        self._seconds = 0.0
        self._outgoing = Outgoing(
            self._source,
            self._name,
            timeout=self._timeout,
            on_progress=self._show,
        )

    async def run(self) -> ExitCode:
        with self._source:
            code = ExitCode.DONE
            try:
                reply = await until_interrupted(self._transfer)
                if reply is None:
                    self._say("interrupted", "interrupted")
                    code = ExitCode.INTERRUPTED
                else:
                    self._say_done(reply)
            except (CommandError, SocketError) as exc:
                self._say("failed", escape_error(exc))
                code = ExitCode.FAILED
            except OSError as exc:  # of our own machine, such as a file that a variable names
                self._say("failed", f"the sender failed: {escape(str(exc))}")
                code = ExitCode.FAILED
            except Exception as exc:  # whatever it is: one line, and what went out
                self._say("failed", f"the sender failed: {describe(exc)}")
                code = ExitCode.FAILED
            await trio.lowlevel.checkpoint()
            return code

    async def _transfer(self) -> Reply:
        await self._source.collect()
        with Bars(self._report) as bars:
            async with make_tcp_socket(self._options, self._host, self._port) as sock:
                patience = Patience(self._timeout, endpoint(self._host, self._port))
                await patience.during(sock.connect)
                self._meter = bars.meter(self._name, self._source.size)
                try:
                    return await self._outgoing.run(sock)
                finally:
                    self._seconds = self._meter.close()

    def _show(self, done: int) -> None:
        if self._meter is not None:
            self._meter.update(done)

    def _say(self, event: str, why: str) -> None:
        """The last line of a transfer that did not succeed: always with what went out."""
        done, size = self._outgoing.bytes_out, self._source.size
        self._report.trouble(
            event,
            f"{why}: {done} of {size} bytes of {quote(self._name)} went out",
            message=why,
            name=self._name,
            bytes_sent=done,
            size=size,
        )

    def _say_done(self, reply: Reply) -> None:
        size, digest = self._source.size, reply.digest.hex()
        grown = self._source.growth()
        if grown:
            self._report.trouble(
                "grew",
                f"{quote(self._name)} grew by {grown} bytes while it was sent; "
                f"only the first {size} were sent",
                grown_by=grown,
            )
        stored = "" if reply.text == self._name else f", stored as {quote(reply.text)}"
        self._report.fact(
            "sent",
            f"sent {quote(self._name)}: {size} bytes in {self._seconds:.1f} s "
            f"({speed(size, self._seconds)}), SHA-256 {digest} confirmed by the receiver{stored}",
            name=self._name,
            stored_as=reply.text,
            bytes_sent=size,
            sha256=digest,
            seconds=round(self._seconds, 3),
        )


async def _run(options: argparse.Namespace, report: Report) -> ExitCode:
    return await _Sender(options, report).run()


COMMAND = Command(
    name="send",
    summary="send a file to 'xsock receive'",
    description="Send one file. The receiver checks its SHA-256 and confirms it.",
    configure=_configure,
    run=_run,
)

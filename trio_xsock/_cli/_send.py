"""``xsock send FILE... HOST:PORT``."""

from __future__ import annotations

import argparse
import os

import trio

from trio_xsock import SocketError, TCPSocket

from . import _arguments
from ._command import Command, add_json, add_timeout
from ._delivery import Delivery
from ._errors import CommandError, ExitCode, UsageError, describe, escape_error
from ._interrupt import until_interrupted
from ._parcel import Parcel, pack
from ._patience import Patience
from ._progress import Bars
from ._report import Report
from ._text import endpoint, escape
from ._threads import in_thread
from ._tls import add_tls, check_tls, make_tcp_socket


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "files",
        metavar="FILE",
        nargs="+",
        help="the file, folder, pipe or disk to send; any size; - is standard input",
    )
    parser.add_argument(
        "to",
        metavar="HOST:PORT",
        type=_arguments.endpoint,
        help="where 'xsock receive' listens; IPv6 as [::1]:7000",
    )
    parser.add_argument(
        "--name",
        help="what the receiver shall call it, or standard input (default: its own name)",
    )
    add_tls(parser, serves=False)
    add_timeout(parser)
    add_json(parser)


class _Sender:
    """One run of the command."""

    def __init__(self, options: argparse.Namespace, report: Report) -> None:
        check_tls(options)
        self._options = options
        self._report = report
        self._parcel: Parcel | None = None
        self._delivery: Delivery | None = None

    async def run(self) -> ExitCode:
        try:
            code = await until_interrupted(self._send)
            if code is None:
                self._say("interrupted", "interrupted")
                code = ExitCode.INTERRUPTED
        except UsageError:
            raise
        except (CommandError, SocketError) as exc:
            self._say("failed", escape_error(exc))
            code = ExitCode.FAILED
        except OSError as exc:  # of our own machine, such as a file that a variable names
            self._say("failed", f"the sender failed: {escape(str(exc))}")
            code = ExitCode.FAILED
        except Exception as exc:  # any failure gives one line, with what was sent
            self._say("failed", f"the sender failed: {describe(exc)}")
            code = ExitCode.FAILED
        finally:
            if self._parcel is not None:
                self._parcel.close()
        await trio.lowlevel.checkpoint()
        return code

    async def _send(self) -> ExitCode:
        options = self._options
        if any(map(os.path.isdir, options.files)):  # listing a folder may take long
            self._parcel = await in_thread("the sender", pack, options.files, options.name)
        else:
            self._parcel = pack(options.files, options.name)
        parcel = self._parcel
        with Bars(self._report) as bars:
            delivery = Delivery(parcel, self._report, bars, silence=options.timeout)
            self._delivery = delivery
            await delivery.prepare()
            async with self._socket() as sock:
                place = endpoint(options.to.host, options.to.port)
                await Patience(options.timeout, place).during(sock.connect)
                return await delivery.run(sock)

    def _socket(self) -> TCPSocket:
        return make_tcp_socket(self._options, self._options.to.host, self._options.to.port)

    def _say(self, event: str, why: str) -> None:
        """The last line of a failure: with what was sent, if anything was."""
        if self._delivery is None:
            self._report.trouble(event, f"{why}: 0 bytes went out", message=why)
        else:
            self._delivery.say(event, why)


async def _run(options: argparse.Namespace, report: Report) -> ExitCode:
    return await _Sender(options, report).run()


COMMAND = Command(
    name="send",
    summary="send files and folders to 'xsock receive'",
    description="Send files and folders. The receiver checks the SHA-256 of each file, and "
    "confirms it.",
    configure=_configure,
    run=_run,
)

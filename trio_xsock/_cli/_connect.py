"""``xsock connect HOST:PORT``."""

from __future__ import annotations

import argparse

from . import _arguments
from ._command import Command
from ._errors import ExitCode
from ._patience import Patience
from ._report import Report
from ._sockets import add_connection_options, make_socket
from ._talk import Talker
from ._text import endpoint
from ._tls import add_tls, check_tls


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "to",
        metavar="HOST:PORT",
        type=_arguments.endpoint,
        help="where somebody listens; IPv6 as [::1]:7000",
    )
    add_tls(parser, serves=False)
    add_connection_options(parser)


async def _run(options: argparse.Namespace, report: Report) -> ExitCode:
    check_tls(options)
    talker = Talker(options, report, serves=False)

    async def work() -> ExitCode:
        async with make_socket(options, *options.to) as sock:
            await Patience(options.timeout, endpoint(*options.to)).during(sock.connect)
            return await talker.talk(sock, "connected to")

    return await talker.run(work)


COMMAND = Command(
    name="connect",
    summary="talk to a server: standard input goes out, what comes in is shown",
    description="Connect, send standard input, and put out what the other side sends. A terminal "
    "is shown an escape for each character that is not visible; a pipe or file gets the bytes.",
    configure=_configure,
    run=_run,
)

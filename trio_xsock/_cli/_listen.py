"""``xsock listen PORT``."""

from __future__ import annotations

import argparse

from trio_xsock import ServerSocket, TCPSocket

from . import _arguments
from ._command import Command, add_bind
from ._errors import ExitCode
from ._log import left_without_a_word, telling_refusals, why_refused
from ._report import Report
from ._sockets import add_connection_options, make_socket
from ._talk import Talker
from ._tls import add_tls, check_tls


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "port",
        metavar="PORT",
        type=_arguments.listening_port,
        help="where to listen; 0 takes a free one and says which",
    )
    parser.add_argument(
        "--keep-open",
        action="store_true",
        help="when a connection has ended wait for the next one, until Ctrl-C",
    )
    add_bind(parser)
    add_tls(parser, serves=True)
    add_connection_options(parser)


async def _run(options: argparse.Namespace, report: Report) -> ExitCode:
    check_tls(options)
    talker = Talker(options, report, serves=True, hands_over=options.keep_open)
    server: ServerSocket[TCPSocket] = ServerSocket(
        options.port,
        address=options.bind,
        minimum_sockets_available=1,
        maximum_sockets_connected=1,
        add_socket=lambda: make_socket(options),
    )

    def refused(why: object) -> None:
        if server.is_listening and not left_without_a_word(why):
            report.trouble("refused", why_refused(why))

    async def work() -> ExitCode:
        async with server:
            await server.listen()
            report.note(
                "listening",
                f"listening on port {server.port}",
                port=server.port,
                address=server.local_address,
            )
            with telling_refusals(refused):
                return await take()

    async def take() -> ExitCode:
        while True:
            async with await server.accept() as sock:
                if not options.keep_open:
                    server.stop_listening()  # a second client is refused, not left waiting
                code = await talker.talk(sock, "connection from")
            if not options.keep_open:
                return code

    return await talker.run(work)


COMMAND = Command(
    name="listen",
    summary="wait for a client and talk to it",
    description="Wait for one connection, send standard input over it, and put out what comes. "
    "A terminal is shown an escape for each character that is not visible; a pipe or file gets "
    "the bytes.",
    configure=_configure,
    run=_run,
)

"""``xsock receive PORT [DIR]``.

Without ``--keep-open`` the command serves the first connection that sends a byte. It ends when all
that was sent is stored, or with a reason and exit code 1. A connection that closes without sending
a byte (a port scanner, a health check) is reported and does not count.
"""

from __future__ import annotations

import argparse

import trio

from trio_xsock import ServerSocket, SocketError, TCPSocket

from . import _arguments
from ._arrival import Arrival, Terms
from ._command import Command, add_bind, add_json, add_timeout
from ._errors import CommandError, ExitCode, UsageError, escape_error
from ._files import Folder, IfExists
from ._interrupt import until_interrupted
from ._log import left_without_a_word, telling_refusals, why_refused
from ._progress import Bars
from ._report import Report
from ._tls import add_tls, check_tls, make_tcp_socket

_MOST_SENDERS = 32
"""Transfers at a time with ``--keep-open``; the others wait to be accepted."""


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "port",
        metavar="PORT",
        type=_arguments.listening_port,
        help="where to listen; 0 takes a free one and prints it on the first line",
    )
    parser.add_argument(
        "folder", metavar="DIR", nargs="?", default=".", help="where files go (default: here)"
    )
    parser.add_argument(
        "--keep-open", action="store_true", help="go on receiving until Ctrl-C, not one file only"
    )
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument(
        "--overwrite",
        dest="if_exists",
        action="store_const",
        const=IfExists.OVERWRITE,
        default=IfExists.REFUSE,
        help="replace a file of the same name (otherwise it is refused)",
    )
    existing.add_argument(
        "--rename",
        dest="if_exists",
        action="store_const",
        const=IfExists.RENAME,
        help="store under another name, 'name (1)', if a file of the same name exists",
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="keep what came of a file whose transfer breaks off, and go on from there the next "
        "time; what is there is compared first, and what is complete is not sent again",
    )
    add_bind(parser)
    parser.add_argument(
        "--max-size",
        type=_arguments.size,
        metavar="SIZE",
        help="refuse larger files; 5000, 64K, 200MiB, 1GB (default: what the disk has left)",
    )
    parser.add_argument(
        "--ignore-free-space",
        dest="ask_for_room",
        action="store_false",
        help="take files of any size, whatever room the disk says that it has left",
    )
    add_tls(parser, serves=True)
    add_timeout(parser)
    add_json(parser)


class _Receiver:
    """One run of the command."""

    def __init__(self, options: argparse.Namespace, report: Report) -> None:
        check_tls(options)
        if options.resume and options.if_exists is IfExists.RENAME:
            raise UsageError(
                "--resume and --rename exclude each other: what came before is found by its name"
            )
        self._report = report
        self._bars = Bars(report)
        self._folder = Folder(
            options.folder,
            options.if_exists,
            ask_for_room=options.ask_for_room,
            resume=options.resume,
        )
        self._terms = Terms(
            report, self._bars, self._folder, options.timeout, options.max_size, self._begun
        )
        self._keep_open: bool = options.keep_open
        self._server: ServerSocket[TCPSocket] = ServerSocket(
            options.port,
            address=options.bind,
            minimum_sockets_available=1,
            maximum_sockets_connected=_MOST_SENDERS if options.keep_open else 1,
            add_socket=lambda: make_tcp_socket(options),
        )
        self._accepting = trio.CancelScope()
        self._refusal = ""
        self._running: list[Arrival] = []

    async def run(self) -> ExitCode:
        with self._folder, self._bars:
            try:
                with telling_refusals(self._refused):
                    code = await until_interrupted(self._serve)
            except SocketError as exc:
                raise CommandError(escape_error(exc)) from exc
        if code is not None:
            return code
        for transfer in self._running:
            transfer.say("interrupted", "interrupted")
        if not self._running:
            self._report.trouble("interrupted", "interrupted: no transfer was under way")
        return ExitCode.INTERRUPTED

    async def _serve(self) -> ExitCode:
        async with self._server as server:
            await server.listen()
            self._report.fact(
                "listening",
                f"listening on port {server.port}",
                port=server.port,
                address=server.local_address,
            )
            if self._keep_open:
                await server.serve(self._take)
                return ExitCode.DONE
            return await self._take_one(server)

    async def _take_one(self, server: ServerSocket[TCPSocket]) -> ExitCode:
        """Serve connections until one counts; a failed handshake counts, too."""
        while not self._refusal:
            sock: TCPSocket | None = None
            with trio.CancelScope() as self._accepting:
                sock = await server.accept()
            if sock is not None:
                async with sock:
                    code = await self._take(sock)
                if code is not None:
                    return code
        raise CommandError(self._refusal)

    def _refused(self, why: object) -> None:
        """The server has refused a connection whose handshake failed."""
        if not self._server.is_listening or left_without_a_word(why):
            return
        if self._keep_open:
            self._report.trouble("refused", why_refused(why))
        else:
            self._refusal = self._refusal or why_refused(why)
            self._accepting.cancel(reason="the one connection was refused")

    async def _take(self, sock: TCPSocket) -> ExitCode | None:
        transfer = Arrival(self._terms, sock)
        self._running.append(transfer)
        try:
            code = await transfer.run()
        except Exception:
            self._running.remove(transfer)
            raise
        self._running.remove(transfer)  # those that were interrupted stay listed
        return code

    def _begun(self) -> None:
        """A transfer was accepted: without ``--keep-open`` no other one will be."""
        if not self._keep_open:
            self._server.stop_listening()


async def _run(options: argparse.Namespace, report: Report) -> ExitCode:
    return await _Receiver(options, report).run()


COMMAND = Command(
    name="receive",
    summary="receive files from 'xsock send'",
    description="Receive what one 'xsock send' sends, check the SHA-256 of each file, and store it "
    "in DIR.",
    configure=_configure,
    run=_run,
)

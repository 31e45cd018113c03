"""``xsock receive PORT [DIR]``.

Without ``--keep-open`` the first connection that sends a byte is the one: it ends in a
stored file, or in a reason and exit code 1. A connection that comes and goes without a
byte (a port scanner, a health check) is mentioned and does not count.
"""

from __future__ import annotations

import argparse

import trio

from trio_xsock import ServerSocket, SocketError, TCPSocket

from . import _arguments
from ._command import Command, add_bind, add_json, add_timeout
from ._errors import CommandError, ExitCode, NothingReceivedError, escape_error
from ._files import Folder, IfExists, shown_path
from ._incoming import Incoming, Received
from ._interrupt import until_interrupted
from ._log import left_without_a_word, telling_refusals, why_refused
from ._progress import Bars, Meter
from ._report import Report
from ._text import endpoint, quote, speed
from ._tls import add_tls, check_tls, make_tcp_socket
from ._transfer import Header

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


class _Transfer:
    """One connection, from its first byte to the line that says how it ended."""

    def __init__(self, receiver: _Receiver, sock: TCPSocket) -> None:
        self._receiver = receiver
        self._sock = sock
        self._peer = endpoint(sock.remote_address, sock.remote_port)
        self._meter: Meter | None = None
        self.incoming = Incoming(
            receiver.folder,
            timeout=receiver.timeout,
            max_size=receiver.max_size,
            on_header=self._begin,
            on_progress=self._show,
        )

    @property
    def came_in(self) -> str:
        """How much came in, of what, from whom."""
        header = self.incoming.header
        if header is None:
            return f"0 bytes came in from {self._peer}"
        return (
            f"{self.incoming.bytes_in} of {header.size} bytes of {quote(header.name)} "
            f"came in from {self._peer}"
        )

    async def run(self) -> ExitCode | None:
        """Take the file and say so; ``None`` for a connection that does not count."""
        code: ExitCode | None = ExitCode.FAILED
        try:
            received = await self.incoming.run(self._sock)
            self._say_done(received)
            code = ExitCode.DONE
        except NothingReceivedError:
            self._receiver.report.trouble(
                "ignored", f"{self._peer} connected and left without a word", peer=self._peer
            )
            code = None
        except CommandError as exc:
            self.say("failed", escape_error(exc))
        finally:
            self._close_meter()
        await trio.lowlevel.cancel_shielded_checkpoint()
        return code

    def _close_meter(self) -> float:
        return 0.0 if self._meter is None else self._meter.close()

    def _begin(self, header: Header) -> None:
        self._receiver.begun()
        self._receiver.report.fact(
            "started",
            f"receiving {quote(header.name)}, {header.size} bytes, from {self._peer}",
            name=header.name,
            size=header.size,
            peer=self._peer,
        )
        self._meter = self._receiver.bars.meter(header.name, header.size)

    def _show(self, done: int) -> None:
        if self._meter is not None:
            self._meter.update(done)

    def say(self, event: str, why: str) -> None:
        """The last line of a transfer that did not succeed: always with what came in."""
        header = self.incoming.header
        self._receiver.report.trouble(
            event,
            f"{why}: {self.came_in}",
            message=why,
            name=None if header is None else header.name,
            bytes_received=self.incoming.bytes_in,
            size=None if header is None else header.size,
            peer=self._peer,
        )

    def _say_done(self, received: Received) -> None:
        seconds = self._close_meter()
        path = shown_path(self._receiver.folder.path, received.name)
        digest = received.digest.hex()
        self._receiver.report.fact(
            "received",
            f"received {path}: {received.size} bytes in {seconds:.1f} s "
            f"({speed(received.size, seconds)}), SHA-256 {digest} as the sender's",
            name=received.name,
            bytes_received=received.size,
            sha256=digest,
            seconds=round(seconds, 3),
            peer=self._peer,
        )


class _Receiver:
    """One run of the command."""

    def __init__(self, options: argparse.Namespace, report: Report) -> None:
        check_tls(options)
        self.report = report
        self.bars = Bars(report)
        self.folder = Folder(options.folder, options.if_exists, ask_for_room=options.ask_for_room)
        self.timeout: float = options.timeout
        self.max_size: int | None = options.max_size
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
        self._running: list[_Transfer] = []

    async def run(self) -> ExitCode:
        with self.folder, self.bars:
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
            self.report.trouble("interrupted", "interrupted: no transfer was under way")
        return ExitCode.INTERRUPTED

    async def _serve(self) -> ExitCode:
        async with self._server as server:
            await server.listen()
            self.report.fact(
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
        """Take transfers until one counts; a handshake that fails counts, too."""
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
            self.report.trouble("refused", why_refused(why))
        else:
            self._refusal = self._refusal or why_refused(why)
            self._accepting.cancel(reason="the one connection was refused")

    async def _take(self, sock: TCPSocket) -> ExitCode | None:
        transfer = _Transfer(self, sock)
        self._running.append(transfer)
        try:
            code = await transfer.run()
        except Exception:
            self._running.remove(transfer)
            raise
        self._running.remove(transfer)  # those that were interrupted stay listed
        return code

    def begun(self) -> None:
        """A transfer was accepted: without ``--keep-open`` no other will be."""
        if not self._keep_open:
            self._server.stop_listening()


async def _run(options: argparse.Namespace, report: Report) -> ExitCode:
    return await _Receiver(options, report).run()


COMMAND = Command(
    name="receive",
    summary="receive a file from 'xsock send'",
    description="Receive one file, check its SHA-256, and store it in DIR.",
    configure=_configure,
    run=_run,
)

"""``xsock udp``."""

from __future__ import annotations

import argparse
import math

import trio

from trio_xsock import (
    AddressInUseError,
    Datagram,
    NetworkInterface,
    SocketError,
    UDPSocket,
    network_interface,
)

from . import _arguments
from ._arguments import Endpoint
from ._beside import both
from ._command import Command, add_json
from ._errors import CommandError, ExitCode, OutputFailedError, UsageError, escape_error
from ._interrupt import until_interrupted
from ._report import Report
from ._stdin import Input
from ._text import endpoint, escape, plural
from ._view import JSONView

_ANSWERS = 1.0
_LONGEST_LINE = 65507
_PAUSES = (0.02, 0.05, 0.1, 0.2)
"""Seconds between attempts to bind to a port that another program has and is about to share."""


async def _bind(sock: UDPSocket, *, joining: bool) -> None:
    """Bind, if need be when another program that has just bound has joined its group.

    Args:
        sock: the socket.
        joining: it will join a group, and then shares its port; so does the other program.

    Raises:
        SocketError: the port cannot be bound.
    """
    for pause in _PAUSES if joining else ():
        try:
            await sock.bind()
        except AddressInUseError:
            await trio.sleep(pause)
        else:
            return
    await sock.bind()


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "port",
        metavar="PORT",
        nargs="?",
        type=_arguments.listening_port,
        help="the port to receive at; 0 takes a free one and says which",
    )
    parser.add_argument(
        "--to",
        metavar="HOST:PORT",
        type=_arguments.endpoint,
        help="send each line of standard input there as a datagram; a group or a broadcast "
        "address will do (default: to whoever sent the last datagram)",
    )
    parser.add_argument(
        "--join",
        metavar="GROUP",
        action="append",
        default=[],
        help="receive what is sent to this multicast group, too; may be repeated",
    )
    add_interface(parser)
    parser.add_argument(
        "--bind",
        metavar="ADDRESS",
        default="",
        help="receive at this address only (default: at all)",
    )
    parser.add_argument(
        "--count",
        metavar="N",
        type=_arguments.count,
        default=0,
        help="end after so many datagrams were received; 0, the default, never",
    )
    parser.add_argument(
        "--wait",
        metavar="SECONDS",
        type=_arguments.seconds,
        default=_ANSWERS,
        help="without PORT: how long to wait for answers when all was sent; 0 waits for ever "
        f"(default: {_ANSWERS:g})",
    )
    add_json(parser)


def add_interface(parser: argparse.ArgumentParser) -> None:
    """Add the option ``--interface``."""
    parser.add_argument(
        "--interface",
        metavar="NAME",
        type=_interface_argument,
        help="the network interface to use, by its name or its place in `xsock interfaces`",
    )


def _interface_argument(text: str) -> NetworkInterface:
    """A network interface, by its name or its place; for argparse."""
    try:
        return network_interface(int(text) if text.isascii() and text.isdigit() else text)
    except (KeyError, IndexError):
        raise argparse.ArgumentTypeError(
            f"there is no interface {text!a}; see `xsock interfaces`"
        ) from None


async def _run(options: argparse.Namespace, report: Report) -> ExitCode:
    if options.port is None and options.to is None:
        raise UsageError("give a PORT to receive at, or --to HOST:PORT to send, or both")
    exchange = _Exchange(options, report)
    try:
        code = await until_interrupted(lambda: report.while_read(exchange.run))
    except OutputFailedError:  # there is nothing more to write
        raise
    except (CommandError, SocketError):
        if exchange.bound:
            exchange.note_counts()
        raise
    told, facts = exchange.counts()
    if code is None:
        report.trouble("interrupted", f"interrupted: {told}", message="interrupted", **facts)
        return ExitCode.INTERRUPTED
    exchange.note_counts()
    return code


def _check_size(line: bytes) -> None:
    if len(line) > _LONGEST_LINE:
        raise CommandError(
            f"a line of standard input is longer than {_LONGEST_LINE} bytes, the most that a "
            "datagram carries; nothing of it was sent"
        )


async def _look_up(to: Endpoint) -> list[str]:
    """The addresses of a host; its name if there are none, so that sending raises the error."""
    await trio.lowlevel.checkpoint()
    if "%" in to.host:
        await trio.lowlevel.checkpoint()
        return [to.host]
    try:
        found = await trio.socket.getaddrinfo(to.host, to.port, type=trio.socket.SOCK_DGRAM)
    except (OSError, UnicodeError):
        await trio.lowlevel.checkpoint()
        return [to.host]
    return list(dict.fromkeys(str(entry[4][0]) for entry in found)) or [to.host]


class _Exchange:
    """Datagrams out, one for each line of our input, and datagrams in, a line for each.

    Attributes:
        sent, received: datagrams so far.
        bound: the port was taken.
    """

    def __init__(self, options: argparse.Namespace, report: Report) -> None:
        self._options = options
        self._report = report
        self._to: Endpoint | None = options.to
        self._sending = trio.CancelScope()
        self._answers = trio.CancelScope()
        self._asked = trio.Event()
        self._asked_by: Datagram | None = None
        self.sent = 0
        self.received = 0
        self.bound = False
        self._addresses: list[str] = []

    def counts(self) -> tuple[str, dict[str, int]]:
        """How many datagrams went each way, for a person and for a script."""
        told = f"{plural(self.sent, 'datagram')} went out, {self.received} came in"
        return told, {"datagrams_sent": self.sent, "datagrams_received": self.received}

    def note_counts(self) -> None:
        """Write the last line."""
        told, facts = self.counts()
        self._report.note("closed", f"closed: {told}", **facts)

    async def run(self) -> ExitCode:
        """Exchange datagrams until there is nothing more to wait for.

        Raises:
            SocketError: the port cannot be bound, or the network fails.
            CommandError: a group cannot be joined, or our input cannot be read, or has a line
                that is too long for a datagram.
        """
        options = self._options
        async with UDPSocket(
            options.port or 0, address=options.bind, network_interface=options.interface
        ) as sock:
            await _bind(sock, joining=bool(options.join))
            self.bound = True
            for group in options.join:
                if not sock.join_multicast_group(group):
                    reason = escape(str(sock.last_error))
                    raise CommandError(f"the group {escape(group)} cannot be joined: {reason}")
            self._report.note(
                "bound",
                f"receiving at port {sock.port}",
                port=sock.port,
                address=sock.local_address,
            )
            await both(lambda: self._send(sock), lambda: self._receive(sock))
        return ExitCode.DONE

    async def _send(self, sock: UDPSocket) -> None:
        source, rest = Input(self._report), b""
        with self._sending:
            if self._to is None:
                await self._asked.wait()
            while data := await source.read():
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    await self._send_line(sock, line)
                _check_size(rest)
            if rest:
                await self._send_line(sock, rest)
        if self._options.port is None:
            wait = self._options.wait
            self._answers.deadline = trio.current_time() + wait if wait < math.inf else math.inf

    async def _send_line(  # noqa: ASYNC910 - to send is a checkpoint
        self, sock: UDPSocket, line: bytes
    ) -> None:
        _check_size(line)
        to = self._to
        if to is None:
            await self._answer(sock, line)
            return
        if not self._addresses:
            self._addresses = await _look_up(to)
        *others, last = self._addresses
        for address in others:
            try:
                await sock.send(Datagram(address, to.port, line))
            except SocketError:
                continue  # the next one may be reachable
            self._addresses = [address]
            self.sent += 1
            return  # noqa: ASYNC910 - it was sent
        await sock.send(Datagram(last, to.port, line))
        self._addresses = [last]
        self.sent += 1

    async def _answer(self, sock: UDPSocket, line: bytes) -> None:
        """Send ``line`` to the sender of the last datagram, from the address it was sent to."""
        asked = self._asked_by
        assert asked is not None
        answer = Datagram(asked.address, asked.port, line, local_address=asked.local_address)
        try:
            await sock.send(answer)
        except SocketError as exc:  # other senders can still be answered
            self._report.trouble("failed", escape_error(exc))
        else:
            self.sent += 1
        await trio.lowlevel.cancel_shielded_checkpoint()

    async def _receive(self, sock: UDPSocket) -> None:  # noqa: ASYNC910 - the end of the wait is one
        with self._answers:
            async for datagram in sock:
                self.received += 1
                if datagram.port:  # 0 means that the sender expects no answer
                    self._asked_by = datagram
                    self._asked.set()
                self._show(datagram)
                await self._report.room()
                if self.received == self._options.count:
                    self._sending.cancel(reason="enough was received")
                    return

    def _show(self, datagram: Datagram) -> None:
        sender = endpoint(datagram.address, datagram.port)
        text = datagram.data.decode("utf-8", "backslashreplace")
        self._report.fact(
            "received",
            f"{sender} {escape(text, longest=len(text))}",
            address=datagram.address,
            port=datagram.port,
            **(JSONView().feed(datagram.data, final=True) or {"text": ""}),
        )


COMMAND = Command(
    name="udp",
    summary="send and receive datagrams",
    description="Receive datagrams at PORT and write a line for each: who sent it, and what, "
    "with an escape for each character that is not visible. Each line of standard input is sent "
    "as a datagram: with --to there, else to whoever sent the last one.",
    configure=_configure,
    run=_run,
)

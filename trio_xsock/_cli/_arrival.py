"""One connection of ``xsock receive``: the files that arrive on it, and their messages."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import trio

from trio_xsock import TCPSocket

from ._errors import CommandError, DeclinedError, ExitCode, NothingReceivedError, escape_error
from ._files import Folder, shown_path
from ._incoming import Incoming, Received
from ._progress import Bars, Meter
from ._report import Report
from ._text import amount, endpoint, part, plural, quote, speed
from ._transfer import Header


@dataclass(frozen=True, slots=True)
class Terms:
    """What all connections of one run have in common."""

    report: Report
    bars: Bars
    folder: Folder
    silence: float
    """Seconds of silence after which the transfer fails."""
    max_size: int | None
    begun: Callable[[], None]
    """Is called when a transfer was accepted."""


class Arrival:
    """One connection, from its first byte to the line that says how it ended.

    A single file gets a line when it begins and one when it is stored. Of several files, the
    sentences are about all of them, and with ``--json`` each has an object of its own.
    """

    def __init__(self, terms: Terms, sock: TCPSocket) -> None:
        self._terms = terms
        self._sock = sock
        self._peer = endpoint(sock.remote_address, sock.remote_port)
        self._meter: Meter | None = None
        self._started = time.monotonic()
        self._incoming = self._next(is_first=True)
        self._several = False
        self._files = 0
        self._bytes_in = 0
        self._bytes_there = 0
        self._refused = 0

    def _next(self, *, is_first: bool) -> Incoming:
        return Incoming(
            self._terms.folder,
            timeout=self._terms.silence,
            max_size=self._terms.max_size,
            is_first=is_first,
            on_header=self._begin,
            on_progress=self._show,
        )

    async def run(self) -> ExitCode | None:
        """Receive, and report it; ``None`` for a connection that does not count."""
        code: ExitCode | None = ExitCode.FAILED
        try:
            while await self._take_one():
                self._incoming = self._next(is_first=False)
            code = self._say_all()
        except NothingReceivedError:
            self._terms.report.trouble(
                "ignored", f"{self._peer} connected and left without a word", peer=self._peer
            )
            code = None
        except CommandError as exc:
            self.say("failed", escape_error(exc))
        finally:
            self._close_meter()
        await trio.lowlevel.cancel_shielded_checkpoint()
        return code

    async def _take_one(self) -> bool:
        """Receive one file; return whether another one follows."""
        incoming = self._incoming
        try:
            received = await incoming.run(self._sock)
        except DeclinedError as exc:
            self._refused += 1
            self._several = True
            self.say("declined", escape_error(exc))
        else:
            self._several = self._several or incoming.more
            if received is not None:
                self._say_one(received)
        finally:
            self._bytes_in += incoming.bytes_in
            self._bytes_there += incoming.offset
        await trio.lowlevel.cancel_shielded_checkpoint()
        return incoming.more

    def _close_meter(self) -> float:
        seconds = 0.0 if self._meter is None else self._meter.close()
        self._meter = None
        return seconds

    def _begin(self, header: Header) -> None:
        terms, there = self._terms, self._incoming.offset
        terms.begun()
        if header.more and not self._several and not terms.report.as_json:
            terms.report.fact("started", f"receiving several files from {self._peer}")
        self._several = self._several or header.more
        if terms.report.as_json or not self._several:
            had = f" ({amount(there)} of it are here)" if there else ""
            terms.report.fact(
                "started",
                f"receiving {quote(header.name)}, {amount(header.size)}{had}, from {self._peer}",
                name=header.name,
                size=header.size,
                resumed_at=there,
                peer=self._peer,
            )
        self._meter = terms.bars.meter(header.name, header.size, there)

    def _show(self, done: int) -> None:
        if self._meter is not None:
            self._meter.update(done)

    @property
    def came_in(self) -> str:
        """How much arrived, of which file, from which peer."""
        header, incoming = self._incoming.header, self._incoming
        if header is None:
            what = "0 bytes"
        else:
            rest = "the rest of " if incoming.offset else ""
            came = part(incoming.bytes_in, header.size - incoming.offset)
            what = f"{came} of {rest}{quote(header.name)}"
        return f"{what} came in from {self._peer}"

    def say(self, event: str, why: str) -> None:
        """The line for a failure; it always has what arrived until then."""
        incoming = self._incoming
        header = incoming.header
        done = f", and {plural(self._files, 'file')} before" if self._files else ""
        self._terms.report.trouble(
            event,
            why if event == "declined" else f"{why}: {self.came_in}{done}",
            message=why,
            name=None if header is None else header.name,
            bytes_received=incoming.bytes_in,
            resumed_at=incoming.offset,
            size=None if header is None else header.size,
            peer=self._peer,
        )

    def _say_one(self, received: Received) -> None:
        self._files += not received.is_folder
        seconds = self._close_meter()
        if self._several and not self._terms.report.as_json:
            return
        path = shown_path(self._terms.folder.path, received.name)
        digest = received.digest.hex()
        came = received.size - received.offset
        had = f" ({amount(received.offset)} of it were here before)" if received.offset else ""
        self._terms.report.fact(
            "folder" if received.is_folder else "received",
            f"received {path}: {amount(received.size)}{had} in {seconds:.1f} s "
            f"({speed(came, seconds)}), SHA-256 {digest} as the sender's",
            name=received.name,
            bytes_received=came,
            resumed_at=received.offset,
            sha256=digest,
            seconds=round(seconds, 3),
            peer=self._peer,
        )

    def _say_all(self) -> ExitCode:
        """The line for all files of the connection, if there was more than one."""
        if self._several:
            seconds = time.monotonic() - self._started
            there = self._bytes_there
            had = f"; {amount(there)} were here before" if there else ""
            but = f"; {self._refused} refused" if self._refused else ""
            self._terms.report.fact(
                "done",
                f"received {plural(self._files, 'file')} into {quote(self._terms.folder.path)}: "
                f"{amount(self._bytes_in)} in {seconds:.1f} s ({speed(self._bytes_in, seconds)}), "
                f"each SHA-256 as the sender's{had}{but}",
                files=self._files,
                refused=self._refused,
                bytes_received=self._bytes_in,
                bytes_resumed=there,
                seconds=round(seconds, 3),
                peer=self._peer,
            )
        return ExitCode.FAILED if self._refused else ExitCode.DONE

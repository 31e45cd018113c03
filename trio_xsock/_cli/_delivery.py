"""All files that one ``xsock send`` sends over its connection, and their messages.

A single file gets a line at the end. Of several, the sentences give their number and those that
failed; with ``--json`` each has an object of its own.
"""

from __future__ import annotations

import time

import trio

from trio_xsock import TCPSocket

from ._errors import CommandError, DeclinedByPeerError, ExitCode, escape_error
from ._outgoing import Outgoing, send_folder
from ._parcel import Item, Parcel
from ._patience import Patience
from ._progress import Bars, Meter
from ._report import Fact, Report
from ._source import Source
from ._text import amount, part, plural, quote, speed
from ._transfer import END, Reply


class Delivery:
    """The files of a parcel, one after the other.

    Args:
        parcel: what is sent; closed by the caller.
        report: where to write messages.
        bars: where to show progress.
        silence: seconds of silence of the receiver after which the transfer fails.
    """

    def __init__(self, parcel: Parcel, report: Report, bars: Bars, *, silence: float) -> None:
        self._parcel = parcel
        self._report = report
        self._bars = bars
        self._silence = silence
        self._outgoing: Outgoing | None = None
        self._meter: Meter | None = None
        self._started = time.monotonic()
        self._failures = len(parcel.left_out)
        self._confirmed = 0
        # Of the files that are done:
        self._sizes = 0
        self._bytes_out = 0
        self._offsets = 0

    async def prepare(self) -> None:
        """Read files without a size to their end, before there is a connection.

        Raises:
            CommandError: it cannot be read, or there is no room for a temporary file.
        """
        for path, why in self._parcel.left_out:
            sentence = f"{quote(path)} is left out: {why}"
            self._report.trouble("left out", sentence, message=why, path=path)
        for item in self._parcel.items:
            if item.source is not None:
                await item.source.collect()
                item.size = item.source.size
        await trio.lowlevel.checkpoint()

    async def run(self, sock: TCPSocket) -> ExitCode:
        """Send everything over ``sock``, which has just been connected.

        Raises:
            CommandError: the transfer cannot go on; see ``Outgoing``.
            SocketError: the connection is lost.
        """
        self._started = time.monotonic()
        first = self._parcel.items[0].name if self._parcel.items else ""
        self._meter = self._bars.meter(first, self._parcel.size)
        try:
            for item in self._parcel.items:
                await self._send_one(sock, item)
            if not self._parcel.is_single:
                await sock.send_all(END)
        finally:
            self._meter.close()
        if not self._parcel.is_single:
            self._say_all()
        await trio.lowlevel.checkpoint()
        return ExitCode.FAILED if self._failures else ExitCode.DONE

    async def _send_one(self, sock: TCPSocket, item: Item) -> None:
        """Send one file; one that fails before any of it was sent is skipped."""
        if self._meter is not None:
            self._meter.rename(item.name)
        try:
            if item.is_folder:
                await send_folder(sock, item.name, Patience(self._silence, "the receiver"))
                if self._report.as_json:
                    self._report.fact("folder", "", name=item.name)
            elif item.source is not None:
                await self._send_file(sock, item, item.source)
            else:
                await self._open_and_send(sock, item)
        except DeclinedByPeerError as exc:
            self._fail(item, "declined", escape_error(exc))
        await trio.lowlevel.checkpoint()

    async def _open_and_send(self, sock: TCPSocket, item: Item) -> None:
        try:
            source = Source(item.path)
        except CommandError as exc:  # it was there a moment ago
            self._fail(item, "left out", escape_error(exc))
        else:
            with source:
                await source.collect()
                item.size = source.size
                await self._send_file(sock, item, source)
        await trio.lowlevel.checkpoint()

    async def _send_file(self, sock: TCPSocket, item: Item, source: Source) -> None:
        started = time.monotonic()
        outgoing = self._outgoing = Outgoing(
            source,
            item.name,
            timeout=self._silence,
            on_progress=self._show,
            more=not self._parcel.is_single,
        )
        reply = await outgoing.run(sock)
        self._confirmed += 1
        if self._report.as_json or self._parcel.is_single:
            self._say_one(item, source, reply, time.monotonic() - started)
        self._sizes += item.size
        self._bytes_out += outgoing.bytes_out
        self._offsets += outgoing.offset
        if not self._parcel.is_single:
            self._outgoing = None

    def _show(self, done: int) -> None:
        if self._meter is not None:
            self._meter.update(self._sizes + done)

    def _fail(self, item: Item, event: str, why: str) -> None:
        """One file could not be sent; the others are."""
        self._outgoing = None
        self._failures += 1
        self._sizes += item.size
        sentence = f"{quote(item.name)} was not sent: {why}"
        self._report.trouble(event, sentence, message=why, name=item.name)

    def say(self, event: str, why: str) -> None:
        """The last line of a failed transfer; it always has what was sent."""
        outgoing = self._outgoing
        out = 0 if outgoing is None else outgoing.bytes_out
        offset = 0 if outgoing is None else outgoing.offset
        facts: dict[str, Fact] = {"message": why}
        if self._parcel.is_single:
            item = self._parcel.items[0]
            size = item.size if item.source is None else item.source.size
            rest = "the rest of " if offset else ""
            what = f"{part(out, size - offset)} of {rest}{quote(item.name)} went out"
            facts |= {"name": item.name}
        else:
            out, offset, size = out + self._bytes_out, offset + self._offsets, self._parcel.size
            count = sum(not item.is_folder for item in self._parcel.items)
            files = plural(count, "file")
            had = f", {amount(offset)} were there before" if offset else ""
            what = (
                f"{amount(out)} of {files} went out, {self._confirmed} of them are confirmed{had}"
            )
            facts |= {"files": count, "confirmed": self._confirmed}
            if outgoing is not None:
                facts |= {"name": outgoing.name, "file_resumed_at": outgoing.offset}
                facts |= {"file_bytes_sent": outgoing.bytes_out}
        facts |= {"bytes_sent": out, "size": size, "resumed_at": offset}
        self._report.trouble(event, f"{why}: {what}", **facts)

    def _say_one(self, item: Item, source: Source, reply: Reply, seconds: float) -> None:
        """A file was confirmed."""
        grown = source.growth()
        if grown:
            self._report.trouble(
                "grew",
                f"{quote(item.name)} grew by {plural(grown, 'byte')} while it was sent; only the "
                f"first {amount(source.size)} were sent",
                grown_by=grown,
            )
        offset = 0 if self._outgoing is None else self._outgoing.offset
        sent, digest = source.size - offset, reply.digest.hex()
        stored = "" if reply.text == item.name else f", stored as {quote(reply.text)}"
        had = f", {amount(offset)} of it were there before" if offset else ""
        self._report.fact(
            "sent",
            f"sent {quote(item.name)}: {amount(source.size)} in {seconds:.1f} s "
            f"({speed(sent, seconds)}), SHA-256 {digest} confirmed by the receiver{had}{stored}",
            name=item.name,
            stored_as=reply.text,
            bytes_sent=sent,
            resumed_at=offset,
            size=source.size,
            sha256=digest,
            seconds=round(seconds, 3),
        )

    def _say_all(self) -> None:
        """The last line for several files."""
        seconds = time.monotonic() - self._started
        had = f", {amount(self._offsets)} were there before" if self._offsets else ""
        but = f"; {self._failures} were not sent" if self._failures else ""
        rate = speed(self._bytes_out, seconds)
        self._report.fact(
            "done",
            f"sent {plural(self._confirmed, 'file')}: {amount(self._bytes_out)} in {seconds:.1f} s "
            f"({rate}), each SHA-256 confirmed by the receiver{had}{but}",
            files=self._confirmed,
            failed=self._failures,
            bytes_sent=self._bytes_out,
            bytes_resumed=self._offsets,
            seconds=round(seconds, 3),
        )

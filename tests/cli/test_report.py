"""Sentences for people, JSON for programs, and a bar for those who watch."""

from __future__ import annotations

import io
import json
import os
import re
import time

import pytest

from trio_xsock._cli._progress import Bars, use_colours
from trio_xsock._cli._report import Report
from trio_xsock._cli._stream import Stream


class Terminal(io.StringIO):
    """What rich takes for a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def streams(monkeypatch: pytest.MonkeyPatch) -> tuple[io.StringIO, io.StringIO]:
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    return Terminal(), Terminal()


def test_sentences() -> None:
    out, err = io.StringIO(), io.StringIO()
    report = Report(out=out, err=err)
    report.fact("done", "all is done", style="bold", count=1)
    report.trouble("failed", "it failed", count=1)
    assert out.getvalue() == "all is done\n"
    assert err.getvalue() == "xsock: it failed\n"


def test_json() -> None:
    out, err = io.StringIO(), io.StringIO()
    report = Report(as_json=True, out=out, err=err)
    report.fact("done", "all is done", style="bold", name="\u00e9\x1b")
    report.trouble("failed", "it failed", count=1)
    report.trouble("failed", "it failed here", message="it failed")
    assert [json.loads(line) for line in out.getvalue().splitlines()] == [
        {"event": "done", "name": "\u00e9\x1b"},
        {"event": "failed", "count": 1, "message": "it failed"},
        {"event": "failed", "message": "it failed"},
    ]
    assert out.getvalue().isascii()
    assert "\x1b" not in out.getvalue()
    assert err.getvalue() == ""


def test_characters_that_the_terminal_lacks() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    Stream("standard output", stream).line("caf\u00e9")
    assert raw.getvalue() == b"caf\\xe9\n"


def test_reader_that_went_away() -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w", encoding="utf-8") as file:
        stream = Stream("standard output", file)
        stream.line("nobody reads this")
        stream.line("nor this")
        stream.sink.drain(lambda: False)
        stream.sink.close()
    assert stream.sink.gone
    assert stream.why_failed() == ""


def test_bar_shows_rate_and_time_left(streams: tuple[Terminal, Terminal]) -> None:
    out, err = streams
    report = Report(out=out, err=err)
    with Bars(report) as bars:
        assert bars.live is not None
        meter = bars.meter("a [bold]name\x1b", 1_000_000)
        for done in (0, 250_000, 500_000):
            meter.update(done)
            time.sleep(0.002)  # rates are reckoned from the clock
        bars.live.refresh()
        report.fact("line", "a line in between")
        assert meter.close() > 0
        meter.close()
    shown = err.getvalue()
    assert "'a [bold]name\\x1b'" in shown
    assert "0.5/1.0 MB" in shown
    assert "MB/s" in shown
    assert re.search(r"\d:\d\d:\d\d", shown)
    assert out.getvalue() == "a line in between\n"
    report.fact("line", "afterwards")
    assert out.getvalue().endswith("afterwards\n")


def test_no_bar_in_json(streams: tuple[Terminal, Terminal]) -> None:
    out, err = streams
    with Bars(Report(as_json=True, out=out, err=err)) as bars:
        meter = bars.meter("f", 100)
        meter.update(50)
        meter.close()
    assert err.getvalue() == out.getvalue() == ""


def test_no_bar_on_a_dumb_terminal(
    streams: tuple[Terminal, Terminal], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    out, err = streams
    with Bars(Report(out=out, err=err)) as bars:
        assert bars.live is None


def test_plain_lines_come_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    err = io.StringIO()
    with Bars(Report(out=io.StringIO(), err=err)) as bars:
        meter = bars.meter("f", 100_000)
        meter.update(10)
        now += 4.0
        meter.update(0)
        now += 4.0
        meter.update(25_000)
        meter.update(26_000)
        now += 4.0
        meter.update(100_000)
        assert meter.close() == 12.0
    assert err.getvalue().splitlines() == [
        "'f': 0 %, 0 bytes of 100 kB, 0 bytes/s",
        "'f': 25 %, 25.0 kB of 100 kB, 3.1 kB/s, 24 s left",
    ]


@pytest.mark.parametrize(
    ("variable", "value", "painted"),
    [("X", "", True), ("NO_COLOR", "1", False), ("TERM", "dumb", False)],
)
def test_colours(
    streams: tuple[Terminal, Terminal],
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    value: str,
    painted: bool,
) -> None:
    monkeypatch.setenv(variable, value)
    out, err = streams
    report = Report(out=out, err=err)
    use_colours(report)
    report.fact("done", "all [is] done", style="bold")
    report.fact("done", "plain")
    if painted:
        assert out.getvalue() == "\x1b[1mall [is] done\x1b[0m\nplain\n"
    else:
        assert out.getvalue() == "all [is] done\nplain\n"


def test_no_colours_for_a_file() -> None:
    report = Report(out=io.StringIO(), err=io.StringIO())
    use_colours(report)
    assert report.paint is None

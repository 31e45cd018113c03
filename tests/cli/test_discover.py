"""``xsock discover``: who is there, as lines and as a table."""

from __future__ import annotations

import errno
import io
import json
import re
import signal
from pathlib import Path

import pytest
from rich.console import Console
from rich.live import Live

from tests.support.groups import free_port
from trio_xsock import Member
from trio_xsock._cli import main
from trio_xsock._cli._discover import _Rows
from trio_xsock._cli._member_table import MemberTable

from .support import Program

HOSTILE = "\x1b[2Jgo\u202etcha"


def test_two_programs_see_each_other_come_and_go(tmp_path: Path) -> None:
    """With a key, one as JSON and one for a person; Ctrl-C says goodbye."""
    key = tmp_path / "key"
    key.write_text("a key\n")
    common = "orchard", "--port", free_port(), "--interface", "lo", "--key-file", key
    with Program("discover", *common, "--json", "--name", HOSTILE) as one:
        assert json.loads(one.out.next() or "")["own"] is True
        with Program("discover", *common, "--name", "two") as two:
            lines = sorted([two.out.next() or "", two.out.next() or ""])
            assert any(line.endswith("two (this program)") for line in lines)
            assert any("\\x1b[2Jgo" in line for line in lines)
            assert all(line.startswith("+ 127.0.0.1:") and "\x1b" not in line for line in lines)
            joined = json.loads(one.out.next() or "")
            two.process.send_signal(signal.SIGINT)
            assert two.process.wait(15) == 130
        left = json.loads(one.out.next() or "")
        assert (joined["event"], left["event"]) == ("joined", "left")
        assert joined["name"] == left["name"] == "two"
        assert joined["instance_id"] == left["instance_id"]
        one.process.send_signal(signal.SIGINT)
        assert one.process.wait(15) == 130


def test_it_ends_by_itself(capsys: pytest.CaptureFixture[str]) -> None:
    """After so many seconds, with exit code 0."""
    port = str(free_port())
    arguments = ["discover", "g", "--port", port, "--interface", "lo", "--seconds", "0.1"]
    assert main(arguments) == 0
    assert capsys.readouterr().out.endswith("xsock (this program)\n")


@pytest.mark.parametrize("as_json", [False, True])
def test_a_network_that_went_away_is_told_of(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, as_json: bool
) -> None:
    """In a line, or as an event; it goes on all the same."""
    troubles = [OSError(errno.ENODEV, "No such device")]

    def look(*_: object) -> OSError | None:
        return troubles.pop() if troubles else None

    monkeypatch.setattr("trio_xsock._engine.renewal.Renewal.look", look)
    arguments = ["discover", "g", "--port", str(free_port()), "--interface", "lo"]
    arguments += ["--seconds", "0.2", *(["--json"] if as_json else [])]
    assert main(arguments) == 0
    out, err = capsys.readouterr()
    if as_json:
        events = [json.loads(line) for line in out.splitlines()]
        assert {event["event"] for event in events} == {"joined", "error"}
    assert "cannot be heard on lo: No such device" in (out if as_json else err)
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "arguments",
    [
        ["x" * 65],
        ["g", "--port", "0"],
        ["g", "--port", "65536"],
        ["g", "--name", "x" * 65],
        ["g", "--interface", "no such thing"],
        ["g", "--key-file", "/dev/null"],
    ],
)
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, and a sentence."""
    assert main(["discover", *arguments]) == 2
    assert "xsock" in capsys.readouterr().err


def test_a_key_that_cannot_be_read(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1, naming the file."""
    assert main(["discover", "g", "--key-file", "/no/such/file"]) == 1
    assert "/no/such/file" in capsys.readouterr().err


def test_the_table() -> None:
    """A row for each member, and nothing of theirs reaches the terminal unescaped."""
    out = io.StringIO()
    console = Console(file=out, width=100, force_terminal=True, highlight=False)
    with Live(console=console, auto_refresh=False) as live:
        table = _Rows(MemberTable("orchard", live))
        table.joined(Member("1", "10.0.0.1", 5, "one"), own=True)
        table.joined(Member("2", "10.0.0.2", 6, HOSTILE, {"room": "2\n3"}), own=False)
        shown = out.getvalue()
        table.left(Member("1", "10.0.0.1", 5, "one"))
        table.trouble(OSError("the cable is out\x1b[2J"))
    assert "xsock: the cable is out\\x1b[2J" in out.getvalue()
    assert "orchard: 2 members" in shown
    assert "one (this program)" in shown
    assert "10.0.0.2:6" in shown
    assert "room=2\\n3" in shown
    assert "\\x1b[2Jgo\\u202etcha" in shown
    assert re.search(r"orchard: 1 member\b", out.getvalue())

"""``xsock demo`` shows the whole round and proves it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from trio_xsock import LostConnectionError, SendComplete
from trio_xsock._cli import _demo, main
from trio_xsock._cli._errors import CommandError
from trio_xsock._cli._rounds import Aborted, Whole

from .support import Program, environment

SIZE = 32 * 2**20
WHOLE = (
    r"^  agreed  33554432 bytes in \d+\.\d\d s, \d+(\.\d)? [MG]B/s; "
    r"SHA-256 sent ([0-9a-f]{16})\.\.\., received \2\.\.\.$"
)
ABORTED = (
    r"^  agreed  SendComplete: user_aborted=True, (\d+) bytes sent, \d+ unsent; "
    r"the receiver counted \1$"
)


def test_demo_in_words(tmp_path: Path) -> None:
    with Program("demo", "--size", SIZE, env=environment(TMPDIR=str(tmp_path))) as demo:
        assert demo.end() == 0
    text = "\n".join(demo.out.seen)
    assert demo.err.seen == []
    assert text.isprintable() or "\x1b" not in text
    for wanted in (
        r"^A file of 33554432 random bytes: ",
        r"^  sender    Connected$",
        r"^  receiver  Connected$",
        r"^  sender    SendProgress   \d+ bytes sent, \d+ left in the queue, \d+ in all$",
        r"^  receiver  DataAvailable$",
        WHOLE,
        ABORTED,
        r"^Done: .* both ends agree on every byte, aborted or not\.$",
    ):
        assert re.search(wanted, text, re.MULTILINE), wanted
    assert list(tmp_path.iterdir()) == []


def test_demo_as_json(tmp_path: Path) -> None:
    with Program("demo", "--json", "--size", SIZE, env=environment(TMPDIR=str(tmp_path))) as demo:
        assert demo.end() == 0
    facts = demo.facts()
    whole = next(fact for fact in facts if fact["event"] == "whole")
    assert whole["agrees"] is True
    assert whole["sha256_sent"] == whole["sha256_received"]
    aborted = [fact for fact in facts if fact["event"] == "aborted"]
    assert [fact["how"] for fact in aborted] == ["cancellation", "handler"]
    for fact in aborted:
        assert fact["user_aborted"] is True
        assert fact["bytes_sent"] == fact["bytes_received"]
        assert fact["bytes_sent"] + fact["bytes_unsent"] == SIZE
        assert SIZE / 2 <= fact["bytes_sent"] < SIZE
    assert facts[-1]["event"] == "done"


def test_interrupted_demo_removes_its_files(tmp_path: Path) -> None:
    with Program("demo", "--size", "200M", env=environment(TMPDIR=str(tmp_path))) as demo:
        demo.out.until("Connected")
        demo.interrupt()
        assert demo.end() == 130
    assert list(tmp_path.iterdir()) == []


def test_no_room_for_the_demo(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    code = (
        "import errno, tempfile, sys; from trio_xsock._cli import main\n"
        "def fail(*args, **options): raise OSError(errno.ENOSPC, 'No space left on device')\n"
        "tempfile.mkdtemp = fail; sys.exit(main())"
    )
    with Program("demo", code=code, env=environment(TMPDIR=str(missing))) as demo:
        assert demo.end() == 1
    assert demo.trouble == "xsock: no temporary folder: No space left on device"


@pytest.mark.parametrize(
    ("user_aborted", "sent", "unsent", "received", "agrees"),
    [
        (True, 60, 40, 60, True),
        (True, 60, 40, 59, False),
        (True, 60, 39, 60, False),
        (True, 0, 100, 0, False),
        (True, 100, 0, 100, False),
        (False, 60, 40, 60, False),
    ],
)
def test_verdict(user_aborted: bool, sent: int, unsent: int, received: int, agrees: bool) -> None:
    complete = SendComplete(None, user_aborted, sent, unsent)
    assert Aborted(100, complete, received).agrees is agrees


def test_checksums_are_compared() -> None:
    assert Whole(1, 1.0, b"a", b"a").agrees
    assert not Whole(1, 1.0, b"a", b"b").agrees


@pytest.fixture
def rounds(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the rounds find, without running them."""
    complete = SendComplete(None, True, 60, 40)
    found: dict[str, Any] = {
        "whole_file": Whole(100, 1.0, b"a", b"a"),
        "aborted_by_cancellation": Aborted(100, complete, 60),
        "aborted_by_handler": Aborted(100, complete, 60),
    }

    def replace(name: str) -> None:
        async def run(*args: object) -> object:
            if isinstance(found[name], Exception):
                raise found[name]
            return found[name]

        monkeypatch.setattr(_demo, name, run)

    monkeypatch.setattr(_demo, "_make_file", lambda path, size: None)
    for name in found:
        replace(name)
    return found


def test_agreement_is_done(rounds: dict[str, Any]) -> None:
    assert main(["demo"]) == 0


@pytest.mark.parametrize(
    ("name", "result"),
    [
        ("whole_file", Whole(100, 1.0, b"a", b"b")),
        ("aborted_by_cancellation", Aborted(100, SendComplete(None, True, 60, 40), 59)),
        ("aborted_by_handler", Aborted(100, SendComplete(None, True, 60, 40), 61)),
    ],
)
def test_disagreement_fails(
    rounds: dict[str, Any],
    name: str,
    result: Whole | Aborted,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rounds[name] = result
    assert main(["demo"]) == 1
    out, err = capsys.readouterr()
    assert out.count("  agreed  ") == 2
    assert out.count("  DIFFERS ") == 1
    assert err == "xsock: the two ends do not agree, see above\n"


def test_network_failure(rounds: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    rounds["whole_file"] = LostConnectionError("lost \x1b it")
    assert main(["demo"]) == 1
    assert capsys.readouterr().err == "xsock: lost \\x1b it\n"


def test_no_room_for_the_file(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"cannot make the file .*: No such file"):
        _demo._make_file(str(tmp_path / "missing" / "f"), 1)

"""A system that starts no further thread: one line, and the other end is told."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from trio_xsock._cli._errors import CommandError
from trio_xsock._cli._threads import in_thread
from trio_xsock._cli._transfer import Header, Status, Trailer

from .support import Program, connect, receive_reply

# As from strace -e inject=clone3:error=EAGAIN; the file "go" gives threads back.
CODE = """\
import os, sys, threading; from trio_xsock._cli import main; real = threading.Thread.start
def start(self):
    if not os.path.exists(os.environ["GO"]): raise RuntimeError("can't start new thread")
    real(self)
threading.Thread.start = start; sys.exit(main())
"""


async def test_what_the_function_raises_is_its_own() -> None:
    def fail() -> None:
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        await in_thread("the sender", fail)
    assert await in_thread("the sender", int) == 0


async def test_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("trio._threads.start_thread_soon", refuse)
    with pytest.raises(CommandError, match="the sender's system starts no further thread"):
        await in_thread("the sender", int)


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_sender_without_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str]
) -> None:
    monkeypatch.setenv("GO", str(tmp_path / "go"))
    (tmp_path / "f").write_bytes(b"data")
    with Program("receive", "--keep-open", 0, tmp_path) as receiver:
        place = f"127.0.0.1:{receiver.port()}"
        with Program("send", *options, tmp_path / "f", place, "--name", "g", code=CODE) as sender:
            assert sender.end() == 1
    assert len(sender.out.seen) + len(sender.err.seen) == 1
    (line,) = sender.out.seen + sender.err.seen
    assert "the sender's system starts no further thread" in line
    assert "of 4 bytes" in line or options


def test_a_receiver_without_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sender is told so; with threads again the next file arrives."""
    monkeypatch.setenv("GO", str(tmp_path / "go"))
    (tmp_path / "in").mkdir()
    with Program("receive", "--keep-open", 0, tmp_path / "in", code=CODE) as receiver:
        port = receiver.port()
        with connect(port) as sock:
            sock.sendall(Header("f", 4).encode())
            reply = receive_reply(sock)
        assert reply.status is Status.REFUSED
        assert reply.text == "the receiver's system starts no further thread"
        receiver.err.until(f"^xsock: {reply.text}: 0 bytes came in")
        (tmp_path / "go").touch()
        with connect(port) as sock:
            sock.sendall(Header("f", 4).encode())
            assert receive_reply(sock).status is Status.GO_AHEAD
            sock.sendall(b"data" + Trailer(hashlib.sha256(b"data").digest()).encode())
            assert receive_reply(sock).status is Status.STORED
        receiver.interrupt()
        assert receiver.end() == 130
    assert receiver.err.seen[1:] == ["xsock: interrupted: no transfer was under way"]

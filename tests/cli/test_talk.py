"""``xsock connect`` and ``xsock listen``: bytes as they are, ends as they were meant."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import signal
import socket
import subprocess
from pathlib import Path
from typing import IO

import pytest

from trio_xsock._cli import main

from .support import (
    PATIENCE,
    Program,
    Raw,
    connect,
    raw_receiver,
    read_terminal,
    receive_exactly,
    reset,
    terminal,
)

EVERYTHING = bytes(range(256)) * 500


def read_to_the_end(sock: socket.socket) -> bytes:
    pieces = []
    while piece := sock.recv(1 << 20):
        pieces.append(piece)
    return b"".join(pieces)


def test_connect_sends_input_and_puts_out_what_comes() -> None:
    """Our end is told when the input has ended, and the peer may still answer then."""
    requests: list[bytes] = []

    def answer(sock: socket.socket) -> None:
        requests.append(read_to_the_end(sock))
        sock.sendall(EVERYTHING)

    with raw_receiver(answer) as place, Raw("connect", place) as program:
        program.type(EVERYTHING)
        program.close_input()
        code, output, lines = program.end()
    assert (code, output) == (0, EVERYTHING)
    assert requests == [EVERYTHING]
    assert len(EVERYTHING) == 128_000
    assert lines == [
        f"xsock: connected to {place}",
        "xsock: closed: 128 kB went out, 128 kB came in",
    ]


@pytest.mark.parametrize("command", ["connect", "listen"])
def test_crlf(command: str) -> None:
    """Each line is ended so once, wherever the pieces of the input end."""
    pieces = {
        b"one\ntwo\r": b"one\r\ntwo\r",
        b"\nthree\n": b"\nthree\r\n",
        b"\n": b"\r\n",
        b"four\r": b"four\r",
        b"five": b"five",
    }
    with contextlib.ExitStack() as stack:
        if command == "listen":
            program = stack.enter_context(Raw("listen", "--crlf", "--bind", "127.0.0.1", 0))
            sock = stack.enter_context(connect(program.port()))
        else:
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            place = f"127.0.0.1:{listener.getsockname()[1]}"
            program = stack.enter_context(Raw("connect", "--crlf", place))
            sock = stack.enter_context(listener.accept()[0])
            sock.settimeout(PATIENCE)
        for piece, wanted in pieces.items():  # each is read by itself
            program.type(piece)
            assert receive_exactly(sock, len(wanted)) == wanted
        program.close_input()
        assert read_to_the_end(sock) == b""
        sock.shutdown(socket.SHUT_WR)
        assert program.end()[0] == 0


def test_listen_takes_one_client() -> None:
    with Raw("listen", 0, "--bind", "127.0.0.1") as program:
        port = program.port()
        with connect(port) as sock:
            place = f"127.0.0.1:{sock.getsockname()[1]}"
            assert program.err.next() == f"xsock: connection from {place}"
            with pytest.raises(ConnectionRefusedError):
                connect(port)
            program.type(b"question\n")
            assert receive_exactly(sock, 9) == b"question\n"
            sock.sendall(b"answer")
            sock.shutdown(socket.SHUT_WR)
            # The peer's end is not ours: what is left of the input still goes out.
            assert program.process.stdout is not None
            assert program.process.stdout.read(6) == b"answer"
            program.type(b"and the rest")
            program.close_input()
            assert read_to_the_end(sock) == b"and the rest"
        code, _, lines = program.end()
    assert code == 0
    assert lines[-1] == "xsock: closed: 21 bytes went out, 6 came in"


def test_files_both_ways(tmp_path: Path) -> None:
    """With plain files as standard input and output of both ends."""
    names = ("one", "other")
    for name in names:
        (tmp_path / name).write_bytes(os.urandom(3_000_000))
    with contextlib.ExitStack() as files:

        def opened(name: str, mode: str) -> IO[bytes]:
            return files.enter_context((tmp_path / name).open(mode))

        listener = files.enter_context(
            Raw("listen", 0, stdin=opened("one", "rb"), stdout=opened("other.copy", "wb"))
        )
        place = f"127.0.0.1:{listener.port()}"
        caller = files.enter_context(
            Raw("connect", place, stdin=opened("other", "rb"), stdout=opened("one.copy", "wb"))
        )
        assert (caller.end()[0], listener.end()[0]) == (0, 0)
    for name in names:
        here, there = ((tmp_path / f"{name}{end}").read_bytes() for end in ("", ".copy"))
        assert hashlib.sha256(here).digest() == hashlib.sha256(there).digest()


def test_a_terminal_is_shown_nothing_that_it_would_obey() -> None:
    """And the peer's end is the end for a person, who need not type on."""

    def answer(sock: socket.socket) -> None:
        assert receive_exactly(sock, 6) == b"hello\n"
        sock.sendall(b"\x1b]0;evil\x07\x1b[2Jcaf\xc3\xa9 \xff\xe2\x80\xae\r\nthe end\n")

    with (
        terminal() as (person, program),
        raw_receiver(answer) as place,
        Raw("connect", place, stdin=program, stdout=program) as running,
    ):
        running.err.until("connected")
        os.write(person, b"hello\n")
        shown = read_terminal(person, b"the end\n")
        assert running.end()[0] == 0
    assert shown == "\\x1b]0;evil\\x07\\x1b[2Jcaf\u00e9 \\xff\\u202e\nthe end\n".encode()


def test_json_on_both_sides(tmp_path: Path) -> None:
    (tmp_path / "request").write_bytes(b"\x1b[2J caf\xc3\xa9")
    with (
        Program("listen", "--json", 0, "--bind", "127.0.0.1") as listener,
        (tmp_path / "request").open("rb") as request,
        Program("connect", "--json", f"127.0.0.1:{listener.port()}", stdin=request) as caller,
    ):
        assert (caller.end(), listener.end()) == (0, 0)
    assert [fact["event"] for fact in listener.facts()] == [
        "listening",
        "connected",
        "received",
        "closed",
    ]
    assert listener.facts()[2] == {"event": "received", "text": "\x1b[2J caf\u00e9"}
    assert listener.facts()[3] == {"event": "closed", "bytes_sent": 0, "bytes_received": 10}
    assert caller.facts()[1] == {"event": "closed", "bytes_sent": 10, "bytes_received": 0}
    assert (listener.err.seen, caller.err.seen) == ([], [])


def test_bytes_that_are_no_text_as_json() -> None:
    def answer(sock: socket.socket) -> None:
        sock.sendall(b"\xff\x00")

    with raw_receiver(answer) as place, Program("connect", "--json", place) as program:
        assert program.end() == 0
    assert program.facts()[1] == {"event": "received", "base64": "/wA="}


@pytest.mark.parametrize("listens", [True, False])
def test_ctrl_c_says_what_was_moved(listens: bool) -> None:
    with contextlib.ExitStack() as stack:
        if listens:
            program = stack.enter_context(Raw("listen", 0))
            sock = stack.enter_context(connect(program.port()))
        else:
            server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            place = f"127.0.0.1:{server.getsockname()[1]}"
            program = stack.enter_context(Raw("connect", place))
            sock = stack.enter_context(server.accept()[0])
        program.type(b"12345")
        assert receive_exactly(sock, 5) == b"12345"
        sock.sendall(b"123")
        assert program.process.stdout is not None
        assert program.process.stdout.read(3) == b"123"
        program.process.send_signal(signal.SIGINT)
        code, _, lines = program.end()
    assert code == 130
    assert lines[-1] == "xsock: interrupted: 5 bytes went out, 3 came in"


def test_ctrl_c_before_anybody_came() -> None:
    with Raw("listen", 0) as program:
        program.port()
        program.process.send_signal(signal.SIGINT)
        code, _, lines = program.end()
    assert code == 130
    assert lines[-1] == "xsock: interrupted: there was no connection"


def test_a_reset_is_a_failure_and_what_came_before_is_put_out() -> None:
    with Raw("listen", 0) as program:
        with connect(program.port()) as sock:
            sock.sendall(b"last words")
            assert program.process.stdout is not None
            assert program.process.stdout.read(10) == b"last words"
            reset(sock)
        code, _, lines = program.end()
    assert code == 1
    assert re.fullmatch(r"xsock: 127\.0\.0\.1:\d+: .*: 0 bytes went out, 10 came in", lines[-1])


def test_sending_to_a_peer_that_ended_and_then_went_away() -> None:
    with Raw("listen", 0) as program, connect(program.port()) as sock:
        sock.sendall(b"x")
        sock.shutdown(socket.SHUT_WR)
        assert program.process.stdout is not None
        assert program.process.stdout.read(1) == b"x"
        reset(sock)
        with contextlib.suppress(BrokenPipeError):
            program.type(bytes(100_000))
        code, _, lines = program.end()
    assert code == 1
    assert re.search(r"bytes went out, 1 came in$", lines[-1])


def test_silence_has_a_limit() -> None:
    with Raw("listen", 0, "--timeout", "0.2") as program, connect(program.port()):
        code, _, lines = program.end()
    assert code == 1
    assert lines[-1].endswith(": 0 bytes went out, 0 came in")


def test_no_shutdown() -> None:
    """The peer sees no end, and may go on."""
    with Raw("listen", 0, "--no-shutdown", stdin=subprocess.DEVNULL) as program:
        with connect(program.port()) as sock:
            sock.settimeout(0.2)
            with pytest.raises(TimeoutError):
                sock.recv(1)
            sock.sendall(b"x")
        code, output, _ = program.end()
    assert (code, output) == (0, b"x")


def test_keep_open_takes_one_client_after_the_other() -> None:
    with Raw("listen", 0, "--keep-open", stdin=subprocess.DEVNULL) as program:
        port = program.port()
        for data, leave in ((b"first", reset), (b"second", socket.socket.close)):
            with connect(port) as sock:
                assert sock.recv(1) == b""  # the input had ended when they came
                sock.sendall(data)
                assert program.process.stdout is not None
                assert program.process.stdout.read(len(data)) == data
                leave(sock)
            program.err.until("bytes went out")
        program.process.send_signal(signal.SIGINT)
        code, _, lines = program.end()
    assert code == 130
    assert lines[-2] == "xsock: closed: 0 bytes went out, 6 came in"


def test_output_that_nobody_reads_any_more_ends_it() -> None:
    """As in ``xsock connect ... | head -1``."""

    def answer(sock: socket.socket) -> None:
        sock.sendall(b"first\n")
        with contextlib.suppress(ConnectionError):
            while True:
                sock.sendall(bytes(100_000))

    with raw_receiver(answer) as place, Raw("connect", place) as program:
        assert program.process.stdout is not None
        assert program.process.stdout.readline() == b"first\n"
        program.process.stdout.close()
        program.process.stdout = None
        code, _, lines = program.end()
    assert code == 0
    assert lines == [f"xsock: connected to {place}"]


def test_streams_that_cannot_be_used(tmp_path: Path) -> None:
    def answer(sock: socket.socket) -> None:
        sock.sendall(b"x")
        with contextlib.suppress(ConnectionError):
            sock.recv(1)

    with (tmp_path / "f").open("wb") as write_only:
        with raw_receiver(answer) as place, Raw("connect", place, stdin=write_only) as program:
            code, output, lines = program.end()
    assert (code, output) == (0, b"x")
    assert lines[-2:] == [
        "xsock: standard input counts as ended: Bad file descriptor",
        "xsock: closed: 0 bytes went out, 1 came in",
    ]
    with open("/dev/full", "wb") as full:
        with raw_receiver(answer) as place, Raw("connect", place, stdout=full) as program:
            code, _, lines = program.end()
    assert code == 1
    assert lines[-1].startswith("xsock: cannot write to standard output: No space left on device")


def test_no_standard_streams_at_all() -> None:
    """As after ``xsock connect ... <&- >&-``."""
    requests: list[bytes] = []

    def answer(sock: socket.socket) -> None:
        requests.append(read_to_the_end(sock))
        sock.sendall(b"answer")

    def close_both() -> None:
        os.close(0)
        os.close(1)

    with raw_receiver(answer) as place:
        command = Raw(
            "connect",
            place,
            stdin=None,
            stdout=None,
            preexec_fn=close_both,
            variables={"PYTHONDEVMODE": "1"},  # tells of what is left open
        )
        with command as program:
            code, _, lines = program.end()
    assert (code, requests) == (0, [b""])
    assert lines[-1] == "xsock: closed: 0 bytes went out, 6 came in"


def test_nobody_listens(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert main(["connect", f"127.0.0.1:{port}"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert f"127.0.0.1:{port} (check that a server listens on that port)" in err


def test_port_in_use(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert main(["listen", "--bind", "127.0.0.1", str(port)]) == 1
    assert "choose another one, or 0 for a free one" in capsys.readouterr().err

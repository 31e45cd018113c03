"""``xsock udp``: lines out as datagrams, datagrams in as lines."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator

import pytest

from trio_xsock._cli import main

from .support import PATIENCE, Program

LO = "127.0.0.1"


@pytest.fixture
def peer() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((LO, 0))
        sock.settimeout(PATIENCE)
        yield sock


def bound_port(program: Program) -> int:
    return int(program.err.until(r"^xsock: receiving at port (\d+)$")[1])


def test_what_comes_is_shown_until_it_is_enough(peer: socket.socket) -> None:
    """A line for each, who sent it, and nothing that a terminal would obey."""
    with Program("udp", "0", "--bind", LO, "--count", "4") as program:
        port = bound_port(program)
        for data in (b"hello", b"", b"\x1b[2J\xff\n", "ü".encode()):
            peer.sendto(data, (LO, port))
        assert program.end() == 0
        sender = f"{LO}:{peer.getsockname()[1]}"
        assert program.out.seen == [
            f"{sender} hello",
            f"{sender} ",
            f"{sender} \\x1b[2J\\\\xff\\n",
            f"{sender} ü",
        ]
        assert program.trouble == "xsock: closed: 0 datagrams went out, 4 came in"


def test_as_json(peer: socket.socket) -> None:
    to = f"{LO}:{peer.getsockname()[1]}"  # there is nothing to be sent: no input
    with Program("udp", "0", "--bind", LO, "--to", to, "--count", "3", "--json") as program:
        first = program.out.next()
        assert first is not None
        bound = json.loads(first)
        assert bound["event"] == "bound"
        for data in (b"hello", b"\xff", b""):
            peer.sendto(data, (LO, bound["port"]))
        assert program.end() == 0
        sender = {"event": "received", "address": LO, "port": peer.getsockname()[1]}
        assert program.facts()[1:] == [
            {**sender, "text": "hello"},
            {**sender, "base64": "/w=="},
            {**sender, "text": ""},
            {"event": "closed", "datagrams_sent": 0, "datagrams_received": 3},
        ]


def test_lines_are_sent_and_answers_awaited(peer: socket.socket) -> None:
    """Also the last one, which has no end; a name is looked up."""
    to = f"localhost:{peer.getsockname()[1]}"
    with Program("udp", "--to", to, "--wait", "0.2", stdin=subprocess.PIPE) as program:
        assert program.process.stdin is not None
        with program.process.stdin as stdin:
            stdin.write(b"one\n\nthree")
        received = [peer.recvfrom(100) for _ in range(3)]
        assert [data for data, _ in received] == [b"one", b"", b"three"]
        peer.sendto(b"answer", received[0][1])
        assert program.end() == 0
        assert program.out.seen == [f"{LO}:{peer.getsockname()[1]} answer"]
        assert program.trouble == "xsock: closed: 3 datagrams went out, 1 came in"


def test_lines_answer_who_asked_last(peer: socket.socket) -> None:
    """Nothing is read before somebody asks; each line goes to the latest of them."""
    with Program("udp", "--bind", LO, 0, stdin=subprocess.PIPE) as program:
        port = int(program.err.until(r"receiving at port (\d+)")[1])
        assert program.process.stdin is not None
        with program.process.stdin as stdin, socket.socket(type=socket.SOCK_DGRAM) as other:
            other.settimeout(15)
            for asker, answer in ((peer, b"one"), (other, b"two"), (peer, b"three")):
                asker.sendto(b"question", (LO, port))
                program.out.until("question")
                stdin.write(answer + b"\n")
                stdin.flush()
                assert asker.recvfrom(100) == (answer, (LO, port))
        program.interrupt()
        assert program.end() == 130
    assert program.trouble == "xsock: interrupted: 3 datagrams went out, 3 came in"


def test_who_asks_and_leaves_harms_nobody(peer: socket.socket) -> None:
    """An answer that cannot be delivered is told, and the next one is."""
    with Program("udp", "--bind", LO, 0, stdin=subprocess.PIPE) as program:
        port = int(program.err.until(r"receiving at port (\d+)")[1])
        assert program.process.stdin is not None
        with program.process.stdin as stdin:
            peer.sendto(b"question", (LO, port))
            program.out.until("question")
            stdin.write(bytes(65500).replace(b"\0", b"x") + b"\n")
            stdin.flush()
            assert len(peer.recv(70_000)) == 65500
            stdin.write(b"y" * 65507 + b"\nshort\n")
            stdin.flush()
            assert {len(peer.recv(70_000)) for _ in range(2)} == {65507, 5}
        program.interrupt()
        assert program.end() == 130
    assert program.trouble == "xsock: interrupted: 3 datagrams went out, 1 came in"


def test_an_answer_may_be_enough(peer: socket.socket) -> None:
    """Whatever is left of the input."""
    to = f"{LO}:{peer.getsockname()[1]}"
    with Program("udp", "0", "--to", to, "--count", "1", stdin=subprocess.PIPE) as program:
        assert program.process.stdin is not None
        program.process.stdin.write(b"question\n")
        program.process.stdin.flush()
        data, sender = peer.recvfrom(100)
        assert data == b"question"
        peer.sendto(b"answer", sender)
        assert program.end() == 0
        program.process.stdin.close()


def test_a_group_and_ctrl_c(peer: socket.socket) -> None:
    """What went and came is told in the end."""
    arguments = ("udp", "0", "--interface", "lo", "--join", "239.77.9.9")
    with Program(*arguments) as program:
        port = bound_port(program)
        peer.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(LO))
        peer.sendto(b"to all", ("239.77.9.9", port))
        assert program.out.until("to all")
        program.interrupt()
        assert program.end() == 130
        assert program.trouble == "xsock: interrupted: 0 datagrams went out, 1 came in"


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        ([], 2, "give a PORT to receive at"),
        (["7", "--interface", "nowhere0"], 2, "no interface 'nowhere0'"),
        (["7", "--interface", "999"], 2, "no interface '999'"),
        (["65536"], 2, "not a port"),
        (["0", "--bind", LO, "--join", "192.0.2.1"], 1, "group 192.0.2.1 cannot be joined"),
        (["0", "--bind", "192.0.2.77"], 1, "cannot bind to 192.0.2.77"),
    ],
)
def test_what_cannot_be(
    arguments: list[str], code: int, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Wrong usage, and what the network refuses."""
    try:
        assert main(["udp", *arguments]) == code
    except SystemExit as exc:
        assert exc.code == code
    assert text in " ".join(capsys.readouterr().err.split())

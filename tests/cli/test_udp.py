"""``xsock udp``: lines out as datagrams, datagrams in as lines."""

from __future__ import annotations

import json
import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from trio_xsock import UDPSocket
from trio_xsock._cli import main

from .support import PATIENCE, Program

LO = "127.0.0.1"
LARGEST = 65507
LIMIT_KB = 60_000
# What the child tells at its end: how often it looked a name up, and how large it ever was.
CODE = """\
import socket, sys
asked, look_up = [], socket.getaddrinfo
def getaddrinfo(host, port, family=0, type=0, proto=0, flags=0):
    if not flags & socket.AI_NUMERICHOST:
        asked.append(host)
    return look_up(host, port, family, type, proto, flags)
socket.getaddrinfo = getaddrinfo
from trio_xsock._cli import main
code = main()
print("asked:", len(asked), file=sys.stderr)
with open("/proc/self/status") as status:
    print(*(line for line in status if line.startswith("VmHWM")), file=sys.stderr)
sys.exit(code)
"""


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


@pytest.mark.parametrize(
    ("arguments", "attempts", "text"),
    [
        ([], 1, "Address already in use"),
        (["--join", "192.0.2.1"], 2, "group 192.0.2.1 cannot be joined"),
    ],
    ids=["alone", "in a group"],
)
def test_another_program_is_about_to_share_the_port(
    arguments: list[str],
    attempts: int,
    text: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It has bound to it, and joins a group in a moment; who joins none is refused at once."""
    seen: list[UDPSocket] = []
    bind = UDPSocket.bind

    async def bind_while_the_other_joins(self: UDPSocket, port: int | None = None) -> None:
        seen.append(self)
        try:
            await bind(self, port)
        finally:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)

    monkeypatch.setattr(UDPSocket, "bind", bind_while_the_other_joins)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("", 0))
        port = str(other.getsockname()[1])
        assert main(["udp", port, "--bind", LO, *arguments]) == 1
    assert text in " ".join(capsys.readouterr().err.split())
    assert len(seen) == attempts


def test_a_name_is_looked_up_once(peer: socket.socket) -> None:
    """However many lines there are."""
    arguments = ("udp", "--to", f"localhost:{peer.getsockname()[1]}", "--wait", "0.01")
    with Program(*arguments, code=CODE, stdin=subprocess.PIPE) as program:
        assert program.process.stdin is not None
        with program.process.stdin as stdin:
            stdin.write(b"line\n" * 100)
        assert program.end() == 0
    assert "asked: 1" in program.err.seen
    assert "xsock: closed: 100 datagrams went out, 0 came in" in program.err.seen


@pytest.mark.parametrize("as_json", [False, True])
def test_a_line_that_is_too_long(peer: socket.socket, as_json: bool) -> None:
    """One sentence, and what went out before it is told; it went."""
    arguments = ["udp", "--to", f"{LO}:{peer.getsockname()[1]}", *["--json"] * as_json]
    with Program(*arguments, stdin=subprocess.PIPE) as program:
        assert program.process.stdin is not None
        with program.process.stdin as stdin:
            stdin.write(b"a\n" + b"y" * LARGEST + b"\n" + b"x" * (LARGEST + 1) + b"\nz\n")
        assert program.end() == 1
        assert [len(peer.recv(LARGEST + 1)) for _ in range(2)] == [1, LARGEST]
        if as_json:
            told = {fact["event"]: fact for fact in program.facts()}
            assert told["closed"]["datagrams_sent"] == 2
            assert "longer than 65507 bytes" in told["failed"]["message"]
        else:
            told_twice = [line for line in program.err.seen if "longer than 65507 bytes" in line]
            assert len(told_twice) == 1
            assert "xsock: closed: 2 datagrams went out, 0 came in" in program.err.seen
    peer.setblocking(False)
    with pytest.raises(BlockingIOError):
        peer.recv(1)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_input_without_a_line_end_is_not_read_to_its_end(peer: socket.socket) -> None:
    """This one has none: it ends as soon as no datagram can carry the line, and stays small."""
    to = f"{LO}:{peer.getsockname()[1]}"
    with open("/dev/zero", "rb") as zeros:
        with Program("udp", "--to", to, code=CODE, stdin=zeros) as program:
            assert program.end() == 1
    assert "xsock: closed: 0 datagrams went out, 0 came in" in program.err.seen
    match = re.search(r"VmHWM:\s+(\d+) kB", "\n".join(program.err.seen))
    assert match
    assert int(match[1]) < LIMIT_KB


def test_why_a_group_cannot_be_joined() -> None:
    """Because of the limit of groups for each socket, where it is below what is tried here."""
    groups = [argument for number in range(200) for argument in ("--join", f"239.7.7.{number}")]
    arguments = ("udp", "0", "--interface", "lo", *groups)
    with Program(*arguments) as program:
        lines = []
        while (line := program.err.next()) is not None:
            lines.append(line)
            if "receiving at port" in line:
                program.interrupt()
                pytest.skip("the limit of this machine is above 200 groups")
        assert program.end() == 1
    refusal = next(line for line in lines if "cannot be joined" in line)
    assert re.search(r"239\.7\.7\.\d+ cannot be joined: .*No buffer space available", refusal)
    assert "igmp_max_memberships" in refusal

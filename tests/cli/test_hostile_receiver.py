"""Receivers that keep no promise: the sender says what went wrong, and how much went out."""

from __future__ import annotations

import hashlib
import os
import socket
import struct
from pathlib import Path

import pytest

from trio_xsock._cli._transfer import Reply, Status

from .support import Program, raw_receiver, receive_exactly, receive_header

DATA = b"0123456789" * 1000
DIGEST = hashlib.sha256(DATA).digest()
BIG = 40_000_000


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "f"
    path.write_bytes(DATA)
    return path


@pytest.fixture
def big_file(tmp_path: Path) -> Path:
    path = tmp_path / "big"
    with path.open("wb") as file:
        file.truncate(BIG)
    return path


def drain(sock: socket.socket) -> int:
    count = 0
    while piece := sock.recv(1 << 20):
        count += len(piece)
    return count


def test_what_a_sender_sends(file: Path) -> None:
    got: list[bytes] = []

    def answer(sock: socket.socket) -> None:
        header = receive_header(sock)
        assert (header.name, header.size) == ("f", len(DATA))
        sock.sendall(Reply(Status.GO_AHEAD).encode())
        got.append(receive_exactly(sock, len(DATA) + 36))
        sock.sendall(Reply(Status.BUSY).encode() * 3)
        sock.sendall(Reply(Status.STORED, len(DATA), DIGEST, "g\x1b[2J").encode())
        assert sock.recv(1) == b""

    with raw_receiver(answer) as place, Program("send", file, place) as sender:
        assert sender.end() == 0
    assert got == [DATA + b"XEND" + DIGEST]
    assert sender.out.seen[-1].endswith(", stored as 'g\\x1b[2J'")


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "not an xsock receiver"),
        (b"SSH-2.0-\x1b[2J\r\n", "not an xsock receiver"),
        (b"", "closed the connection before it confirmed"),
        (Reply(Status.GO_AHEAD).encode()[:-1], "closed the connection before it confirmed"),
        (Reply(Status.REFUSED, text="no \x1b[31m way").encode(), "refused: no \\x1b[31m way"),
        (struct.pack("!4sBBHQ32s", b"XREP", 77, 0, 0, 0, b""), "unknown status"),
        (struct.pack("!4sBBHQ32s", b"XREP", 0, 0, 60000, 0, b""), "text of 60000 bytes"),
        (Reply(Status.STORED, len(DATA), DIGEST).encode(), "claims to have stored"),
    ],
    ids=["http", "ssh", "nothing", "cut", "refused", "status", "text", "early"],
)
def test_strange_answers(file: Path, answers: bytes, reason: str) -> None:
    def answer(sock: socket.socket) -> None:
        receive_header(sock)
        sock.sendall(answers)
        sock.shutdown(socket.SHUT_WR)
        drain(sock)

    with raw_receiver(answer) as place, Program("send", file, place) as sender:
        assert sender.end() == 1
    assert reason in sender.trouble
    assert sender.trouble.isprintable()
    assert sender.trouble.endswith(": 0 bytes of 10.0 kB of 'f' went out")


@pytest.mark.parametrize(
    ("last", "reason"),
    [
        (Reply(Status.STORED, len(DATA), bytes(32), "f"), "the checksums differ"),
        (Reply(Status.STORED, len(DATA) - 1, DIGEST, "f"), "claims to have stored 9999 bytes"),
        (Reply(Status.REFUSED, len(DATA), text="the disk is full"), "refused: the disk is full"),
    ],
)
def test_wrong_confirmations(file: Path, last: Reply, reason: str) -> None:
    def answer(sock: socket.socket) -> None:
        receive_header(sock)
        sock.sendall(Reply(Status.GO_AHEAD).encode())
        receive_exactly(sock, len(DATA) + 36)
        sock.sendall(last.encode())
        drain(sock)

    with raw_receiver(answer) as place, Program("send", "--json", file, place) as sender:
        assert sender.end() == 1
    (failed,) = sender.facts()
    assert failed["event"] == "failed"
    assert reason in failed["message"]
    assert (failed["bytes_sent"], failed["size"]) == (len(DATA), len(DATA))


def test_refusal_stops_a_body_that_is_under_way(big_file: Path) -> None:
    """The reason arrives although the receiver has stopped to read."""

    def answer(sock: socket.socket) -> None:
        receive_header(sock)
        sock.sendall(Reply(Status.GO_AHEAD).encode())
        receive_exactly(sock, 1_000_000)
        sock.sendall(Reply(Status.REFUSED, 1_000_000, text="enough").encode())
        drained.append(drain(sock))

    drained: list[int] = []
    with raw_receiver(answer) as place, Program("send", "--json", big_file, place) as sender:
        assert sender.end() == 1
    (failed,) = sender.facts()
    assert failed["message"] == "the receiver refused: enough"
    assert failed["bytes_sent"] == 1_000_000 + drained[0] < BIG


@pytest.mark.parametrize("reads", [0, 1_000_000])
def test_receiver_that_goes_away(big_file: Path, reads: int) -> None:
    def answer(sock: socket.socket) -> None:
        receive_header(sock)
        sock.sendall(Reply(Status.GO_AHEAD).encode())
        receive_exactly(sock, reads)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with raw_receiver(answer) as place, Program("send", "--json", big_file, place) as sender:
        assert sender.end() == 1
    (failed,) = sender.facts()
    assert reads <= failed["bytes_sent"] < BIG
    assert "127.0.0.1" in failed["message"]


@pytest.mark.parametrize("go_ahead", [False, True])
def test_silence(big_file: Path, go_ahead: bool) -> None:
    def answer(sock: socket.socket) -> None:
        receive_header(sock)
        if go_ahead:
            sock.sendall(Reply(Status.GO_AHEAD).encode())
        sender.err.until("the receiver was silent for 0.4 seconds: .* of 40.0 MB of 'big'")
        assert sender.end() == 1

    sender: Program
    with (
        raw_receiver(answer) as place,
        Program("send", "--timeout", 0.4, big_file, place) as sender,
    ):
        sender.process.wait(15)


def test_nobody_listens(file: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with Program("send", file, f"127.0.0.1:{port}") as sender:
        assert sender.end() == 1
    assert f"127.0.0.1:{port}" in sender.trouble
    assert sender.trouble.endswith(": 0 bytes of 10.0 kB of 'f' went out")


def test_file_that_shrinks(big_file: Path) -> None:
    def answer(sock: socket.socket) -> None:
        receive_header(sock)
        os.truncate(big_file, 5_000_000)
        sock.sendall(Reply(Status.GO_AHEAD).encode())
        assert drain(sock) == 5_000_000

    with raw_receiver(answer) as place, Program("send", "--json", big_file, place) as sender:
        assert sender.end() == 1
    (failed,) = sender.facts()
    assert failed["message"] == (
        f"'{big_file}' shrank while it was sent: it had {BIG} bytes at the start and ends after "
        "5000000 now"
    )
    assert failed["bytes_sent"] == 5_000_000


def test_file_that_grows(file: Path) -> None:
    def answer(sock: socket.socket) -> None:
        receive_header(sock)
        with file.open("ab") as grown:
            grown.write(b"more")
        sock.sendall(Reply(Status.GO_AHEAD).encode())
        assert receive_exactly(sock, len(DATA) + 36) == DATA + b"XEND" + DIGEST
        sock.sendall(Reply(Status.STORED, len(DATA), DIGEST, "f").encode())
        drain(sock)

    with raw_receiver(answer) as place, Program("send", file, place) as sender:
        assert sender.end() == 0
    assert sender.trouble == (
        "xsock: 'f' grew by 4 bytes while it was sent; only the first 10.0 kB were sent"
    )

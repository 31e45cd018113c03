"""``xsock receive --keep-open`` under hundreds of transfers, half of which fail in every way."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from trio_xsock._cli._transfer import Header, Reply, Status, Trailer

from .support import PATIENCE, connect, environment, receive_reply

TRANSFERS = 500
AT_A_TIME = 16
BODY = bytes(range(256)) * 40
GROWTH_KB = 8_000
TOO_LARGE = 1_000_000

# The receiver's disk fails as the name of the file says: "write-28-17" fails with errno 28.
CODE = """\
import os, sys
from trio_xsock._cli import _landing, main

faults = {}  # by file, since what is opened later may have the same descriptor

def which(descriptor):
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino

prepare = _landing.Landing.prepare

async def prepare_and_remember(self, sock, header):
    file = await prepare(self, sock, header)
    faults[which(file._fd)] = header.name
    return file

def failing(call, name_of):
    real = getattr(os, call)
    def fail(*args, **options):
        word, number, *_ = (name_of(args) + "--").split("-")
        if word == call:
            if number.isdigit():
                raise OSError(int(number), os.strerror(int(number)))
            raise getattr(__builtins__, number)("a text")
        return real(*args, **options)
    setattr(os, call, fail)

_landing.Landing.prepare = prepare_and_remember
failing("write", lambda args: faults.get(which(args[0]), ""))
failing("fsync", lambda args: faults.get(which(args[0]), ""))
failing("link", lambda args: os.fsdecode(args[1]))
failing("fstatvfs", lambda args: "fstatvfs-95")
sys.exit(main())
"""

Way = Callable[[int, str], str]
"""Sends the file of this name to this port; returns the receiver's last words."""


def begin(sock: socket.socket, name: str, size: int = len(BODY)) -> Reply:
    sock.sendall(Header(name, size).encode())
    return receive_reply(sock)


def whole(port: int, name: str, data: bytes = BODY, digest: bytes = BODY, size: int = 0) -> str:
    """A whole transfer, unless the receiver ends it; by default what it should be."""
    with connect(port) as sock:
        reply = begin(sock, name, size or len(BODY))
        if reply.status is Status.GO_AHEAD:
            sock.sendall(data + Trailer(hashlib.sha256(digest).digest()).encode())
            while (reply := receive_reply(sock)).status is Status.BUSY:
                pass
        return f"stored as {reply.text}" if reply.status is Status.STORED else reply.text


def ends_after(data: bytes) -> Way:
    """A sender that leaves, and waits for what the receiver says to that."""

    def send(port: int, name: str) -> str:
        with connect(port) as sock:
            begin(sock, name)
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            return receive_reply(sock).text

    return send


def says(data: bytes) -> Way:
    """What is no transfer at all."""

    def send(port: int, name: str) -> str:
        with connect(port) as sock:
            sock.sendall(data)
            return receive_reply(sock).text

    return send


def killed(port: int, name: str) -> str:
    """A sender that is killed, with what the receiver said unread: the system resets."""
    with connect(port) as sock:
        begin(sock, name)
        sock.sendall(BODY[:5000])
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return ""


def left_without_a_word(port: int, name: str) -> str:
    connect(port).close()
    return ""


def named(other: str) -> Way:
    """A name that no receiver takes."""
    return lambda port, name: whole(port, other)


# The name, the way and what the sender is told; "" where nobody is there to be told.
FAILURES: list[tuple[str, Way, str]] = [
    ("write-28", whole, "the receiver's disk is full: writing the file failed"),
    ("write-122", whole, "the receiver's disk is full"),
    ("write-5", whole, "writing the file failed at the receiver: Input/output error"),
    ("write-ValueError", whole, "the receiver failed: ValueError: a text"),
    ("write-RuntimeError", whole, "the receiver failed: RuntimeError: a text"),
    ("write-UnicodeError", whole, "the receiver failed: UnicodeError: a text"),
    ("write-MemoryError", whole, "the receiver failed: MemoryError: a text"),
    ("write-OSError", whole, "writing the file failed at the receiver: a text"),
    ("fsync-5", whole, "writing the file failed at the receiver: Input/output error"),
    ("fsync-28", whole, "the receiver's disk is full"),
    ("fsync-OverflowError", whole, "the receiver failed: OverflowError"),
    ("link-5", whole, "naming the file failed at the receiver: Input/output error"),
    ("link-30", whole, "naming the file failed at the receiver: Read-only file system"),
    ("link-TypeError", whole, "the receiver failed: TypeError"),
    ("short", ends_after(BODY[:-1]), "the transfer is incomplete"),
    ("no-trailer", ends_after(BODY), "but before their checksum"),
    ("killed", killed, ""),
    ("silent", left_without_a_word, ""),
    ("digest", lambda port, name: whole(port, name, digest=b"x"), "the checksum is wrong"),
    ("long", lambda port, name: whole(port, name, BODY + bytes(99)), "longer than was announced"),
    ("huge", lambda port, name: whole(port, name, size=TOO_LARGE + 1), "at most 1000000 are taken"),
    ("http", says(b"GET / HTTP/1.0\r\n\r\n"), "not the header of a transfer"),
    ("tls", says(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"), "not the header of a transfer"),
    ("bytes", says(struct.pack("!8sBBHQ", b"XSOCK-FT", 2, 0, 1, 4) + b"\xff"), "not valid UTF-8"),
    ("up", named("../evil"), "it means a folder"),
    ("colon", named("a:b"), "some systems have no : in a name"),
    ("dash", named("-rf"), "begins with a dash"),
    ("hidden", named(".bashrc"), "hidden files"),
    ("taken", named("taken"), "'taken' exists already"),
]
SUCCESSES = [
    "plain",
    "\u65e5\u672c",
    "link-1",  # EPERM
    "link-13",  # EACCES
    "link-18",  # EXDEV
    "link-22",  # EINVAL
    "link-95",  # EOPNOTSUPP
    "fsync-95",
    "fsync-22",
    "fsync-38",  # ENOSYS
]


def one(port: int, number: int) -> tuple[str, str, str]:
    """The transfer of this number: its name, what its sender should hear, and what it heard."""
    half = number // 2
    if number % 2:
        name = f"{SUCCESSES[half % len(SUCCESSES)]}-{number}"
        return name, f"stored as {name}", whole(port, name)
    kind, way, expected = FAILURES[half % len(FAILURES)]
    name = f"{kind}-{number}"
    return name, expected, way(port, name)


def resident_kb(process: subprocess.Popen[bytes]) -> int:
    status = Path(f"/proc/{process.pid}/status").read_text()
    match = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert match, status
    return int(match[1])


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's numbers of errors, and /proc")
def test_half_of_many_transfers_fail_in_every_way(tmp_path: Path) -> None:
    """The others arrive, memory stays flat, nothing is listed as running, no traceback."""
    folder, log = tmp_path / "in", tmp_path / "log"
    folder.mkdir()
    (folder / "taken").write_bytes(b"old")
    arguments = ("receive", "--keep-open", "--max-size", str(TOO_LARGE), "--bind", "127.0.0.1")
    with (
        log.open("wb") as err,
        subprocess.Popen(
            [sys.executable, "-c", CODE, *arguments, "0", str(folder)],
            env=environment(LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=err,
        ) as receiver,
        ThreadPoolExecutor(AT_A_TIME) as pool,
    ):
        try:
            assert receiver.stdout is not None
            port = int(receiver.stdout.readline().split()[-1])
            receiver.stdout.close()  # whoever read the log has gone
            outcomes = list(pool.map(lambda n: one(port, n), range(TRANSFERS // 5)))
            before = resident_kb(receiver)
            outcomes += pool.map(lambda n: one(port, n), range(TRANSFERS // 5, TRANSFERS))
            after = resident_kb(receiver)
            receiver.send_signal(signal.SIGINT)
            assert receiver.wait(PATIENCE) == 130
        finally:
            receiver.kill()
    for name, expected, heard in outcomes:
        assert expected in heard, name
    arrived = {name for name, expected, _ in outcomes if expected.startswith("stored as ")}
    assert len(arrived) == TRANSFERS // 2
    assert {os.fsdecode(name) for name in os.listdir(os.fsencode(folder))} == {*arrived, "taken"}
    assert all((folder / name).read_bytes() == BODY for name in arrived)
    assert after - before < GROWTH_KB
    lines = log.read_text()
    assert "Traceback" not in lines
    assert lines.endswith("xsock: interrupted: no transfer was under way\n")

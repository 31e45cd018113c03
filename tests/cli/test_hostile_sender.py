"""Peers that keep no promise: the receiver refuses, says why, and leaves no file."""

from __future__ import annotations

import hashlib
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from trio_xsock._cli._text import amount
from trio_xsock._cli._transfer import Header, Reply, Status, Trailer

from .support import Program, connect, receive_exactly, receive_reply

Attack = Callable[[socket.socket], None]


def receive(tmp_path: Path, *options: object) -> Program:
    (tmp_path / "in").mkdir()
    return Program("receive", *options, "--bind", "127.0.0.1", 0, tmp_path / "in")


def left_over(tmp_path: Path) -> list[str]:
    """Everything below the folder above DIR, except for DIR."""
    return sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*"))


def header(name: bytes, size: int = 4, *, length: int | None = None) -> bytes:
    length = len(name) if length is None else length
    return struct.pack("!8sBBHQ", b"XSOCK-FT", 2, 0, length, size) + name


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (b"../evil", "it means a folder"),
        (b"/tmp/evil", "it is empty"),
        (b"..", "it means a folder"),
        (b"a\\..\\evil", "path separator"),
        (b"evil\0.txt", "control characters"),
        (b"\x1b]0;evil\x07", "control characters"),
        (b"evil\ninterrupted", "control characters"),
        (b"\xc2\x9b31m", "control characters"),
        (b"gpj.\xe2\x80\xaeevil", "control characters"),
        (b"\xff\xfe", "not valid UTF-8"),
        (b"\xed\xa0\x80", "not valid UTF-8"),
        (b".bashrc", "hidden files"),
        (b"NUL", "names a device"),
    ],
)
def test_names_are_refused(tmp_path: Path, name: bytes, reason: str) -> None:
    with receive(tmp_path) as receiver, connect(receiver.port()) as sock:
        sock.sendall(header(name))
        reply = receive_reply(sock)
        assert sock.recv(1) == b""
        sock.close()
        assert receiver.end() == 1
    assert reply.status is Status.REFUSED
    assert reason in reply.text
    assert reason in receiver.trouble
    assert reply.text.isprintable()
    assert receiver.trouble.isprintable()
    assert left_over(tmp_path) == ["in"]


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (b"GET / HTTP/1.0\r\n\r\n", "not the header of a transfer"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "not the header of a transfer"),
        (b"XSOCK-FT\x01", "speaks version 1"),
        (b"XSOCK-FU", "not the header"),
        (header(b"", length=0), "a name of 0 bytes"),
        (header(b"x" * 5000, length=5000), "a name of 5000 bytes"),
        (header(b"", length=65535), "a name of 65535 bytes"),
        (header(b"a", 2**63), "impossible size"),
        (header(b"a", 2**63 - 1), "has only"),
        (b"X" + os.urandom(100_000), "not the header"),
    ],
    ids=["http", "tls", "version", "magic", "no name", "long", "huge", "size", "room", "flood"],
)
def test_headers_are_refused(tmp_path: Path, sent: bytes, reason: str) -> None:
    sent = sent if sent != b"XSOCK-FT\x01" else sent + bytes(11)
    with receive(tmp_path) as receiver, connect(receiver.port()) as sock:
        sock.sendall(sent)
        reply = receive_reply(sock)
        sock.close()
        assert receiver.end() == 1
    assert reply.status is Status.REFUSED
    assert reason in reply.text
    assert reason in receiver.trouble
    assert left_over(tmp_path) == ["in"]


def begin(sock: socket.socket, name: str, size: int) -> None:
    sock.sendall(Header(name, size).encode())
    assert receive_reply(sock).status is Status.GO_AHEAD


@pytest.mark.parametrize("sent", [0, 1, 70_000])
def test_too_little(tmp_path: Path, sent: int) -> None:
    with receive(tmp_path) as receiver, connect(receiver.port()) as sock:
        begin(sock, "f", 100_000)
        sock.sendall(bytes(sent))
        sock.shutdown(socket.SHUT_WR)
        reply = receive_reply(sock)
        sock.close()
        assert receiver.end() == 1
    assert (reply.status, reply.bytes_received) == (Status.REFUSED, sent)
    assert "incomplete" in reply.text
    assert f": {amount(sent)} of 100 kB of 'f' came in from 127.0.0.1:" in receiver.trouble
    assert left_over(tmp_path) == ["in"]


def test_too_much(tmp_path: Path) -> None:
    with receive(tmp_path) as receiver, connect(receiver.port()) as sock:
        begin(sock, "f", 10)
        sock.sendall(bytes(60))
        reply = receive_reply(sock)
        sock.close()
        assert receiver.end() == 1
    assert "longer than was announced" in reply.text
    assert "10 of 10 bytes of 'f' came in" in receiver.trouble
    assert left_over(tmp_path) == ["in"]


def test_wrong_checksum(tmp_path: Path) -> None:
    with receive(tmp_path) as receiver, connect(receiver.port()) as sock:
        begin(sock, "f", 4)
        sock.sendall(b"data" + Trailer(hashlib.sha256(b"Data").digest()).encode())
        reply = receive_reply(sock)
        sock.close()
        assert receiver.end() == 1
    assert reply.status is Status.REFUSED
    assert "the checksum is wrong" in reply.text
    assert "the checksum is wrong" in receiver.trouble
    assert left_over(tmp_path) == ["in"]


def test_no_trailer(tmp_path: Path) -> None:
    with receive(tmp_path) as receiver, connect(receiver.port()) as sock:
        begin(sock, "f", 4)
        sock.sendall(b"dataXEND")
        sock.shutdown(socket.SHUT_WR)
        assert "before their checksum" in receive_reply(sock).text
        assert receiver.end() == 1
    assert left_over(tmp_path) == ["in"]


@pytest.mark.parametrize("sent", [b"", b"XSOCK", header(b"f")[:-1], header(b"f") + b"da"])
def test_silence(tmp_path: Path, sent: bytes) -> None:
    with receive(tmp_path, "--timeout", 0.3) as receiver, connect(receiver.port()) as sock:
        sock.sendall(sent)
        while (reply := receive_reply(sock)).status is Status.GO_AHEAD:
            pass
        sock.close()
        assert receiver.end() == 1
    assert reply.text == "the sender was silent for 0.3 seconds"
    assert reply.text in receiver.trouble
    assert left_over(tmp_path) == ["in"]


def test_slow_header_is_not_waited_for(tmp_path: Path) -> None:
    """The time is for the whole header: a byte now and then does not extend it."""
    with receive(tmp_path, "--timeout", 0.5) as receiver, connect(receiver.port()) as sock:
        sock.settimeout(0.05)
        for byte in header(b"f" * 200):
            try:
                sock.sendall(bytes([byte]))
                if sock.recv(100):
                    break
            except TimeoutError:
                continue
        else:
            pytest.fail("the whole header was waited for")
        sock.close()
        assert receiver.end() == 1
    assert "silent for 0.5 seconds" in receiver.trouble


def test_left_within_the_header(tmp_path: Path) -> None:
    with receive(tmp_path) as receiver, connect(receiver.port()) as sock:
        sock.sendall(header(b"f")[:-1])
        sock.shutdown(socket.SHUT_WR)
        assert receive_reply(sock).text == "the sender left within the header"
        sock.close()
        assert receiver.end() == 1
    assert "the sender left within the header: 0 bytes came in from 127." in receiver.trouble


def test_reset(tmp_path: Path) -> None:
    with receive(tmp_path) as receiver, connect(receiver.port()) as sock:
        begin(sock, "f", 100_000)
        sock.sendall(b"x")
        receiver.out.until("^receiving 'f'")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
        assert receiver.end() == 1
    assert receiver.trouble.startswith("xsock: the sender is gone: ")
    assert left_over(tmp_path) == ["in"]


def test_probes_do_not_count(tmp_path: Path) -> None:
    with receive(tmp_path) as receiver:
        port = receiver.port()
        for _ in range(3):
            connect(port).close()
            receiver.err.until(r"127.0.0.1:\d+ connected and left without a word")
        with connect(port) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        with connect(port) as sock:
            begin(sock, "f", 4)
            sock.sendall(b"data" + Trailer(hashlib.sha256(b"data").digest()).encode())
            reply = receive_reply(sock)
            assert receiver.end() == 0
    assert (reply.status, reply.text, reply.bytes_received) == (Status.STORED, "f", 4)
    assert reply.digest == hashlib.sha256(b"data").digest()
    assert left_over(tmp_path) == ["in", "in/f"]


def test_keep_open_survives_them_all(tmp_path: Path) -> None:
    with receive(tmp_path, "--keep-open") as receiver:
        port = receiver.port()
        connect(port).close()
        receiver.err.until("without a word")
        silent = connect(port)
        for sent in (b"garbage", header(b"../evil"), header(b"f") + b"da"):
            with connect(port) as sock:
                sock.sendall(sent)
                sock.shutdown(socket.SHUT_WR)
                while sock.recv(1000):
                    pass
            receiver.err.until("bytes")
        with connect(port) as sock:
            begin(sock, "f", 0)
            sock.sendall(Trailer(hashlib.sha256().digest()).encode())
            assert receive_reply(sock).status is Status.STORED
        receiver.out.until("^received ")
        receiver.interrupt()
        assert receiver.end() == 130
        silent.close()
    assert left_over(tmp_path) == ["in", "in/f"]


def test_name_that_came_into_use_meanwhile(tmp_path: Path) -> None:
    with receive(tmp_path) as receiver, connect(receiver.port()) as sock:
        begin(sock, "f", 4)
        (tmp_path / "in" / "f").write_bytes(b"mine")
        sock.sendall(b"data" + Trailer(hashlib.sha256(b"data").digest()).encode())
        assert "exists already" in receive_reply(sock).text
        sock.close()
        assert receiver.end() == 1
    assert (tmp_path / "in" / "f").read_bytes() == b"mine"
    assert left_over(tmp_path) == ["in", "in/f"]


def test_full_disk(tmp_path: Path) -> None:
    """The reason reaches both ends, while the sender is still at it."""
    code = (
        "import errno, os, sys; from trio_xsock._cli import main; real = os.write\n"
        "def write(fd, data):\n"
        "    if fd > 2 and len(data) > 1 and os.lseek(fd, 0, os.SEEK_CUR) > 3_000_000:\n"
        "        raise OSError(errno.ENOSPC, 'No space left on device')\n"
        "    return real(fd, data)\n"
        "os.write = write; sys.exit(main())"
    )
    (tmp_path / "in").mkdir()
    (tmp_path / "f").write_bytes(bytes(50_000_000))
    with Program("receive", 0, tmp_path / "in", code=code) as receiver:
        with Program("send", tmp_path / "f", f"127.0.0.1:{receiver.port()}") as sender:
            assert (sender.end(), receiver.end()) == (1, 1)
    assert receiver.trouble.startswith("xsock: the receiver's disk is full: writing the file")
    assert sender.trouble.startswith("xsock: the receiver refused: the receiver's disk is full")
    assert left_over(tmp_path) == ["f", "in"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs the right to mount a small disk")
def test_disk_that_really_is_full(tmp_path: Path) -> None:
    """A small disk of its own, which somebody else fills while the file is under way."""
    code = (
        "import ctypes, subprocess, sys; from trio_xsock._cli import main\n"
        "new_mount_namespace = 0x20000\n"
        "if ctypes.CDLL(None, use_errno=True).unshare(new_mount_namespace):\n"
        "    sys.exit(99)\n"
        "disk = ['-t', 'tmpfs', '-o', 'size=8m', 'none', sys.argv[-1]]\n"
        "for arguments in (['--make-rprivate', '/'], disk):\n"
        "    if subprocess.run(['mount', *arguments]).returncode: sys.exit(99)\n"
        "sys.exit(main())"
    )
    (tmp_path / "in").mkdir()
    with Program("receive", 0, tmp_path / "in", code=code) as receiver:
        first = receiver.out.next()
        if first is None:
            assert receiver.end() == 99, receiver.err.seen
            pytest.skip("no small disk can be mounted here")
        disk = os.open(f"/proc/{receiver.process.pid}/root{tmp_path / 'in'}", os.O_RDONLY)
        try:
            with connect(int(first.split()[-1])) as sock:
                begin(sock, "f", 5_000_000)
                filler = os.open("filler", os.O_CREAT | os.O_WRONLY, dir_fd=disk)
                with open(filler, "wb", buffering=0) as file, pytest.raises(OSError, match="space"):
                    while True:
                        file.write(bytes(100_000))
                sock.sendall(bytes(5_000_000))
                reply = receive_reply(sock)
            assert receiver.end() == 1
            assert os.listdir(disk) == ["filler"]
        finally:
            os.close(disk)
    assert reply.status is Status.REFUSED
    assert reply.text.startswith("the receiver's disk is full: writing the file failed")
    assert "the receiver's disk is full" in receiver.trouble


def test_nothing_is_taken_from_beyond_the_trailer(tmp_path: Path) -> None:
    with receive(tmp_path) as receiver, connect(receiver.port()) as sock:
        begin(sock, "f", 4)
        trailer = Trailer(hashlib.sha256(b"data").digest()).encode()
        sock.sendall(b"data" + trailer + bytes(1000))
        assert receive_reply(sock).status is Status.STORED
        assert receive_exactly(sock, 1) == b""
        sock.close()
        assert receiver.end() == 0
    assert (tmp_path / "in" / "f").read_bytes() == b"data"


def test_slow_disk_is_not_silence(tmp_path: Path) -> None:
    """While it works the sender is told again and again to wait."""
    code = (
        "import sys, time; from trio_xsock._cli import _exchange, _incoming, main\n"
        "_exchange._REASSURE_EVERY = 0.02\n"
        "def sync(self): sys.stdin.read()\n"
        "_incoming.IncomingFile.sync = sync; sys.exit(main())"
    )
    (tmp_path / "in").mkdir()
    read, write = os.pipe()
    with (
        Program("receive", 0, tmp_path / "in", code=code, stdin=read) as receiver,
        connect(receiver.port()) as sock,
    ):
        os.close(read)
        begin(sock, "f", 4)
        sock.sendall(b"data" + Trailer(hashlib.sha256(b"data").digest()).encode())
        for _ in range(3):
            assert receive_reply(sock) == Reply(Status.BUSY, 4)
        assert left_over(tmp_path)[-1] != "in/f"
        os.close(write)
        while (reply := receive_reply(sock)).status is Status.BUSY:
            pass
        assert reply.status is Status.STORED
        sock.close()
        assert receiver.end() == 0


def test_sender_that_does_not_wait_for_the_confirmation(tmp_path: Path) -> None:
    """What came whole is kept, whether its sender learns of it or not."""
    code = (
        "import sys, time; from trio_xsock._cli import _exchange, _incoming, main\n"
        "_exchange._REASSURE_EVERY = 0.02\n"
        "def sync(self): sys.stdin.read()\n"
        "_incoming.IncomingFile.sync = sync; sys.exit(main())"
    )
    (tmp_path / "in").mkdir()
    read, write = os.pipe()
    with Program("receive", 0, tmp_path / "in", code=code, stdin=read) as receiver:
        os.close(read)
        with connect(receiver.port()) as sock:
            begin(sock, "f", 4)
            sock.sendall(b"data" + Trailer(hashlib.sha256(b"data").digest()).encode())
            assert receive_reply(sock).status is Status.BUSY
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        os.close(write)
        assert receiver.end() == 0
    assert left_over(tmp_path) == ["in", "in/f"]

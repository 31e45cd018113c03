"""Two processes move real files."""

from __future__ import annotations

import hashlib
import os
import re
import socket
from pathlib import Path

import pytest

from trio_xsock._cli._text import amount

from .support import Program, environment

PIECE = 2**20


def make(path: Path, size: int) -> str:
    data = os.urandom(size)
    path.write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, 5 * PIECE + 7])
def test_file_arrives(tmp_path: Path, size: int) -> None:
    digest = make(tmp_path / "some file.bin", size)
    (tmp_path / "in").mkdir()
    with Program("receive", 0, tmp_path / "in") as receiver:
        place = f"127.0.0.1:{receiver.port()}"
        with Program("send", tmp_path / "some file.bin", place) as sender:
            assert sender.end() == 0
            assert receiver.end() == 0
    (path,) = (tmp_path / "in").iterdir()
    assert path.name == "some file.bin"
    assert hashlib.sha256(path.read_bytes()).hexdigest() == digest
    assert sender.out.seen[-1].startswith(f"sent 'some file.bin': {amount(size)} in ")
    assert f"SHA-256 {digest} confirmed by the receiver" in sender.out.seen[-1]
    assert receiver.out.seen[1].startswith(f"receiving 'some file.bin', {amount(size)}, from 127.")
    assert receiver.out.seen[-1].startswith(f"received {path}: {amount(size)} in ")
    assert digest in receiver.out.seen[-1]
    assert sender.err.seen == receiver.err.seen == []


def test_json(tmp_path: Path) -> None:
    digest = make(tmp_path / "f\u00e9", 1000)
    (tmp_path / "in").mkdir()
    with Program("receive", "--json", "--bind", "127.0.0.1", 0, tmp_path / "in") as receiver:
        place = f"127.0.0.1:{receiver.port()}"
        with Program("send", "--json", tmp_path / "f\u00e9", place) as sender:
            assert sender.end() == 0
            assert receiver.end() == 0
    listening, started, received = receiver.facts()
    assert listening["event"] == "listening"
    assert listening["address"] == "127.0.0.1"
    assert started["event"] == "started"
    assert (started["name"], started["size"]) == ("f\u00e9", 1000)
    assert received["event"] == "received"
    assert (received["name"], received["bytes_received"]) == ("f\u00e9", 1000)
    (sent,) = sender.facts()
    assert sent["event"] == "sent"
    assert (sent["name"], sent["stored_as"], sent["bytes_sent"]) == ("f\u00e9", "f\u00e9", 1000)
    assert sent["sha256"] == received["sha256"] == digest
    assert sender.out.seen[0].isascii()
    assert sender.err.seen == receiver.err.seen == []


@pytest.mark.skipif(not ipv6(), reason="no IPv6 on the loopback interface")
def test_ipv6(tmp_path: Path) -> None:
    make(tmp_path / "f", 10)
    (tmp_path / "in").mkdir()
    with Program("receive", 0, tmp_path / "in") as receiver:
        with Program("send", tmp_path / "f", f"[::1]:{receiver.port()}") as sender:
            assert (sender.end(), receiver.end()) == (0, 0)
    assert "from [::1]:" in receiver.out.seen[1]


@pytest.mark.skipif(not Path("/sys/class/net/lo").exists(), reason="needs Linux's /sys")
def test_a_file_without_a_size_of_its_own(tmp_path: Path) -> None:
    """Also a pipe: what the receiver confirms is what there was to read."""
    read, write = os.pipe()
    os.write(write, b"through a pipe")
    os.close(write)
    with Program("receive", "--keep-open", 0, tmp_path) as receiver:
        place = f"127.0.0.1:{receiver.port()}"
        for name, path in (("a", "/sys/class/net/lo/address"), ("b", "/dev/stdin")):
            with Program("send", "--name", name, path, place, stdin=read) as sender:
                assert sender.end() == 0
    os.close(read)
    assert (tmp_path / "a").read_bytes() == Path("/sys/class/net/lo/address").read_bytes()
    assert (tmp_path / "b").read_bytes() == b"through a pipe"


def test_names_beyond_the_locale(tmp_path: Path) -> None:
    """Both ends move them as UTF-8, whatever the locale."""
    plain = environment(LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    name = "\u65e5\u672c.txt"
    (tmp_path / name).write_bytes(b"data")
    (tmp_path / "in").mkdir()
    with Program("receive", 0, tmp_path / "in", env=plain) as receiver:
        place = f"127.0.0.1:{receiver.port()}"
        with Program("send", tmp_path / name, place, env=plain) as sender:
            assert (sender.end(), receiver.end()) == (0, 0)
    assert (tmp_path / "in" / name).read_bytes() == b"data"


@pytest.mark.parametrize("ignore", [False, True])
def test_a_disk_without_room_for_us(tmp_path: Path, ignore: bool) -> None:
    """As a quota of somebody else may show it; there is a way around."""
    code = (
        "import os, shutil, sys, types; from trio_xsock._cli import main\n"
        "disk = types.SimpleNamespace(f_blocks=1000, f_bavail=0, f_frsize=4096, total=9, free=0)\n"
        "os.fstatvfs = shutil.disk_usage = lambda folder: disk\n"
        "sys.exit(main())"
    )
    make(tmp_path / "f", 10)
    (tmp_path / "in").mkdir()
    options = ["--ignore-free-space"] if ignore else []
    with Program("receive", *options, 0, tmp_path / "in", code=code) as receiver:
        place = f"127.0.0.1:{receiver.port()}"
        with Program("send", tmp_path / "f", place) as sender:
            assert sender.end() == (0 if ignore else 1)
    if not ignore:
        assert "only 0 bytes left" in sender.trouble
    assert [path.name for path in (tmp_path / "in").iterdir()] == ["f"] * ignore


def test_default_folder_is_here(tmp_path: Path) -> None:
    make(tmp_path / "f", 10)
    (tmp_path / "in").mkdir()
    with Program("receive", 0, cwd=tmp_path / "in") as receiver:
        place = f"127.0.0.1:{receiver.port()}"
        with Program("send", "f", place, "--name", "g", cwd=tmp_path) as sender:
            assert (sender.end(), receiver.end()) == (0, 0)
    assert [path.name for path in (tmp_path / "in").iterdir()] == ["g"]


@pytest.mark.parametrize("option", [None, "--overwrite", "--rename"])
def test_existing_name(tmp_path: Path, option: str | None) -> None:
    make(tmp_path / "f.txt", 3 * PIECE)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "f.txt").write_bytes(b"old")
    options = [] if option is None else [option]
    with Program("receive", *options, 0, tmp_path / "in") as receiver:
        with Program("send", tmp_path / "f.txt", f"127.0.0.1:{receiver.port()}") as sender:
            codes = (sender.end(), receiver.end())
    found = {path.name: path.stat().st_size for path in (tmp_path / "in").iterdir()}
    if option is None:
        assert codes == (1, 1)
        assert found == {"f.txt": 3}
        assert sender.trouble == (
            "xsock: the receiver refused: 'f.txt' exists already (the receiver takes it all the "
            "same with --rename, under another name, or with --overwrite): "
            "0 bytes of 3.1 MB of 'f.txt' went out"
        )
        assert receiver.trouble.startswith("xsock: 'f.txt' exists already (")
        assert ": 0 bytes came in from" in receiver.trouble
    elif option == "--overwrite":
        assert codes == (0, 0)
        assert found == {"f.txt": 3 * PIECE}
    else:
        assert codes == (0, 0)
        assert found == {"f.txt": 3, "f (1).txt": 3 * PIECE}
        assert sender.out.seen[-1].endswith(", stored as 'f (1).txt'")


def test_too_large(tmp_path: Path) -> None:
    make(tmp_path / "f", 1025)
    (tmp_path / "in").mkdir()
    with Program("receive", "--max-size", "1K", 0, tmp_path / "in") as receiver:
        with Program("send", tmp_path / "f", f"127.0.0.1:{receiver.port()}") as sender:
            assert (sender.end(), receiver.end()) == (1, 1)
    assert "the file has 1025 bytes, at most 1024 are taken" in receiver.trouble
    assert "the file has 1025 bytes, at most 1024 are taken" in sender.trouble
    assert list((tmp_path / "in").iterdir()) == []


def test_keep_open_takes_many(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with Program("receive", "--keep-open", 0, tmp_path / "in") as receiver:
        place = f"127.0.0.1:{receiver.port()}"
        digests = {f"f{n}": make(tmp_path / f"f{n}", n * PIECE // 2) for n in range(4)}
        senders = [Program("send", tmp_path / name, place) for name in digests]
        assert [sender.end() for sender in senders] == [0, 0, 0, 0]
        with Program("send", tmp_path / "f1", place) as again:
            assert again.end() == 1
        for _ in range(len(digests)):
            receiver.out.until("^received ")
        receiver.err.until("'f1' exists already")
        receiver.interrupt()
        assert receiver.end() == 130
    assert receiver.trouble == "xsock: interrupted: no transfer was under way"
    received = {path.name: path.read_bytes() for path in (tmp_path / "in").iterdir()}
    assert {name: hashlib.sha256(data).hexdigest() for name, data in received.items()} == digests


def test_second_sender_is_turned_away(tmp_path: Path) -> None:
    make(tmp_path / "f", 10)
    with Program("receive", 0, tmp_path) as receiver:
        place = f"127.0.0.1:{receiver.port()}"
        with Program("send", tmp_path / "f", place, "--name", "g") as sender:
            assert (sender.end(), receiver.end()) == (0, 0)
        with Program("send", tmp_path / "f", place, "--name", "h") as late:
            assert late.end() == 1
    assert "0 of 10 bytes of 'f' went out" not in late.trouble
    assert late.trouble.endswith("0 of 10 bytes of 'h' went out")


def test_port_in_use(tmp_path: Path) -> None:
    with Program("receive", 0, tmp_path) as receiver:
        with Program("receive", receiver.port(), tmp_path) as second:
            assert second.end() == 1
    assert "in use" in second.trouble


def test_unknown_host(tmp_path: Path) -> None:
    make(tmp_path / "f", 10)
    with Program("send", tmp_path / "f", "no-such-host.invalid:7000") as sender:
        assert sender.end() == 1
    assert "no-such-host.invalid" in sender.trouble
    assert sender.trouble.endswith("0 of 10 bytes of 'f' went out")


def test_plain_progress_without_a_terminal(tmp_path: Path) -> None:
    """A slow transfer writes a line now and then, with rate and time left."""
    code = (
        "import sys, trio_xsock._cli._progress as p; p._LINE_EVERY = 0.0;"
        "from trio_xsock._cli import main; sys.exit(main())"
    )
    make(tmp_path / "f", 8 * PIECE)
    (tmp_path / "in").mkdir()
    with Program("receive", 0, tmp_path / "in", code=code) as receiver:
        place = f"127.0.0.1:{receiver.port()}"
        with Program("send", tmp_path / "f", place, code=code) as sender:
            assert (sender.end(), receiver.end()) == (0, 0)
    pattern = r"^'f': \d+ %, [\d.]+ \w+ of 8.4 MB, [\d.]+ \w+/s, \d+ s left$"
    assert any(re.match(pattern, line) for line in sender.err.seen)
    assert any(re.match(pattern, line) for line in receiver.err.seen)

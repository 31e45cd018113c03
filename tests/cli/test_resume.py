"""``xsock send`` of several files, and what ``receive --resume`` makes of one that broke off."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import random
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from trio_xsock._cli._errors import RefusedError
from trio_xsock._cli._files import Folder, IfExists
from trio_xsock._cli._partial import BusyError, find_whole, open_partial, partial_name
from trio_xsock._cli._transfer import END, Header, Reply, Resume, Status, Trailer

from .support import Program, connect, environment, receive_exactly, receive_reply

LONG = "n" * 251 + ".txt"
GIGABYTE = 10**9
BIG = GIGABYTE if os.environ.get("XSOCK_TEST_GIGABYTE") else 64_000_000
SMALL_FILES = 1_000 if BIG == GIGABYTE else 150
IN_FLIGHT = 32_000_000
"""More than the system's buffers between two programs hold."""
INTERRUPTIONS = 10
PIECES = 1_000 if BIG == GIGABYTE else 80
SECONDS = 900 if BIG == GIGABYTE else 240


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tree(folder: Path) -> dict[str, str]:
    """What is below a folder: the checksum of each file, and the folders."""
    return {
        str(path.relative_to(folder)): "folder" if path.is_dir() else sha256(path)
        for path in folder.rglob("*")
    }


def receiver(folder: Path, *options: object, **others: Any) -> Program:
    return Program("receive", "--json", "--bind", "127.0.0.1", *options, 0, folder, **others)


def sender(port: int, *words: object, **options: Any) -> Program:
    return Program("send", "--json", *words, f"127.0.0.1:{port}", **options)


def make_tree(folder: Path) -> None:
    """Many small files, one that is large and mostly a hole, and names that are long."""
    for number in range(SMALL_FILES):
        inner = folder / f"part {number % 10}"
        inner.mkdir(parents=True, exist_ok=True)
        (inner / f"{number}.txt").write_bytes(b"%d\n" % number * (number % 50))
    (folder / "empty" / "inside").mkdir(parents=True)
    (folder / "part 0" / LONG).write_bytes(b"a long name")
    with (folder / "part 0" / "big").open("wb") as file:
        for at in range(0, BIG, BIG // 16):
            file.seek(at)
            file.write(os.urandom(100))
        file.truncate(BIG)


# The receiver, or the sender, gets a signal when so many pieces were written.
CODE = """\
import os, sys, time
from trio_xsock._cli import _incoming, _incoming_file, main

left, number = int(os.environ["PIECES"]), int(os.environ["SIGNAL"])
_incoming.PIECE = 65536
write = _incoming_file.IncomingFile.write

def write_and_signal(self, data):
    global left
    write(self, data)
    left -= 1
    if not left:
        ours = os.environ["WHO"] == "receiver"
        os.kill(os.getpid() if ours else int(sys.stdin.readline()), number)
        time.sleep(0.2)

_incoming_file.IncomingFile.write = write_and_signal
sys.exit(main())
"""


@pytest.mark.slow
@pytest.mark.timeout(SECONDS)
def test_ten_interruptions_and_the_same_tree(tmp_path: Path) -> None:
    """Either end is interrupted or killed; what has come is never sent again.

    With ``XSOCK_TEST_GIGABYTE`` in the environment the large file has a gigabyte, and the small
    ones are a thousand.
    """
    chance = random.Random(17)
    make_tree(tmp_path / "tree")
    (tmp_path / "in").mkdir()
    ends: dict[str, tuple[int, bool]] = {}  # where a file broke off, and whether nothing was lost
    for _ in range(INTERRUPTIONS):
        number = chance.choice([signal.SIGINT, signal.SIGKILL])
        who = chance.choice(["sender", "receiver"])
        facts, codes = run_once(tmp_path, chance.randrange(1, PIECES), number, who)
        assert codes[0 if who == "sender" else 1] == (130 if number == signal.SIGINT else -9)
        check_positions(facts, ends, exact=who == "sender" and number == signal.SIGINT)
    facts, codes = run_once(tmp_path, 0, 0, "nobody")
    assert codes == (0, 0)
    check_positions(facts, ends, exact=True)
    assert any(facts for facts in ends if facts.endswith("/big"))
    assert tree(tmp_path / "in" / "tree") == tree(tmp_path / "tree")
    assert [path.name for path in (tmp_path / "in").iterdir()] == ["tree"]


def run_once(
    tmp_path: Path, pieces: int, number: int, who: str
) -> tuple[list[dict[str, Any]], tuple[int, int]]:
    """Send the tree; what the sender said, and the exit codes of both."""
    variables = environment(PIECES=str(pieces), SIGNAL=str(int(number)), WHO=who)
    with receiver(
        tmp_path / "in", "--resume", code=CODE, env=variables, stdin=subprocess.PIPE
    ) as theirs:
        assert theirs.process.stdin is not None
        with theirs.process.stdin as stdin:
            with sender(theirs.port(), tmp_path / "tree") as ours:
                stdin.write(b"%d\n" % ours.process.pid)
                stdin.flush()
                codes = ours.end(SECONDS), theirs.end(SECONDS)
                return ours.facts(), codes


def check_positions(
    facts: list[dict[str, Any]], ends: dict[str, tuple[int, bool]], exact: bool
) -> None:
    """No byte went out twice but those that were under way when it broke off."""
    for fact in facts:
        done = fact["event"] == "sent"
        if not done and "file_resumed_at" not in fact:
            continue
        start = fact["resumed_at" if done else "file_resumed_at"]
        before, nothing_lost = ends.get(fact["name"], (0, True))
        twice = before - start
        assert twice <= (0 if nothing_lost else IN_FLIGHT), fact
        end = start + fact["bytes_sent" if done else "file_bytes_sent"]
        ends[fact["name"]] = end, exact or done


# One file


def test_a_file_goes_on_where_it_broke_off(tmp_path: Path) -> None:
    """The receiver offers what it has; the sender compares and sends the rest."""
    data = os.urandom(300_000)
    (tmp_path / "f").write_bytes(data)
    (tmp_path / partial_name("g")).write_bytes(data[:200_000])
    with receiver(tmp_path, "--resume") as theirs:
        with sender(theirs.port(), tmp_path / "f", "--name", "g") as ours:
            assert (ours.end(), theirs.end()) == (0, 0)
    assert (tmp_path / "g").read_bytes() == data
    assert not (tmp_path / partial_name("g")).exists()
    sent, (_, started, received) = ours.facts()[-1], theirs.facts()
    assert (sent["resumed_at"], sent["bytes_sent"], sent["size"]) == (200_000, 100_000, 300_000)
    assert (started["resumed_at"], received["bytes_received"]) == (200_000, 100_000)


@pytest.mark.parametrize("kind", ["other bytes", "too long"])
def test_what_is_something_else_is_sent_from_the_beginning(tmp_path: Path, kind: str) -> None:
    data = os.urandom(300_000)
    (tmp_path / "f").write_bytes(data)
    there = bytes(200_000) if kind == "other bytes" else data + b"more"
    (tmp_path / partial_name("g")).write_bytes(there)
    with receiver(tmp_path, "--resume") as theirs:
        with sender(theirs.port(), tmp_path / "f", "--name", "g") as ours:
            assert (ours.end(), theirs.end()) == (0, 0)
    assert (tmp_path / "g").read_bytes() == data
    assert (ours.facts()[-1]["resumed_at"], ours.facts()[-1]["bytes_sent"]) == (0, 300_000)


@pytest.mark.parametrize("size", [0, 1000])
def test_what_is_complete_is_not_sent_again(tmp_path: Path, size: int) -> None:
    (tmp_path / "f").write_bytes(bytes(size))
    (tmp_path / "g").write_bytes(bytes(size))
    before = (tmp_path / "g").stat()
    with receiver(tmp_path, "--resume") as theirs:
        with sender(theirs.port(), tmp_path / "f", "--name", "g") as ours:
            assert (ours.end(), theirs.end()) == (0, 0)
    assert ours.facts()[-1]["bytes_sent"] == 0
    assert (tmp_path / "g").stat() == before or (tmp_path / "g").stat().st_ino == before.st_ino


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_file_of_that_name_with_other_content(tmp_path: Path, overwrite: bool) -> None:
    """It is compared, and then treated as any name that is in use."""
    (tmp_path / "f").write_bytes(b"new")
    (tmp_path / "g").write_bytes(b"old")
    options = ["--overwrite"] if overwrite else []
    with receiver(tmp_path, "--resume", *options) as theirs:
        with sender(theirs.port(), tmp_path / "f", "--name", "g") as ours:
            assert (ours.end(), theirs.end()) == ((0, 0) if overwrite else (1, 1))
    assert (tmp_path / "g").read_bytes() == (b"new" if overwrite else b"old")
    if not overwrite:
        assert "'g' exists already" in ours.facts()[-1]["message"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f", "g"]


def test_without_resume_nothing_is_kept(tmp_path: Path) -> None:
    with receiver(tmp_path) as theirs, connect(theirs.port()) as sock:
        sock.sendall(Header("f", 10).encode())
        assert receive_reply(sock).status is Status.GO_AHEAD
        sock.sendall(b"half")
        sock.shutdown(socket.SHUT_WR)
        assert receive_reply(sock).status is Status.REFUSED
        sock.close()
        assert theirs.end() == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (Resume(True, 3).encode(), "goes on at 3, which was not offered"),
        (b"XEND" + bytes(32), "the offer to go on is not answered"),
        (b"", "ended early"),
    ],
)
def test_offers_that_are_answered_with_nonsense(tmp_path: Path, answer: bytes, says: str) -> None:
    """What was there stays."""
    partial = tmp_path / partial_name("f")
    partial.write_bytes(b"half")
    with receiver(tmp_path, "--resume") as theirs, connect(theirs.port()) as sock:
        sock.sendall(Header("f", 8).encode())
        offer = receive_reply(sock)
        assert (offer.status, offer.bytes_received) == (Status.OFFER, 4)
        assert offer.digest == hashlib.sha256(b"half").digest()
        sock.sendall(answer)
        sock.shutdown(socket.SHUT_WR)
        assert receive_reply(sock).status is Status.REFUSED
        sock.close()
        assert theirs.end() == 1
    assert says in theirs.facts()[-1]["message"]
    assert partial.read_bytes() == b"half"


def test_a_wrong_checksum_at_the_end_is_not_kept(tmp_path: Path) -> None:
    (tmp_path / partial_name("f")).write_bytes(b"half")
    with receiver(tmp_path, "--resume") as theirs, connect(theirs.port()) as sock:
        sock.sendall(Header("f", 8).encode())
        assert receive_reply(sock).status is Status.OFFER
        sock.sendall(Resume(False).encode() + Resume(True, 4).encode())
        assert receive_reply(sock).status is Status.GO_AHEAD
        sock.sendall(b"half" + Trailer(bytes(32)).encode())
        assert "the checksum is wrong" in receive_reply(sock).text
        sock.close()
        assert theirs.end() == 1
    assert list(tmp_path.iterdir()) == []


# Several


def test_several_files_and_standard_input(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "a").write_bytes(b"one")
    (tmp_path / "folder" / "inner").mkdir(parents=True)
    (tmp_path / "folder" / "inner" / "b").write_bytes(b"two")
    (tmp_path / "folder" / "empty").mkdir()
    read, write = os.pipe()
    os.write(write, b"three")
    os.close(write)
    words = tmp_path / "a", f"{tmp_path}/folder/", "-", "--name", "c"
    with receiver(tmp_path / "in") as theirs:
        with sender(theirs.port(), *words, stdin=read) as ours:
            os.close(read)
            assert (ours.end(), theirs.end()) == (0, 0)
    assert {str(path.relative_to(tmp_path / "in")) for path in (tmp_path / "in").rglob("*")} == {
        *("a", "c", "folder", "folder/empty", "folder/inner", "folder/inner/b")
    }
    assert (tmp_path / "in" / "c").read_bytes() == b"three"
    done = ours.facts()[-1]
    assert (done["event"], done["files"], done["failed"], done["bytes_sent"]) == ("done", 3, 0, 11)
    assert theirs.facts()[-1]["files"] == 3


def test_what_cannot_be_sent_is_left_out_and_said(tmp_path: Path) -> None:
    """The others are sent; the exit code tells."""
    (tmp_path / "in" / "t").mkdir(parents=True)
    (tmp_path / "in" / "t" / "taken").write_bytes(b"old")
    (tmp_path / "t").mkdir()
    for name in ("taken", "good", ".hidden", "a?"):
        (tmp_path / "t" / name).write_bytes(b"new")
    (tmp_path / "t" / "link").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "t" / "pipe")
    with receiver(tmp_path / "in") as theirs:
        with sender(theirs.port(), tmp_path / "t") as ours:
            assert (ours.end(), theirs.end()) == (1, 1)
    said = {Path(fact.get("path") or fact.get("name") or "").name: fact for fact in ours.facts()}
    assert "hidden files" in said[".hidden"]["message"]
    assert "symbolic link" in said["link"]["message"]
    assert "neither a file" in said["pipe"]["message"]
    assert "no ? in a name" in said["a?"]["message"]
    assert "'taken' exists already" in said["taken"]["message"]
    assert said["good"]["event"] == "sent"
    assert sorted(os.listdir(tmp_path / "in" / "t")) == ["good", "taken"]
    assert (tmp_path / "in" / "t" / "taken").read_bytes() == b"old"


def test_several_end_with_a_word(tmp_path: Path) -> None:
    """A sender that leaves between two files has not sent them all."""
    for end in (b"", END):
        with receiver(tmp_path, "--overwrite") as theirs, connect(theirs.port()) as sock:
            sock.sendall(Header("d/f", 2, more=True).encode())
            assert receive_reply(sock) == Reply(Status.GO_AHEAD)
            sock.sendall(b"hi" + Trailer(hashlib.sha256(b"hi").digest()).encode())
            assert receive_reply(sock).text == "d/f"
            sock.sendall(Header("d/.f", 2, more=True).encode())
            assert receive_reply(sock).status is Status.DECLINED
            sock.sendall(Header("d/e", 0, more=True, folder=True).encode())
            assert receive_reply(sock).status is Status.STORED
            sock.sendall(end)
            sock.shutdown(socket.SHUT_WR)
            if not end:
                assert "before it had sent all files" in receive_reply(sock).text
            assert receive_exactly(sock, 1) == b""
            sock.close()
            assert theirs.end() == 1
    assert (tmp_path / "d" / "f").read_bytes() == b"hi"
    assert (tmp_path / "d" / "e").is_dir()


@pytest.mark.parametrize("inside", ["link", "file"])
def test_no_link_is_followed_below_the_folder(tmp_path: Path, inside: str) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "in").mkdir()
    if inside == "link":
        (tmp_path / "in" / "d").symlink_to(tmp_path / "outside")
    else:
        (tmp_path / "in" / "d").write_bytes(b"")
    with receiver(tmp_path / "in") as theirs, connect(theirs.port()) as sock:
        sock.sendall(Header("d/f", 2).encode())
        reply = receive_reply(sock)
        assert (reply.status, reply.text) == (
            Status.REFUSED,
            "'d' exists already and is not a folder",
        )
        sock.close()
        assert theirs.end() == 1
    assert list((tmp_path / "outside").iterdir()) == []


# What is there, without a network


def test_a_partial_file_is_locked_while_it_grows(tmp_path: Path) -> None:
    with Folder(str(tmp_path), resume=True) as folder:
        one = open_partial(folder, "f", 10)
        one.write(b"some")
        with pytest.raises(BusyError, match="'f' is being received by another transfer"):
            open_partial(folder, "f", 10)
        one.let_go()
        two = open_partial(folder, "f", 10)
        assert two.there == 4
        assert two.read_back() is False
        two.write(b" more")
        assert two.publish("f") == "f"
        two.let_go()
    assert [path.name for path in tmp_path.iterdir()] == ["f"]
    assert (tmp_path / "f").read_bytes() == b"some more"


def test_nothing_came_and_nothing_is_kept(tmp_path: Path) -> None:
    with Folder(str(tmp_path), resume=True) as folder:
        open_partial(folder, "f", 10).let_go()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["link", "hard link", "fifo"])
def test_what_is_no_partial_file_is_not_written_to(tmp_path: Path, kind: str) -> None:
    """As after a kill between two steps: the file has its name and the temporary one."""
    (tmp_path / "f").write_bytes(b"done")
    temporary = tmp_path / partial_name("f")
    if kind == "link":
        temporary.symlink_to(tmp_path / "f")
    elif kind == "hard link":
        os.link(tmp_path / "f", temporary)
    else:
        os.mkfifo(temporary)
    with Folder(str(tmp_path), IfExists.OVERWRITE, resume=True) as folder:
        file = open_partial(folder, "f", 10)
        file.write(b"new")
        assert (tmp_path / "f").read_bytes() == b"done"
        file.publish("f")
        file.let_go()
    assert (tmp_path / "f").read_bytes() == b"new"


def test_a_folder_where_the_partial_file_should_be(tmp_path: Path) -> None:
    (tmp_path / partial_name("f")).mkdir()
    with Folder(str(tmp_path), resume=True) as folder:
        with pytest.raises(RefusedError, match="opening the file failed"):
            open_partial(folder, "f", 10)


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(fd: int, how: int) -> None:
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(fcntl, "flock", flock)
    with Folder(str(tmp_path), resume=True) as folder:
        open_partial(folder, "f", 10).discard()
    assert list(tmp_path.iterdir()) == []


def test_only_a_whole_file_of_that_size_is_offered(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"four")
    (tmp_path / "link").symlink_to("f")
    os.mkfifo(tmp_path / "pipe")
    with Folder(str(tmp_path), resume=True) as folder:
        for name, size in (("f", 3), ("link", 4), ("pipe", 0), ("missing", 0)):
            assert find_whole(folder, name, size) is None
        whole = find_whole(folder, "f", 4)
        assert whole is not None
        while whole.read_back():
            pass
        assert whole.digest() == hashlib.sha256(b"four").digest()
        whole.close()
        whole.close()

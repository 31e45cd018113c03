"""Ctrl-C and SIGKILL on either side: exact counts, and nothing that looks finished."""

from __future__ import annotations

import random
import signal
import socket
from pathlib import Path

import pytest
import trio

from trio_xsock._cli._interrupt import until_interrupted
from trio_xsock._cli._transfer import Header, Reply, Status
from trio_xsock._platform.system import ending_signals

from .support import Program, connect, raw_receiver, receive_exactly, receive_header, receive_reply

BIG = 400_000_000


@pytest.fixture
def big_file(tmp_path: Path) -> Path:
    path = tmp_path / "big"
    with path.open("wb") as file:
        file.truncate(BIG)
    (tmp_path / "in").mkdir()
    return path


@pytest.mark.parametrize("pause_after", [1, 700_001, 10_000_000])
def test_interrupted_sender_knows_what_went_out(big_file: Path, pause_after: int) -> None:
    """Its last line is exactly what a peer receives that reads on to the end."""
    received: list[int] = []

    def answer(sock: socket.socket) -> None:
        receive_header(sock)
        sock.sendall(Reply(Status.GO_AHEAD).encode())
        count = len(receive_exactly(sock, pause_after))
        sender.interrupt()
        assert sender.end() == 130
        while piece := sock.recv(1 << 20):
            count += len(piece)
        received.append(count)

    sender: Program
    with raw_receiver(answer) as place, Program("send", "--json", big_file, place) as sender:
        sender.process.wait(15)
    assert pause_after <= received[0] < BIG
    last = sender.facts()[-1]
    assert (last["event"], last["message"], last["name"]) == ("interrupted", "interrupted", "big")
    assert (last["bytes_sent"], last["size"]) == (received[0], BIG)


def test_both_ends_agree_after_ctrl_c(tmp_path: Path, big_file: Path) -> None:
    with Program("receive", "--json", 0, tmp_path / "in") as receiver:
        place = f"127.0.0.1:{receiver.port()}"
        with Program("send", "--json", big_file, place) as sender:
            receiver.out.until('"started"')
            sender.interrupt()
            assert sender.end() == 130
        assert receiver.end() == 1
    interrupted, failed = sender.facts()[-1], receiver.facts()[-1]
    assert interrupted["event"] == "interrupted"
    assert failed["event"] == "failed"
    assert interrupted["bytes_sent"] == failed["bytes_received"] < BIG
    assert interrupted["size"] == failed["size"] == BIG
    assert list((tmp_path / "in").iterdir()) == []


def test_interrupted_receiver(tmp_path: Path, big_file: Path) -> None:
    with Program("receive", 0, tmp_path / "in") as receiver:
        place = f"127.0.0.1:{receiver.port()}"
        with Program("send", big_file, place) as sender:
            receiver.out.until("^receiving 'big'")
            receiver.interrupt()
            assert receiver.end() == 130
            assert sender.end() == 1
    assert receiver.trouble.startswith("xsock: interrupted: ")
    assert " of 400 MB of 'big' came in from 127.0.0.1:" in receiver.trouble
    assert "the receiver refused: the receiver was interrupted: " in sender.trouble
    assert sender.trouble.endswith(" of 400 MB of 'big' went out")
    assert list((tmp_path / "in").iterdir()) == []


def test_interrupted_receiver_counts_what_it_has(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with Program("receive", "--json", 0, tmp_path / "in") as receiver:
        with connect(receiver.port()) as sock:
            sock.sendall(Header("f", 100_000).encode())
            assert receive_reply(sock).status is Status.GO_AHEAD
            sock.sendall(bytes(50_000))
            receiver.interrupt()
            reply = receive_reply(sock)
            sock.close()
            assert receiver.end() == 130
    interrupted = receiver.facts()[-1]
    assert interrupted["event"] == "interrupted"
    assert interrupted["bytes_received"] == reply.bytes_received <= 50_000
    assert (reply.status, reply.text) == (Status.REFUSED, "the receiver was interrupted")
    assert list((tmp_path / "in").iterdir()) == []


@pytest.mark.parametrize("number", ending_signals())
def test_waiting_receiver_is_interrupted(tmp_path: Path, number: signal.Signals) -> None:
    with Program("receive", 0, tmp_path) as receiver:
        receiver.port()
        receiver.process.send_signal(number)
        assert receiver.end() == 130
    assert receiver.trouble == "xsock: interrupted: no transfer was under way"


def test_interrupted_while_connecting_or_waiting_for_an_answer(big_file: Path) -> None:
    def answer(sock: socket.socket) -> None:
        receive_header(sock)
        sender.interrupt()
        assert sender.end() == 130
        assert sock.recv(1) == b""

    sender: Program
    with raw_receiver(answer) as place, Program("send", big_file, place) as sender:
        sender.process.wait(15)
    assert sender.trouble == "xsock: interrupted: 0 bytes of 400 MB of 'big' went out"


def test_keep_open_names_each_unfinished_transfer(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with Program("receive", "--keep-open", 0, tmp_path / "in") as receiver:
        port = receiver.port()
        socks = [connect(port) for _ in range(3)]
        for number, sock in enumerate(socks):
            sock.sendall(Header(f"f{number}", 10).encode())
            assert receive_reply(sock).status is Status.GO_AHEAD
        receiver.interrupt()
        for sock in socks:
            assert receive_reply(sock).status is Status.REFUSED
            sock.close()
        assert receiver.end() == 130
    assert sorted(line.split(" came in")[0] for line in receiver.err.seen) == [
        f"xsock: interrupted: 0 of 10 bytes of 'f{number}'" for number in range(3)
    ]
    assert list((tmp_path / "in").iterdir()) == []


@pytest.mark.parametrize("seed", range(10))
def test_killed_sender(tmp_path: Path, big_file: Path, seed: int) -> None:
    """At a random point: the receiver fails and leaves no file."""
    wanted = random.Random(seed).randrange(BIG // 4)
    with Program("receive", "--json", 0, tmp_path / "in") as receiver:
        place = f"127.0.0.1:{receiver.port()}"
        with Program("send", big_file, place) as sender:
            receiver.out.until('"started"')
            while receiver.process.poll() is None:
                sizes = [path.stat().st_size for path in (tmp_path / "in").iterdir()]
                if not sizes or sizes[0] >= wanted:
                    break
            sender.process.kill()
            assert receiver.end() == 1
    failed = receiver.facts()[-1]
    assert failed["event"] == "failed"
    assert failed["bytes_received"] < BIG
    assert list((tmp_path / "in").iterdir()) == []


def test_killed_receiver_leaves_nothing_that_looks_finished(tmp_path: Path, big_file: Path) -> None:
    with Program("receive", 0, tmp_path / "in") as receiver:
        place = f"127.0.0.1:{receiver.port()}"
        with Program("send", big_file, place) as sender:
            receiver.out.until("^receiving 'big'")
            receiver.process.kill()
            assert sender.end() == 1
    assert sender.trouble.endswith("of 400 MB of 'big' went out")
    (left,) = (tmp_path / "in").iterdir()
    assert left.name.startswith(".xsock-")
    assert left.name.endswith(".part")
    left.unlink()


def test_ignored_signals_stay_ignored(tmp_path: Path) -> None:
    """As after ``nohup``."""
    code = (
        "import signal, sys; from trio_xsock._cli import main;"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN); sys.exit(main())"
    )
    with Program("receive", 0, tmp_path, code=code) as receiver:
        receiver.port()
        receiver.process.send_signal(signal.SIGHUP)
        receiver.interrupt()
        assert receiver.end() == 130


async def test_a_signal_cancels_the_work() -> None:
    before = signal.getsignal(signal.SIGTERM)

    async def work() -> int:
        signal.raise_signal(signal.SIGTERM)
        await trio.sleep_forever()

    assert await until_interrupted(work) is None
    assert signal.getsignal(signal.SIGTERM) is before


async def test_what_was_done_when_the_signal_came_counts() -> None:
    async def work() -> int:
        await trio.lowlevel.checkpoint()
        signal.raise_signal(signal.SIGTERM)
        return 1

    assert await until_interrupted(work) == 1


async def test_failing_work_comes_out_as_it_is() -> None:
    exc = ValueError("x")

    async def work() -> int:
        await trio.lowlevel.checkpoint()
        raise exc

    with pytest.raises(ValueError) as caught:
        await until_interrupted(work)
    assert caught.value is exc

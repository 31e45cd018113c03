"""How long a silent peer is waited for, and what is not its silence."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest
import trio
import trio.testing

from tests.support.pairs import linked
from trio_xsock import TCPSocket
from trio_xsock._cli._errors import PeerSilentError
from trio_xsock._cli._files import Folder, IncomingFile
from trio_xsock._cli._incoming import Incoming
from trio_xsock._cli._outgoing import Outgoing
from trio_xsock._cli._patience import Patience
from trio_xsock._cli._source import Source
from trio_xsock.testing import socket_pair


async def test_signs_of_life_renew_it(autojump_clock: trio.testing.MockClock) -> None:
    """The limit is on the silence, not on the work."""
    patience = Patience(2, "the peer")

    async def work() -> None:
        for _ in range(5):
            await trio.sleep(1.5)
            patience.renew()
        await trio.sleep_forever()

    with pytest.raises(PeerSilentError, match="the peer was silent for 2 seconds"):
        await patience.during(work)
    assert trio.current_time() == pytest.approx(9.5)


async def test_exceptions_pass() -> None:
    """As the same object."""
    exc = ValueError("x")

    async def work() -> None:
        await trio.lowlevel.checkpoint()
        raise exc

    with pytest.raises(ValueError) as caught:
        await Patience(2, "the peer").during(work)
    assert caught.value is exc


async def test_it_is_not_the_callers_deadline(autojump_clock: trio.testing.MockClock) -> None:
    """A cancellation from outside is none of the peer's doing."""
    with trio.move_on_after(1) as scope:
        await Patience(2, "the peer").during(trio.sleep_forever)
    assert scope.cancelled_caught


async def test_our_own_disk_is_not_the_peers_silence(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The time begins anew when the disk has answered."""
    patience = Patience(2, "the peer")

    async def work() -> None:
        with patience.at_work():
            await trio.sleep(30)
        await trio.sleep_forever()

    with pytest.raises(PeerSilentError):
        await patience.during(work)
    assert trio.current_time() == pytest.approx(32)


async def test_bytes_that_nobody_has_read_are_signs_of_life() -> None:
    """The kernel knows of them, and of what the peer has acknowledged."""
    async with linked() as (sock, peer):
        patience = Patience(0.3, "the peer")

        async def work() -> None:
            for _ in range(8):
                await peer.send(b"x")
                await trio.sleep(0.1)
            for _ in range(8):
                await sock.send_all(b"y")
                await trio.sleep(0.1)

        await patience.during(work, sock)


async def test_what_came_while_the_program_stood_still_is_looked_at() -> None:
    """A stop, or a call that blocks, lets all deadlines pass."""
    ours, theirs = socket.socketpair()
    with theirs:
        async with TCPSocket.from_socket(ours) as sock:

            async def work() -> bytes:
                time.sleep(0.8)  # noqa: ASYNC251 - that is the point
                theirs.send(b"x")
                return bytes(await sock.receive_some())

            assert await Patience(0.3, "the peer").during(work, sock) == b"x"


async def test_a_stop_is_not_the_peers_silence() -> None:
    """It has as much time afterwards as it had before."""
    patience = Patience(0.4, "the peer")

    async def work() -> None:
        await trio.sleep(0.1)
        time.sleep(0.8)  # noqa: ASYNC251 - that is the point
        await trio.sleep(0.15)

    await patience.during(work)


def slow(monkeypatch: pytest.MonkeyPatch, cls: type, name: str) -> None:
    """Let a disk need a second for its second piece."""
    real, calls = getattr(cls, name), 0

    def slowly(*args: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 2:
            time.sleep(1.6)
        return real(*args)

    monkeypatch.setattr(cls, name, slowly)


async def transfer(tmp_path: Path, *, sender: float, receiver: float) -> None:
    """Send a file of three pieces, with so much patience at either end."""
    content = bytes(3_000_000)
    (tmp_path / "f").write_bytes(content)
    (tmp_path / "in").mkdir()
    with Source(str(tmp_path / "f")) as source, Folder(str(tmp_path / "in")) as folder:
        outgoing = Outgoing(source, "f", timeout=sender, on_progress=lambda _: None)
        incoming = Incoming(
            folder, timeout=receiver, on_header=lambda _: None, on_progress=lambda _: None
        )
        async with socket_pair() as (one, other), trio.open_nursery() as nursery:
            nursery.start_soon(incoming.run, other)
            await outgoing.run(one)
    assert (tmp_path / "in" / "f").read_bytes() == content


async def test_a_senders_disk_that_stalls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not make the receiver a silent one."""
    slow(monkeypatch, Source, "read_piece")
    await transfer(tmp_path, sender=0.5, receiver=30)


async def test_a_receivers_disk_that_stalls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the sender nor the receiver is taken for silent: the receiver says that it lives."""
    slow(monkeypatch, IncomingFile, "write")
    await transfer(tmp_path, sender=1.3, receiver=0.5)

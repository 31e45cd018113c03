"""Segments that nobody sent, or that arrive otherwise than they were sent."""

from __future__ import annotations

import errno
import hashlib
import random
import socket

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.netns.conftest import MakeLink
from tests.support import EventRecorder, check_grammar, until
from tests.support.hosts import across
from tests.support.link import Link, Segment
from tests.support.pairs import linked
from trio_xsock import DataAvailable, LossReason, LostConnectionError, SocketState

RST = 0x04


@pytest.fixture
def link(make_link: MakeLink) -> Link:
    """Two hosts beside each other."""
    return make_link()


async def last_of_far(link: Link, size: int) -> Segment:
    """The segment in which the far host sent so many bytes, once it has passed."""
    await until(lambda: (each := link.last.get(link.far.address)) is not None and each.size == size)
    return link.last[link.far.address]


@pytest.mark.netns
async def test_a_reset_that_somebody_injects(link: Link) -> None:
    """With the very sequence number that is due it is a reset: nobody can tell the difference."""
    recorder = EventRecorder()
    async with across(link, handler=recorder) as (sock, peer):
        await peer.send(b"hello")
        last = await last_of_far(link, 5)
        await recorder.wait_for(DataAvailable)
        forged = last._replace(sequence=last.next_sequence, flags=RST)
        link.forge(link.near, sock.local_port, forged)
        await recorder.wait_until(lambda _: recorder.errors)
        (error,) = recorder.errors
        assert isinstance(error, LostConnectionError)
        assert (error.reason, error.errno) == (LossReason.RESET, errno.ECONNRESET)
        assert sock.state is SocketState.CLOSED
        assert sock.read_all() == b"hello"  # what came before stays readable
        with pytest.raises(LostConnectionError) as caught:
            await sock.receive_some()
        assert caught.value is error
        check_grammar(recorder.events)


@pytest.mark.netns
@pytest.mark.parametrize("distance", [-1, 1, 1000, 2**31])
async def test_a_reset_with_another_number_is_ignored(link: Link, distance: int) -> None:
    """In the window or out of it (RFC 5961): the connection goes on."""
    async with across(link) as (sock, peer):
        await peer.send(b"hello")
        last = await last_of_far(link, 5)
        assert await sock.receive_exactly(5) == b"hello"
        forged = last._replace(sequence=last.next_sequence + distance, flags=RST)
        link.forge(link.near, sock.local_port, forged)
        await peer.send(b"still here")
        assert await sock.receive_exactly(10) == b"still here"
        await sock.send_all(b"so am I")
        assert await peer.recv_exactly(7) == b"so am I"


@pytest.mark.netns
@pytest.mark.parametrize("who", ["reader", "sender", "nobody"])
async def test_a_reset_is_never_a_clean_end(link: Link, who: str) -> None:
    """Whoever saw it first, the reader gets the loss, after the bytes that came before."""
    async with across(link) as (sock, peer), trio.open_nursery() as nursery:
        await peer.send(b"hello")
        last = await last_of_far(link, 5)

        async def read() -> None:
            data = bytearray()
            with pytest.raises(LostConnectionError) as caught:
                while data := data + await sock.receive_some():
                    pass
            assert caught.value.reason is LossReason.RESET
            assert data == b"hello"

        if who == "reader":
            nursery.start_soon(read)
            await wait_all_tasks_blocked()
        link.forge(
            link.near, sock.local_port, last._replace(sequence=last.next_sequence, flags=RST)
        )
        if who == "sender":
            with pytest.raises(LostConnectionError):
                while True:
                    await sock.send_all(b"x")
        if who != "reader":
            await read()


@pytest.mark.netns
@pytest.mark.parametrize(
    "weather",
    [
        pytest.param({"damage": 0.02}, id="damaged"),
        pytest.param({"doubling": 0.2, "loss": 0.02}, id="doubled and lost"),
        pytest.param({"jitter": 0.004}, id="out of order"),
    ],
)
async def test_bad_weather_is_never_seen(make_link: MakeLink, weather: dict[str, float]) -> None:
    """What arrives is what was sent, in both directions, whatever becomes of the frames."""
    link = make_link(delay=0.001, seed=5, **weather)
    content = random.Random(7).randbytes(300_000)
    async with across(link) as (sock, peer):
        received = hashlib.sha256()

        async def answer() -> None:
            for _ in range(30):
                await peer.send(await peer.recv_exactly(10_000))
            peer.fin()

        async def receive() -> None:
            async for chunk in sock:
                received.update(chunk)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer)
            nursery.start_soon(receive)
            await sock.send_all(content)
    assert received.digest() == hashlib.sha256(content).digest()


async def test_an_urgent_byte() -> None:
    """It is not part of the stream, which carries what is around it, and nothing spins."""
    recorder = EventRecorder(read=True)
    async with linked(handler=recorder, allow_half_close=True) as (sock, peer):
        await peer.send(b"ab")
        peer.sock.send(b"!", socket.MSG_OOB)
        await peer.send(b"cd")
        await recorder.wait_until(lambda _: bytes(recorder.received) == b"abcd")
        calls = len(recorder.calls)
        await wait_all_tasks_blocked(0.01)
        assert len(recorder.calls) == calls
        await sock.send_all(b"ok")
        assert await peer.recv_exactly(2) == b"ok"
        peer.sock.send(b"!", socket.MSG_OOB)
        peer.fin()
        await recorder.wait_until(lambda _: recorder.errors)
    assert bytes(recorder.received) == b"abcd"
    check_grammar(recorder.events)

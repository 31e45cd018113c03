"""Links that die silently, and peers that only look dead (SPEC 3.5)."""

from __future__ import annotations

import errno

import pytest
import trio

from tests.netns.conftest import MakeLink
from tests.support import EventRecorder, check_grammar, until
from tests.support.hosts import across
from tests.support.link import Link
from tests.support.pairs import shrink_send_buffer
from trio_xsock import (
    DataAvailable,
    ErrorOccurred,
    LossReason,
    LostConnectionError,
    SendComplete,
    SocketState,
    TCPSocket,
)

pytestmark = pytest.mark.netns

LOTS = 8_000_000


@pytest.fixture
def link(make_link: MakeLink) -> Link:
    """Two hosts, ten milliseconds apart."""
    return make_link(delay=0.005)


async def lost_after(sock: TCPSocket) -> tuple[float, LostConnectionError]:
    """Wait for the loss, as a reader does; how long that took, and what it was."""
    began = trio.current_time()
    with pytest.raises(LostConnectionError) as caught:
        while await sock.receive_some():
            pass
    return trio.current_time() - began, caught.value


async def test_an_idle_peer_that_is_gone(link: Link) -> None:
    """Keepalive finds it, in the time that it says; nothing else does, and without it nothing."""
    recorder = EventRecorder()
    async with (
        across(link, handler=recorder, allow_half_close=True, keepalive=(1, 1, 1)) as (sock, peer),
        across(link) as (trusting, _),
        across(link, unacknowledged_timeout=0.5) as (waiting, _),
    ):
        await peer.send(b"hello")
        assert await sock.receive_exactly(5) == b"hello"
        link.down = True
        seconds, error = await lost_after(sock)
        assert 1.5 < seconds < 4
        assert error.reason is LossReason.TIMED_OUT
        assert error.errno == errno.ETIMEDOUT
        assert (sock.state, sock.handle, sock.last_error) == (SocketState.CLOSED, -1, error)
        assert recorder.errors == [error]
        check_grammar(recorder.events)
        assert trusting.is_connected
        assert waiting.is_connected


async def test_an_idle_peer_that_is_there(link: Link) -> None:
    """It answers the probes, and is left alone; unread input on its side changes nothing."""
    async with across(link, keepalive=(1, 1, 1)) as (sock, peer):
        await sock.send_all(b"hello")
        passed = link.passed
        await until(lambda: sock.statistics().bytes_out == 5)
        with trio.move_on_after(2.5):
            await sock.receive_some()
        assert sock.is_connected
        assert link.passed >= passed + 4  # two probes, two answers
        assert await peer.recv_exactly(5) == b"hello"


async def test_a_link_that_dies_with_data_in_flight(link: Link) -> None:
    """``unacknowledged_timeout`` finds it in time, with exact books; keepalive does not."""
    recorder = EventRecorder()
    async with (
        across(link, handler=recorder, unacknowledged_timeout=1.5) as (sock, peer),
        across(link, keepalive=(1, 1, 1)) as (probing, probed),
        trio.open_nursery() as nursery,
    ):
        sock.write(bytes(LOTS))
        probing.write(bytes(1000))
        nursery.start_soon(peer.recv_exactly, 1_000_000)
        assert len(await probed.recv_exactly(1000)) == 1000
        await until(lambda: peer.received >= 1_000_000)
        link.down = True
        probing.write(bytes(1000))
        seconds, error = await lost_after(sock)
        assert 1.3 < seconds < 2.5
        assert error.reason is LossReason.TIMED_OUT
        assert error.errno is None
        assert "acknowledged nothing for 1.5 seconds" in str(error)
        (complete,) = recorder.of(SendComplete)
        assert complete.user_aborted
        assert complete.bytes_sent == sock.bytes_sent >= 1_000_000
        assert sock.bytes_left_to_send == 0
        assert recorder.errors == [error]
        check_grammar(recorder.events)
        # Its probes, a second apart, would have found an idle peer by now.
        with trio.move_on_after(1.5):
            await probing.receive_some()
        assert probing.is_connected


async def test_the_sender_itself_gets_the_loss(link: Link) -> None:
    """Who waits in ``send_all``, ``flush`` or ``aclose`` waits no longer than the time."""
    async with (
        across(link, unacknowledged_timeout=0.5) as (sending, _),
        across(link, unacknowledged_timeout=0.5) as (flushing, _),
        across(link, unacknowledged_timeout=0.5) as (closing, _),
    ):
        link.down = True
        flushing.write(bytes(LOTS))
        closing.write(bytes(LOTS))
        with trio.fail_after(3):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(closing.aclose, 60)
                for call in (lambda: sending.send_all(bytes(LOTS)), flushing.flush):

                    @nursery.start_soon
                    async def wait(call=call) -> None:  # type: ignore[no-untyped-def]
                        with pytest.raises(LostConnectionError) as caught:
                            await call()
                        assert caught.value.reason is LossReason.TIMED_OUT

        assert closing.state is SocketState.CLOSED


async def test_the_answer_to_our_end_that_never_comes(link: Link) -> None:
    """A FIN has to be acknowledged like any byte."""
    async with across(link, unacknowledged_timeout=0.5) as (sock, _):
        link.down = True
        await sock.send_eof()
        seconds, error = await lost_after(sock)
        assert seconds < 2
        assert error.reason is LossReason.TIMED_OUT


async def test_a_live_peer_that_does_not_read(link: Link) -> None:
    """It is ended neither by default nor by ``unacknowledged_timeout``, and loses nothing."""
    async with (
        across(link, small=True, unacknowledged_timeout=0.4, keepalive=(1, 1, 1)) as (sock, peer),
        across(link, small=True) as (plain, plain_peer),
    ):
        for each in (sock, plain):
            shrink_send_buffer(each)
            each.write(bytes(100_000))
            each.write(b"the end")
        with trio.move_on_after(2):
            await sock.receive_some()
        for each, its_peer in ((sock, peer), (plain, plain_peer)):
            assert each.is_connected
            assert 0 < each.bytes_left_to_send < 100_007
            assert (await its_peer.recv_exactly(100_007)).endswith(b"the end")
            await each.flush()


async def test_a_live_peer_that_is_far_away(make_link: MakeLink) -> None:
    """A window that stays closed is asked about ever more seldom; the answers take their time."""
    link = make_link(delay=0.15)
    async with across(link, small=True, unacknowledged_timeout=0.5) as (sock, peer):
        shrink_send_buffer(sock)
        sock.write(bytes(100_000))
        with trio.move_on_after(3):
            await sock.receive_some()
        assert sock.is_connected
        link.delay = 0.005
        assert len(await peer.recv_exactly(100_000)) == 100_000


async def test_a_peer_that_vanishes_while_it_does_not_read(link: Link) -> None:
    """When three questions have stayed unanswered, and for as long as the time says."""
    async with across(link, small=True, unacknowledged_timeout=0.5) as (sock, _):
        shrink_send_buffer(sock)
        sock.write(bytes(100_000))
        with trio.move_on_after(0.2):
            await sock.receive_some()
        link.down = True
        seconds, error = await lost_after(sock)
        assert 0.5 <= seconds < 4
        assert error.reason is LossReason.TIMED_OUT


async def test_a_link_that_comes_back_in_time(link: Link) -> None:
    """An interruption shorter than the time changes nothing but the time it takes."""
    async with across(link, unacknowledged_timeout=3) as (sock, peer):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sock.send_all, bytes(1_000_000))
            assert len(await peer.recv_exactly(100_000)) == 100_000
            link.down = True
            with trio.move_on_after(0.5):
                await sock.receive_some()
            link.down = False
            assert len(await peer.recv_exactly(900_000)) == 900_000
        assert sock.is_connected


async def test_idle_timeout_needs_no_link(link: Link) -> None:
    """It ends what is idle for whatever reason, and says so to channels, too."""
    async with across(link, idle_timeout=0.3) as (sock, peer):
        events = sock.subscribe()
        await peer.send(b"x")
        await until(lambda: sock.bytes_available)
        link.down = True
        kinds = [type(event) async for event in events]
        assert kinds[-2:] == [DataAvailable, ErrorOccurred]
        assert isinstance(sock.last_error, LostConnectionError)
        assert sock.last_error.reason is LossReason.TIMED_OUT
        assert sock.read_all() == b"x"

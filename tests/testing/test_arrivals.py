"""What arrives at a faulty transport, without a socket."""

from __future__ import annotations

import errno
import math

import pytest
import trio
import trio.testing

from trio_xsock.testing._arrivals import Arrivals
from trio_xsock.testing._memory import MemoryTransport, memory_transports
from trio_xsock.testing._weather import Weather

SEVERAL = 100


def arrivals_and_peer() -> tuple[Arrivals, MemoryTransport]:
    inner, peer = memory_transports(2**16)
    return Arrivals(inner), peer


async def test_pieces_keep_their_order_and_their_bounds() -> None:
    """What was taken is read piece by piece; a peek takes nothing."""
    arrivals, peer = arrivals_and_peer()
    assert not arrivals
    assert not arrivals.take_piece()
    for data in (b"one", b"two"):
        peer.send(data)
        assert arrivals.take_piece()
    assert arrivals
    assert arrivals.has_unread()
    assert arrivals.read(2, peek=True) == b"on"
    assert arrivals.read(2, peek=False) == b"on"
    assert arrivals.read(SEVERAL, peek=False) == b"e"
    assert arrivals.read(SEVERAL, peek=False) == b"two"
    with pytest.raises(BlockingIOError):
        arrivals.read(1, peek=False)


async def test_a_delay_holds_back_what_came(mock_clock: trio.testing.MockClock) -> None:
    """Pieces and the end; it is the delay at the time when they came that counts."""
    arrivals, peer = arrivals_and_peer()
    arrivals.change(Weather(latency=2.0))
    peer.send(b"late")
    assert arrivals.take_piece()
    arrivals.change(Weather())
    assert not arrivals.has_unread()
    assert arrivals.readable_at() == trio.current_time() + 2.0
    arrivals.note_end(None)
    assert arrivals.end_is_late()
    with pytest.raises(BlockingIOError):
        arrivals.read(SEVERAL, peek=False)
    mock_clock.jump(2.0)
    assert arrivals.read(SEVERAL, peek=False) == b"late"
    assert arrivals.read(SEVERAL, peek=False) == b""
    assert not arrivals.end_is_late()


async def test_a_stall_stops_both_taking_and_reading() -> None:
    """What is there comes when it is over."""
    arrivals, peer = arrivals_and_peer()
    peer.send(b"x")
    assert arrivals.take_piece()
    arrivals.change(Weather(stalled=True))
    assert not arrivals.may_take()
    assert arrivals.readable_at() == math.inf
    with pytest.raises(BlockingIOError):
        arrivals.read(1, peek=False)
    arrivals.change(Weather())
    assert arrivals.may_take()
    assert arrivals.read(1, peek=False) == b"x"


async def test_so_many_bytes_may_pass() -> None:
    """Before a cut."""
    arrivals, peer = arrivals_and_peer()
    peer.send(b"12345")
    assert arrivals.take_piece()
    arrivals.change(Weather(passable=3))
    assert arrivals.read(SEVERAL, peek=False) == b"123"


async def test_a_reset_takes_what_is_on_its_way() -> None:
    """The error is reported once; nothing is taken any more."""
    arrivals, peer = arrivals_and_peer()
    peer.send(b"lost")
    assert arrivals.take_piece()
    arrivals.break_off()
    assert not arrivals.has_unread()
    assert not arrivals.may_take()
    with pytest.raises(ConnectionResetError) as caught:
        arrivals.read(1, peek=False)
    assert caught.value.errno == errno.ECONNRESET
    assert arrivals.read(1, peek=False) == b""
    arrivals.report_end()


async def test_the_first_end_counts() -> None:
    """A clean one stays clean, and an error without a number is some error all the same."""
    arrivals, peer = arrivals_and_peer()
    peer.close()
    assert not arrivals.take_piece()
    arrivals.note_end(OSError("later"))
    assert arrivals.read(1, peek=False) == b""
    arrivals, _ = arrivals_and_peer()
    arrivals.note_end(OSError("no number"))
    with pytest.raises(OSError, match=str(errno.EIO)) as caught:
        arrivals.report_end()
    assert caught.value.errno == errno.EIO


async def test_what_the_inner_transport_keeps_is_taken() -> None:
    """No more than there is room for."""
    arrivals, peer = arrivals_and_peer()
    arrivals.take_kept()  # it keeps nothing
    assert not arrivals
    peer.send(b"x")
    arrivals.take_kept()  # of a memory transport, that is told by its watch
    assert not arrivals

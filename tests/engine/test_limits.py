"""How much may wait, either way, and half a connection: options that every connection has."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from tests.support import EventRecorder, settle
from tests.support.pairs import linked
from trio_xsock import EasyTCPSocket, OutOfMemoryError, SendProgress, SSLSocket, TCPSocket

DEFAULTS: dict[str, Any] = {
    "receive_buffer_limit": 2**20,
    "send_buffer_limit": 2**26,
    "progress_interval": 65536,
    "allow_half_close": None,
}

every_kind = pytest.mark.parametrize("kind", [TCPSocket, SSLSocket, EasyTCPSocket])

# What they take


@every_kind
def test_what_they_are_by_themselves(kind: Any) -> None:
    """As documented, and as changed."""
    sock = kind()
    assert {name: getattr(sock, name) for name in DEFAULTS} == DEFAULTS
    changed = dict(zip(DEFAULTS, (1, 2, 3, True), strict=True))
    for name, value in changed.items():
        setattr(sock, name, value)
    assert {name: getattr(sock, name) for name in DEFAULTS} == changed
    given = kind(**changed)
    assert {name: getattr(given, name) for name in DEFAULTS} == changed


@every_kind
@pytest.mark.parametrize("name", ["receive_buffer_limit", "send_buffer_limit", "progress_interval"])
def test_amounts_are_whole_numbers_above_zero(name: str, kind: Any) -> None:
    """The text names the option; the value there was stays."""
    sock = kind()
    for wrong in ("1", 1.0, None, True):
        with pytest.raises(TypeError, match=f"{name} must be an int"):
            kind(**{name: wrong})
        with pytest.raises(TypeError, match=f"{name} must be an int"):
            setattr(sock, name, wrong)
    for wrong in (0, -1):
        with pytest.raises(ValueError, match=f"{name} must be at least"):
            kind(**{name: wrong})
        with pytest.raises(ValueError, match=f"{name} must be at least"):
            setattr(sock, name, wrong)
    assert getattr(sock, name) == DEFAULTS[name]


@every_kind
def test_allow_half_close_is_a_bool_or_none(kind: Any) -> None:
    """Nothing that merely looks like one."""
    sock = kind(allow_half_close=False)
    for wrong in (0, 1, "no"):
        with pytest.raises(TypeError, match="allow_half_close must be True, False or None"):
            kind(allow_half_close=wrong)
        with pytest.raises(TypeError, match="allow_half_close must be"):
            sock.allow_half_close = wrong
    assert sock.allow_half_close is False


# When they count


async def test_a_larger_receive_buffer_takes_effect_at_once() -> None:
    """Reading goes on without a read."""
    async with linked(receive_buffer_limit=10) as (sock, peer):
        await peer.send(bytes(1000))
        await trio.testing.wait_all_tasks_blocked()
        assert sock.bytes_available == 10
        sock.receive_buffer_limit = 300
        await trio.testing.wait_all_tasks_blocked()
        assert sock.bytes_available == 300
        sock.receive_buffer_limit = 1
        await trio.testing.wait_all_tasks_blocked()
        assert sock.bytes_available == 300


async def test_allow_half_close_counts_when_the_peer_ends() -> None:
    """It may be decided late."""
    async with linked(allow_half_close=True) as (sock, peer):
        sock.allow_half_close = False
        peer.fin()
        await trio.testing.wait_all_tasks_blocked()
        assert sock.handle == -1


async def test_a_smaller_send_buffer_counts_from_the_next_write_on() -> None:
    """What is queued stays queued."""
    async with linked(small=True) as (sock, _):
        sock.write(bytes(3_000_000))
        queued = sock.bytes_left_to_send
        sock.send_buffer_limit = 1
        with pytest.raises(OutOfMemoryError, match="send_buffer_limit=1;"):
            sock.write(b"x")
        assert sock.bytes_left_to_send == queued


async def test_another_progress_interval_counts_at_once() -> None:
    """For the batch that is under way."""
    recorder = EventRecorder()
    async with linked(small=True, handler=recorder) as (sock, peer):
        sock.write(bytes(300_000))
        await settle()
        before = len(recorder.of(SendProgress))
        sock.progress_interval = 100
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sock.flush)
            await peer.recv_exactly(300_000)
        later = recorder.of(SendProgress)[before:]
        assert later
        assert max(event.bytes_sent for event in later) <= 100

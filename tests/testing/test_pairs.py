"""Two connected sockets in one line, with an OS and without."""

from __future__ import annotations

import gc
import socket
import weakref
from contextlib import AsyncExitStack
from typing import Any

import pytest
import trio
import trio.testing

from tests.support import until
from tests.support.pairs import clog
from trio_xsock import (
    LossReason,
    LostConnectionError,
    OutOfMemoryError,
    SocketClosedError,
    SocketState,
    TCPSocket,
)
from trio_xsock.testing import RecordingHandler, memory_socket_pair, socket_pair
from trio_xsock.testing._pairs import _accept_from

from .kinds import MakePair, Pair, every_kind


@every_kind
async def test_are_connected_to_each_other(make_pair: MakePair) -> None:
    """Bytes go both ways, and the sockets know each other."""
    async with make_pair() as (left, right):
        assert left.is_connected
        assert right.is_connected
        await left.send_all(b"to the right")
        await right.send_all(b"to the left")
        assert await right.receive_exactly(12) == b"to the right"
        assert await left.receive_exactly(11) == b"to the left"
        for here, there in ((left, right), (right, left)):
            assert here.local_address == here.remote_address == "127.0.0.1"
            assert here.port == here.local_port == there.remote_port > 0
    assert left.state is right.state is SocketState.CLOSED


@every_kind
async def test_options_are_for_both_or_for_one(make_pair: MakePair) -> None:
    """What is given for a side wins."""
    async with make_pair(
        progress_interval=5, receive_buffer_limit=7, left={"receive_buffer_limit": 9}, right={}
    ) as (left, right):
        assert (left.progress_interval, left.receive_buffer_limit) == (5, 9)
        assert (right.progress_interval, right.receive_buffer_limit) == (5, 7)


@every_kind
async def test_a_wrong_option_leaves_nothing_behind(make_pair: MakePair) -> None:
    """Neither on the first nor on the second side."""
    for options in ({"left": {"nonsense": 1}}, {"right": {"nonsense": 1}}):
        with pytest.raises(TypeError, match="nonsense"):
            async with make_pair(**options):
                pass


@every_kind
async def test_the_exception_of_the_body_leaves_as_it_is(make_pair: MakePair) -> None:
    """Not in a group, and the very same object."""
    error = ValueError("from the body")
    with pytest.raises(ValueError) as caught:
        async with make_pair():
            raise error
    assert caught.value is error


@every_kind
async def test_leaving_does_not_wait_for_a_reader(make_pair: MakePair) -> None:
    """There is nobody left to read what is queued."""
    async with make_pair() as (left, right):
        left.write(bytes(2**23))
        right.write(bytes(2**23))
        with trio.fail_after(2):
            await trio.testing.wait_all_tasks_blocked()
            leaving = trio.current_time()
    assert trio.current_time() - leaving < 1
    assert left.bytes_left_to_send == right.bytes_left_to_send == 0


@every_kind
async def test_half_close(make_pair: MakePair) -> None:
    """One direction ends, the other goes on."""
    async with make_pair() as (left, right):
        await left.send_all(b"question")
        await left.send_eof()
        assert b"".join([chunk async for chunk in right]) == b"question"
        assert isinstance(right.last_error, LostConnectionError)
        assert right.last_error.reason is LossReason.REMOTE_CLOSED
        await right.send_all(b"answer")
        await right.aclose()
        assert b"".join([chunk async for chunk in left]) == b"answer"


@every_kind
async def test_closing_with_unread_input_resets_the_peer(make_pair: MakePair) -> None:
    """And what was sent before can still be read."""
    async with make_pair(left={"receive_buffer_limit": 1}) as (left, right):
        await left.send_all(b"last words")
        await right.receive_exactly(1)
        await right.send_all(b"1 and more")
        await until(lambda: left.bytes_available)
        left.close()
        assert await right.receive_exactly(9) == b"ast words"
        with pytest.raises(LostConnectionError) as caught:
            await right.receive_some()
        assert caught.value.reason is LossReason.RESET


async def test_closing_with_buffered_input_is_no_reset() -> None:
    """What the socket has taken is read, as far as the transport can know."""
    async with memory_socket_pair() as (left, right):
        await right.send_all(b"12")
        await trio.testing.wait_all_tasks_blocked()
        left.close()
        assert await right.receive_some() == b""


async def test_memory_pushes_back() -> None:
    """Sends stop when the way and the peer's buffer are full."""
    async with memory_socket_pair(100, right={"receive_buffer_limit": 10}) as (left, right):
        left.write(bytes(1000))
        await trio.testing.wait_all_tasks_blocked()
        assert left.bytes_sent == 110
        assert right.bytes_available == 10
        assert left.bytes_left_to_send == 890
        await right.receive_exactly(10)
        await trio.testing.wait_all_tasks_blocked()
        assert left.bytes_sent == 120
        left.send_buffer_limit = 900
        with pytest.raises(OutOfMemoryError):
            left.write(bytes(900))


async def test_memory_has_no_descriptor() -> None:
    """And the same addresses each time."""
    for _ in range(2):
        async with memory_socket_pair(keepalive=(1, 1, 1)) as (left, right):
            assert left.handle == right.handle == -1
            assert (left.port, right.port) == (49152, 49153)
            left.keepalive = None
        assert left.port == 0
        assert left.remote_address == "127.0.0.1"
        with pytest.raises(SocketClosedError):
            await left.receive_some()


async def test_memory_sends_files(tmp_path: Any) -> None:
    """Although there is no descriptor to send them to."""
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * 1000)
    async with memory_socket_pair() as (left, right), trio.open_nursery() as nursery:
        nursery.start_soon(left.send_file, path)
        assert await right.receive_exactly(256_000) == path.read_bytes()


async def test_memory_needs_no_real_time(autojump_clock: trio.testing.MockClock) -> None:
    """A time-out of an hour is over at once, exactly."""
    handler = RecordingHandler()
    async with memory_socket_pair(left={"idle_timeout": 3600.0, "handler": handler}) as (left, _):
        await handler.wait_for("on_error")
        assert trio.current_time() == pytest.approx(3600)
        assert isinstance(left.last_error, LostConnectionError)
        assert left.last_error.reason is LossReason.TIMED_OUT


async def test_time_outs_under_a_mock_clock_on_real_sockets(
    mock_clock: trio.testing.MockClock,
) -> None:
    """Without autojump a test says itself how time goes by (SPEC 14)."""
    handler = RecordingHandler()
    async with socket_pair(left={"idle_timeout": 3600.0, "handler": handler}) as (left, right):
        await right.send_all(b"x")
        await handler.wait_for("on_data_available")
        assert left.read_all() == b"x"
        mock_clock.jump(3599)
        await trio.testing.wait_all_tasks_blocked()
        assert left.is_connected
        mock_clock.jump(2)
        await handler.wait_for("on_error")
        assert isinstance(left.last_error, LostConnectionError)
        assert left.last_error.reason is LossReason.TIMED_OUT


async def test_memory_leaves_no_garbage() -> None:
    """The sockets are gone with their last name (O4)."""
    async with memory_socket_pair() as (left, right):
        await left.send_all(b"x")
        assert await right.receive_some() == b"x"
    await trio.lowlevel.checkpoint()
    gc.collect()
    references = [weakref.ref(left), weakref.ref(right)]
    gc.disable()
    try:
        del left, right
        await trio.lowlevel.checkpoint()
        assert [reference() for reference in references] == [None, None]
    finally:
        gc.enable()


@pytest.mark.slow
async def test_memory_keeps_the_contract_of_a_stream(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Trio's own check, with a clogged pair."""
    async with AsyncExitStack() as stack:

        async def make() -> Pair:
            return await stack.enter_async_context(memory_socket_pair())

        async def make_clogged() -> Pair:
            pair = memory_socket_pair(4096, receive_buffer_limit=1024)
            left, right = await stack.enter_async_context(pair)
            await clog(left)
            await clog(right)
            return left, right

        await trio.testing.check_half_closeable_stream(make, make_clogged)


def test_a_stranger_is_not_accepted() -> None:
    """Any program could connect to the port while it is open."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with socket.create_connection(listener.getsockname()) as stranger:
            with socket.create_connection(listener.getsockname()) as friend:
                with _accept_from(listener, friend.getsockname()) as accepted:
                    assert accepted.getpeername() == friend.getsockname()
                assert stranger.recv(1) == b""


async def test_the_sockets_are_ordinary_ones() -> None:
    """So that programs cannot tell."""
    async with memory_socket_pair() as (left, right):
        assert type(left) is type(right) is TCPSocket

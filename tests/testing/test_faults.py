"""``delay``, ``drop``, ``cut`` and ``stall``: a connection that misbehaves for a while."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import pytest
import trio
import trio.testing

from tests.support import until
from trio_xsock import (
    InvalidStateError,
    LossReason,
    LostConnectionError,
    SocketState,
    TCPSocket,
)
from trio_xsock.testing import (
    RecordingHandler,
    cut,
    delay,
    drop,
    memory_socket_pair,
    socket_pair,
    ssl_socket_pair,
    stall,
)

from .kinds import MakePair, every_kind

SHORT = 0.05


async def nothing_comes(sock: TCPSocket, seconds: float = SHORT) -> None:
    """No byte arrives, and no end."""
    with trio.move_on_after(seconds):
        data = await sock.receive_some()
        raise AssertionError(f"{data!r} came")


async def is_as_before(left: TCPSocket, right: TCPSocket, transports: Sequence[object]) -> None:
    """The sockets have their own transports again, and bytes go both ways."""
    assert [left._connection.transport, right._connection.transport] == transports
    for sender, receiver in ((left, right), (right, left)):
        await sender.send_all(b"as before")
        assert await receiver.receive_exactly(9) == b"as before"


# stall


@every_kind
async def test_stall(make_pair: MakePair) -> None:
    """Nothing moves, either way; then all of it does."""
    async with make_pair() as (left, right):
        transports = [left._connection.transport, right._connection.transport]
        with stall(left):
            await right.send_all(b"from the right")
            left.write(b"from the left")
            await nothing_comes(left)
            await nothing_comes(right)
            assert left.bytes_left_to_send == 13
        assert await left.receive_exactly(14) == b"from the right"
        assert await right.receive_exactly(13) == b"from the left"
        await is_as_before(left, right, transports)


@every_kind
async def test_stall_wakes_who_waits(make_pair: MakePair) -> None:
    """Tasks that wait when it begins, or come later, go on at its end."""
    async with make_pair() as (left, right):
        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(left.receive_exactly, 1)
                await trio.testing.wait_all_tasks_blocked()
                with stall(left):
                    nursery.start_soon(left.send_all, bytes(2**20))
                    nursery.start_soon(right.receive_exactly, 2**20)
                    nursery.start_soon(right.send_all, b"x")
                    await trio.sleep(SHORT)
                    assert left.bytes_left_to_send == 2**20
                await left.flush()


@every_kind
async def test_ends_inside_a_stall_are_seen_after_it(make_pair: MakePair) -> None:
    """Of our direction, and of the connection."""
    async with make_pair() as (left, right):
        with stall(left):
            await left.send_eof()
            await nothing_comes(right)
        assert await right.receive_some() == b""
        await right.send_all(b"answer")
        assert await left.receive_exactly(6) == b"answer"
        with stall(left):
            left.close()
            assert left.state is SocketState.CLOSED
            assert left.handle == -1
            await trio.sleep(SHORT)
            await right.send_all(b"who is there?")
        await trio.sleep(SHORT)
        with pytest.raises(LostConnectionError):
            for _ in range(3):
                await right.send_all(b"nobody")
                await trio.sleep(SHORT)


# delay


async def test_delay_is_exact(autojump_clock: trio.testing.MockClock) -> None:
    """Each piece takes its time, from when it was sent; the order is kept."""
    async with memory_socket_pair() as (left, right):
        transports = [left._connection.transport, right._connection.transport]
        arrivals: list[tuple[float, bytes]] = []

        async def receive() -> None:
            arrivals.extend([(trio.current_time(), data) async for data in right])

        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            with delay(right, 10):
                await left.send_all(b"a")
                await trio.sleep(1)
                await left.send_all(b"b")
                await trio.testing.wait_all_tasks_blocked()  # it is on its way
                with delay(right, 5):
                    await left.send_all(b"c")
                    await trio.sleep(0.5)
                await left.send_all(b"d")
                await trio.sleep(0.5)
            await left.send_all(b"e")
            await trio.sleep(20)
            assert [left._connection.transport, right._connection.transport] == transports
            await left.send_all(b"f")
            await left.send_eof()
        assert arrivals == [(10, b"a"), (11, b"b"), (16, b"c"), (16, b"d"), (16, b"e"), (22, b"f")]


@every_kind
async def test_delay(make_pair: MakePair) -> None:
    """It works with real time, too, and on the way in only."""
    async with make_pair() as (left, right):
        transports = [left._connection.transport, right._connection.transport]
        with delay(right, 0.1):
            began = trio.current_time()
            await left.send_all(b"late")
            assert await right.receive_some() == b"late"
            assert 0.1 <= trio.current_time() - began < 1
            await right.send_all(b"early")
            began = trio.current_time()
            assert await left.receive_some() == b"early"
            assert trio.current_time() - began < 0.1
        await is_as_before(left, right, transports)


@every_kind
async def test_ends_are_late_too(make_pair: MakePair) -> None:
    """A clean end arrives after the data, a reset as late as anything."""
    async with make_pair() as (left, right):
        with delay(right, 0.1):
            await left.send_all(b"last")
            await left.send_eof()
            began = trio.current_time()
            assert await right.receive_some() == b"last"
            assert await right.receive_some() == b""
            assert trio.current_time() - began >= 0.1
    async with make_pair(left={"receive_buffer_limit": 1}) as (left, right):
        with delay(right, 0.2):
            await right.send_all(b"unread")
            await left.send_all(b"last words")
            await until(lambda: left.bytes_available)
            began = trio.current_time()
            left.close()
            for _ in range(3):
                await trio.sleep(0.01)
                await right.send_all(b"we do not know yet")
            assert trio.current_time() - began < 0.2
            assert await right.receive_exactly(10) == b"last words"
            with pytest.raises(LostConnectionError) as caught:
                await right.receive_some()
            assert caught.value.reason is LossReason.RESET
            assert trio.current_time() - began >= 0.1


@every_kind
async def test_much_goes_through_a_delay(make_pair: MakePair) -> None:
    """As fast as the window allows, and nothing is lost."""
    data = bytes(i % 251 for i in range(2**20))
    async with make_pair(right={"receive_buffer_limit": 1000}) as (left, right):
        async with trio.open_nursery() as nursery:
            with delay(right, 0.01):
                nursery.start_soon(left.send_all, data)
                received = bytearray()
                while len(received) < len(data):
                    received += await right.receive_some()
        assert received == data


@every_kind
async def test_what_is_late_is_not_lost_by_a_graceful_close(make_pair: MakePair) -> None:
    """What is still on its way to who closes does not make a reset of the close."""
    async with make_pair() as (left, right):
        with delay(right, SHORT):
            await left.send_all(b"on its way")
            await trio.sleep(0.01)
            await right.send_all(b"goodbye")
            await right.aclose()
        assert await left.receive_exactly(7) == b"goodbye"
        assert await left.receive_some() == b""


# drop


@every_kind
async def test_drop(make_pair: MakePair) -> None:
    """What is sent counts as sent, and never arrives; the other way is open."""
    async with make_pair() as (left, right):
        transports = [left._connection.transport, right._connection.transport]
        with drop(left):
            await left.send_all(b"lost")
            assert left.bytes_sent == 4
            await nothing_comes(right)
            await right.send_all(b"the other way")
            assert await left.receive_exactly(13) == b"the other way"
        await is_as_before(left, right, transports)


@every_kind
async def test_drop_fills_the_send_buffer(make_pair: MakePair) -> None:
    """A dead link does not take bytes for ever; what it did not take is sent afterwards."""
    async with make_pair() as (left, right):
        with drop(left):
            left.write(bytes(65536) + b"the rest")
            await trio.sleep(SHORT)
            assert left.bytes_left_to_send == 8
        assert await right.receive_exactly(8) == b"the rest"


@every_kind
async def test_a_dead_link_is_found(make_pair: MakePair) -> None:
    """By ``unacknowledged_timeout``, in time, and with exact books."""
    handler = RecordingHandler()
    async with make_pair(left={"unacknowledged_timeout": 0.2, "handler": handler}) as (left, right):
        await left.send_all(b"arrives")
        await trio.sleep(0.3)
        assert left.is_connected
        with drop(left):
            began = trio.current_time()
            await left.send_all(b"lost")
            error = (await handler.wait_for("on_error")).arguments[1]
            assert error.reason is LossReason.TIMED_OUT
            assert 0.2 <= trio.current_time() - began < 1
            assert left.bytes_sent == 11
        assert await right.receive_some() == b"arrives"
        assert await right.receive_some() == b""


async def test_a_dead_link_is_found_in_no_time(autojump_clock: trio.testing.MockClock) -> None:
    """An hour of waiting, with a clock that jumps."""
    handler = RecordingHandler()
    options: dict[str, Any] = {"unacknowledged_timeout": 3600, "handler": handler}
    async with memory_socket_pair(left=options) as (left, _):
        with drop(left):
            left.write(b"lost")
            await handler.wait_for("on_error")
            assert 3600 <= trio.current_time() < 3610


@every_kind
async def test_ends_inside_a_drop_are_seen_after_it(make_pair: MakePair) -> None:
    """The peer of a dead link does not learn of a close."""
    async with make_pair() as (left, right):
        with drop(left):
            await left.send_eof()
            await nothing_comes(right)
            left.close()
            await nothing_comes(right)
        assert await right.receive_some() == b""


@every_kind
async def test_a_graceful_close_into_a_drop_ends_with_its_grace(make_pair: MakePair) -> None:
    """Nobody acknowledges; the discarding of input goes on for as long as allowed."""
    async with make_pair(left={"receive_buffer_limit": 1}) as (left, right):
        await right.send_all(b"unread")
        await until(lambda: left.bytes_available)
        with drop(left):
            await left.send_all(b"lost")
            began = trio.current_time()
            await left.aclose(grace=0.1)
            assert 0.1 <= trio.current_time() - began < 1


# cut


@every_kind
@pytest.mark.parametrize("after", [0, 1, 9, 10])
async def test_cut_while_sending(make_pair: MakePair, after: int) -> None:
    """So many bytes arrive, and both sides see a reset."""
    async with make_pair() as (left, right):
        with cut(left, after):
            with pytest.raises(LostConnectionError) as caught:
                await left.send_all(b"0123456789")
                await left.receive_some()
            assert caught.value.reason is LossReason.RESET
            assert left.bytes_sent == after
            if after:
                assert await right.receive_exactly(after) == b"0123456789"[:after]
            with pytest.raises(LostConnectionError) as caught:
                await right.receive_some()
            assert caught.value.reason is LossReason.RESET


@every_kind
@pytest.mark.parametrize("after", [0, 1, 9, 10])
async def test_cut_while_receiving(make_pair: MakePair, after: int) -> None:
    """The data first, then the reset, without anybody calling."""
    handler = RecordingHandler()
    async with make_pair(right={"handler": handler}) as (left, right):
        with cut(right, after):
            left.write(b"0123456789")
            await handler.wait_for("on_error")
            assert right.read_all() == b"0123456789"[:after]
            assert isinstance(right.last_error, LostConnectionError)
            assert right.last_error.reason is LossReason.RESET
            with pytest.raises(LostConnectionError):
                await left.receive_some()


@every_kind
async def test_cut_counts_both_ways(make_pair: MakePair) -> None:
    """Sent and received bytes together."""
    async with make_pair() as (left, right):
        with cut(left, after=6):
            await left.send_all(b"123")
            await right.send_all(b"abc")
            assert await left.receive_some() == b"abc"
            with pytest.raises(LostConnectionError):
                await left.receive_some()
            assert await right.receive_some() == b"123"


@every_kind
async def test_nothing_is_cut_if_fewer_bytes_pass(make_pair: MakePair) -> None:
    """The connection is as before."""
    async with make_pair() as (left, right):
        transports = [left._connection.transport, right._connection.transport]
        with cut(left, after=4):
            await left.send_all(b"123")
        assert await right.receive_some() == b"123"
        await is_as_before(left, right, transports)


@every_kind
async def test_facts_after_a_cut(make_pair: MakePair) -> None:
    """Nothing that is asked of the socket raises."""
    async with make_pair(right={"allow_half_close": True}) as (left, _):
        with cut(left):
            assert left.local_address == left.remote_address == "127.0.0.1"
            assert left.port > 0
            left.keepalive = (1, 1, 1)
            left.unacknowledged_timeout = 1
            assert not await left.poll() or not left.is_connected
            left.close()


# All of them


@every_kind
@pytest.mark.parametrize("seconds", [0, 0.01])
async def test_faults_overlap_in_any_order(make_pair: MakePair, seconds: float) -> None:
    """They end in any order, and leave the sockets as they were."""
    async with make_pair() as (left, right):
        transports = [left._connection.transport, right._connection.transport]
        for order in itertools.permutations(range(3)):
            faults: list[AbstractContextManager[None]] = [
                delay(left, seconds),
                stall(left),
                cut(left, after=2**20),
            ]
            for fault in faults:
                fault.__enter__()
            await right.send_all(b"12345")
            left.write(b"abcde")
            await nothing_comes(left, seconds * 2)
            for index in order:
                faults[index].__exit__(None, None, None)
                await trio.lowlevel.checkpoint()
            assert await left.receive_exactly(5) == b"12345"
            assert await right.receive_exactly(5) == b"abcde"
            await is_as_before(left, right, transports)


@every_kind
async def test_both_ends_may_misbehave(make_pair: MakePair) -> None:
    """A link that is dead both ways."""
    async with make_pair() as (left, right):
        transports = [left._connection.transport, right._connection.transport]
        with drop(left), drop(right):
            await left.send_all(b"x")
            await right.send_all(b"y")
            await nothing_comes(left)
            await nothing_comes(right)
        await is_as_before(left, right, transports)


@pytest.mark.parametrize("fault", [drop, stall, cut])
async def test_needs_a_connection(fault: Any) -> None:
    """A fault is one of a connection, and only of that one."""
    async with TCPSocket() as sock:
        with pytest.raises(InvalidStateError, match="connected"):
            with fault(sock):
                pass
        with pytest.raises(TypeError, match="TCPSocket"):
            with fault("sock"):
                pass


async def test_refuses_wrong_numbers() -> None:
    """At the door."""
    async with memory_socket_pair() as (left, _):
        for fault, argument, error in [
            (delay, -1, ValueError),
            (delay, "1", TypeError),
            (cut, -1, ValueError),
            (cut, 1.0, TypeError),
        ]:
            with pytest.raises(error), ExitStack() as stack:
                stack.enter_context(fault(left, argument))  # type: ignore[operator]
        assert left._connection.transport.__class__.__name__ == "MemoryTransport"


async def test_a_new_connection_has_no_faults() -> None:
    """The block that is still open is about the one before."""
    async with socket_pair() as (left, right):
        with stall(left):
            left.close()
            right.close()
            await right.listen()
            left.address, left.port = "127.0.0.1", right.port
            await left.connect()
            await until(lambda: right.is_connected)
            await left.send_all(b"works")
            assert await right.receive_some() == b"works"
        await left.send_all(b"still")
        assert await right.receive_some() == b"still"


@every_kind
async def test_a_file_does_not_escape(make_pair: MakePair, tmp_path: Any) -> None:
    """The kernel sends files by itself; but not past a fault that comes in between."""
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * 2**15)
    async with make_pair() as (left, right):
        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(left.send_file, path)
                await until(lambda: left.bytes_sent)
                with stall(left):
                    before = left.bytes_sent
                    first = await right.receive_exactly(1000)
                    await trio.sleep(SHORT)
                    assert left.bytes_sent == before
                rest = await right.receive_exactly(2**23 - 1000)
        assert first + rest == path.read_bytes()


@pytest.mark.parametrize("options", [{}, {"receive_buffer_limit": 5000}])
@pytest.mark.parametrize("size", [100, 3000, 20_000, 65_536, 300_000])
async def test_encrypted_bytes_go_through_as_well(size: int, options: Any) -> None:
    """The transport below keeps some of what it has read, and nobody calls for that."""
    async with ssl_socket_pair(right=options) as (left, right):
        for fault in (delay(right, 0.001), cut(right, 10**9)):
            with fault:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(left.send_all, bytes(size))
                    received = 0
                    while received < size:
                        received += len(await right.receive_some())

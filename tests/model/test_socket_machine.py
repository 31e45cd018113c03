"""Two connected sockets, driven through random lives, never do what the model says they cannot.

Each rule does something to one of the sockets, waits until nothing moves any more, and compares
all that can be seen with the model (``reference``): bytes, books, events, states, and that
nothing waits that could go on. Once over loopback in either readiness mode, and once in memory.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any, ClassVar

import pytest
import trio
import trio.testing
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from tests.support import EventRecorder, until
from tests.support.pairs import shrink_send_buffer
from trio_xsock import (
    LostConnectionError,
    OutOfMemoryError,
    SocketClosedError,
    SocketState,
)
from trio_xsock.testing import memory_socket_pair, socket_pair
from trio_xsock.testing._memory import memory_transports
from trio_xsock.testing._seam import take_over

from .guest import GuestRun
from .reference import Operation, Side

GRACE = 0.02
PATIENCE = 5.0
SEPARATOR = b"\x07\x0f"

either = st.sampled_from([0, 1])
sizes = st.integers(0, 300)
rarely = st.integers(0, 2).map(lambda number: number == 2)
CALLS_AFTER_THE_END = 3


class SocketMachine(RuleBasedStateMachine):
    """The rules, whatever is between the sockets."""

    largest: ClassVar[int]
    """Bytes of the largest send, enough to fill what is between."""
    chunk: ClassVar[int]
    """What progress intervals are multiples of, so that it takes no more than so many steps."""
    sides: tuple[Side, Side]

    def __init__(self) -> None:
        super().__init__()
        self.run: GuestRun | None = None
        self.stack = AsyncExitStack()
        self.failed = False
        self.calls_after_the_end = 0

    # What the kinds of pairs do differently

    def clock(self) -> trio.abc.Clock | None:
        """The run's clock."""
        return None

    def pair(self, **options: Any) -> Any:
        """The pair, as a context manager."""
        raise NotImplementedError

    async def link_again(self) -> None:
        """Connect the two sockets, which are closed."""
        raise NotImplementedError

    async def become_quiet(self) -> None:
        """Wait until nothing moves any more, or should not."""
        raise NotImplementedError

    # The frame

    def call(self, async_fn: Callable[..., Awaitable[object]], *args: Any) -> None:
        """Do something in the Trio run, and let everything come to rest."""
        assert self.run is not None
        self.failed = True
        self.run.call(self.perform, async_fn, *args)
        self.failed = False

    async def perform(self, async_fn: Callable[..., Awaitable[object]], *args: Any) -> None:
        """See ``call``."""
        await self.settle()  # the clock may have jumped
        if self.calls_after_the_end == CALLS_AFTER_THE_END:
            await self._reconnect()
        await async_fn(*args)
        await self.settle()
        closed = all(side.is_closed for side in self.sides)
        self.calls_after_the_end = self.calls_after_the_end + 1 if closed else 0

    async def settle(self) -> None:
        """Come to rest, and look at everything."""
        await self.become_quiet()
        for side in self.sides:
            side.observe()
        for side in self.sides:
            side.check()
        for side in self.sides:
            for operation in side.operations:
                if not operation.running:
                    side.finished(operation)
            if side.sender is not None and not side.sender.running:
                side.sender = None
            if side.receiver is not None and not side.receiver.running:
                side.receiver = None
            side.others = [each for each in side.others if each.running]

    def unrest(self) -> str:
        """Why something should still happen."""
        return self.sides[0].is_quiet() or self.sides[1].is_quiet()

    @initialize(
        options=st.tuples(
            *[
                st.fixed_dictionaries(
                    {
                        "progress_interval": st.sampled_from([1, 100, 65536]),
                        "receive_buffer_limit": st.sampled_from([1, 2, 64, 1000]),
                        "send_buffer_limit": st.sampled_from([100, 2**26]),
                        "allow_half_close": st.sampled_from([None, True, False]),
                    }
                )
            ]
            * 2
        ),
        recorders=st.tuples(*[st.sampled_from(["none", "plain", "aborts", "reads"])] * 2),
    )
    def start(self, options: tuple[dict[str, Any], ...], recorders: tuple[str, ...]) -> None:
        """Connect."""
        self.run = GuestRun(self.clock())
        self.run.call(self._start, options, recorders)

    async def _start(self, options: tuple[dict[str, Any], ...], kinds: tuple[str, ...]) -> None:
        recorders = [
            EventRecorder(abort_after=1000 if kind == "aborts" else None)
            if kind != "none"
            else None
            for kind in kinds
        ]
        for each, recorder in zip(options, recorders, strict=True):
            each["handler"] = recorder
            each["progress_interval"] *= self.chunk
        await self.stack.__aenter__()
        pair = self.pair(left=options[0], right=options[1])
        left, right = await self.stack.enter_async_context(pair)
        self.nursery = await self.stack.enter_async_context(trio.open_nursery())
        self.sides = (
            Side(left, recorders[0], kinds[0] == "aborts"),
            Side(right, recorders[1], kinds[1] == "aborts"),
        )
        left_side, right_side = self.sides
        left_side.peer, right_side.peer = right_side, left_side
        for side in self.sides:
            side.life.largest_interval = side.sock.progress_interval
            side.life.allowed_buffer = side.sock.receive_buffer_limit
        await self.settle()

    def teardown(self) -> None:
        """Let everything that can still arrive arrive, close, and look at the books."""
        if self.run is None:
            return
        try:
            if hasattr(self, "sides") and not self.failed:
                self.run.call(self._end_gracefully)
        finally:
            self.run.call(self._stop)
            self.run.close()

    async def _end_gracefully(self) -> None:
        await self.settle()
        while running := self.running():
            await self._cancel(*running[0])
            await self.settle()
        for side in self.sides:
            with trio.fail_after(PATIENCE):
                await self._close_while_peer_reads(side)
        await self._end_lives()

    async def _close_while_peer_reads(self, side: Side) -> None:
        peer = side.peer
        peer.sock.receive_buffer_limit = 2**20
        if side.sock.is_connected and not side.aborts:  # which is seen only while all is still
            side.sock.send_buffer_limit = 2**26
            await self._write(side, self.largest)
        for each in self.sides:
            each.observe()
        to_be_sent = len(side.life.wire) + side.left
        graceful = side.sock.is_connected and not (side.aborts or side.life.abrupt)
        peer_reads = peer.sock.state is SocketState.CONNECTED and peer.sock.last_error is None
        async with trio.open_nursery() as nursery:
            if peer_reads:
                nursery.start_soon(self._drain, peer)
            side.life.closed_by_us = True
            await side.sock.aclose()
        side.observe()
        if graceful and peer_reads:
            assert len(side.life.wire) == to_be_sent, "aclose() sends the queue"
            assert peer.life.taken == len(side.life.wire), "what was sent arrives"

    async def _drain(self, side: Side) -> None:
        try:
            async for data in side.sock:
                side.peer.observe()
                side.take(data)
        except LostConnectionError:
            assert side.peer.life.closed_by_us

    async def _end_lives(self) -> None:
        for side in self.sides:
            side.observe()
        for side in self.sides:
            side.check()
            side.end_life()

    async def _stop(self) -> None:
        if hasattr(self, "nursery"):
            self.nursery.cancel_scope.cancel("the machine has stopped")
        await self.stack.aclose()

    def pick(self, index: int, wanted: Callable[[Side], object]) -> Side:
        """The side of that number, or the other one if only that is as wanted."""
        side = self.sides[index]
        return side.peer if wanted(side.peer) and not wanted(side) else side

    # Sending

    @rule(index=either, size=sizes, wait=st.booleans(), anyway=rarely)
    def send(self, index: int, size: int, wait: bool, anyway: bool) -> None:
        side = self.pick(index, lambda side: anyway or side.sock.is_connected)
        self.call(self._send_all if wait else self._write, side, size)

    @rule(index=either, wait=st.booleans())
    def fill(self, index: int, wait: bool) -> None:
        side = self.pick(index, lambda side: side.sock.is_connected and not side.sender)
        self.call(self._send_all if wait else self._write, side, self.largest)

    async def _write(self, side: Side, size: int) -> None:
        sock, data = side.sock, side.next_bytes(size)
        connected = sock.is_connected
        counted = sum(len(item.data) for item in side.life.queue if item.operation is None)
        if connected and data and counted + size > sock.send_buffer_limit:
            with pytest.raises(OutOfMemoryError):
                sock.write(data)
        elif connected:
            if data:
                side.queue(data)
            sock.write(data)
        else:
            wanted: list[type[Exception]] = [LostConnectionError]
            if side.life.closed_by_us:
                wanted = [SocketClosedError]
            elif side.life.wrote_eof:  # and the connection may be lost as well
                wanted.append(SocketClosedError)
            with pytest.raises(tuple(wanted)):
                sock.write(data)

    async def _send_all(self, side: Side, size: int) -> None:
        data = bytearray(side.next_bytes(size))

        async def call() -> None:
            if side.sock.is_connected and not busy:
                side.queue(bytes(data), operation)
            try:
                await side.sock.send_all(data)
            finally:
                data.extend(b"unlocked")

        busy = side.sender is not None
        operation = Operation("send_all", call)
        await self._start_sender(side, operation)

    async def _send_eof(self, side: Side) -> None:
        async def call() -> None:
            if side.sock.is_connected and not busy:
                side.life.wrote_eof = True
            await side.sock.send_eof()

        busy = side.sender is not None
        await self._start_sender(side, Operation("send_eof", call))

    async def _start_sender(self, side: Side, operation: Operation) -> None:
        """Start a call that excludes others of its kind."""
        busy = side.sender is not None
        if not busy:
            side.sender = operation
        await self._start_operation(operation, busy)

    async def _start_operation(self, operation: Operation, busy: bool) -> None:
        self.nursery.start_soon(operation.run)
        if busy:
            await trio.testing.wait_all_tasks_blocked()
            assert isinstance(operation.error, trio.BusyResourceError)

    @rule(index=either, count=st.integers(1, 3))
    def flush(self, index: int, count: int) -> None:
        side = self.pick(index, lambda side: side.sock.bytes_left_to_send)
        self.call(self._flush, side, count)

    async def _flush(self, side: Side, count: int) -> None:
        for _ in range(count):
            operation = Operation("flush", side.sock.flush)
            side.others.append(operation)
            await self._start_operation(operation, busy=False)

    @rule(index=either)
    def abort_send(self, index: int) -> None:
        self.call(self._abort_send, self.pick(index, lambda side: side.sock.bytes_left_to_send))

    async def _abort_send(self, side: Side) -> None:
        side.drop_queue()
        side.sock.abort_send()
        assert side.sock.bytes_left_to_send == 0

    # Receiving

    @rule(index=either, count=sizes, how=st.sampled_from(["read", "read_all", "purge"]))
    def read(self, index: int, count: int, how: str) -> None:
        side = self.pick(index, lambda side: side.sock.bytes_available)
        self.call(self._read, side, count, how)

    async def _read(self, side: Side, count: int, how: str) -> None:
        sock = side.sock
        before = sock.lookahead()
        if how == "read":
            data = sock.read(count)
            assert data == before[:count]
        elif how == "read_all":
            data = sock.read_all()
            assert data == before
        else:
            data = before
            sock.purge()
        side.take(data)
        if how != "read":
            assert sock.end_of_file
            side.life.announced = side.arrived

    @rule(index=either, pieces=st.integers(2, 20))
    def read_on(self, index: int, pieces: int) -> None:
        side = self.pick(index, lambda side: side.peer.sock.bytes_left_to_send)
        self.call(self._read_on, side, pieces)

    async def _read_on(self, side: Side, pieces: int) -> None:
        for _ in range(pieces):
            await self._read(side, 0, "read_all")
            await self.become_quiet()
            side.peer.observe()

    @rule(
        index=either,
        count=st.integers(0, 2000),
        how=st.sampled_from(["some", "at most", "exactly", "until"]),
    )
    def receive(self, index: int, count: int, how: str) -> None:
        side = self.pick(index, lambda side: not side.has_ended and not side.receiver)
        self.call(self._receive, side, count, how)

    async def _receive(self, side: Side, count: int, how: str) -> None:
        sock = side.sock
        call: Callable[[], Awaitable[bytes]]
        if how == "exactly":
            call, limit = (lambda: sock.receive_exactly(count)), count
        elif how == "until":
            call, limit = (lambda: sock.receive_until(SEPARATOR, count)), count + len(SEPARATOR)
        else:
            most = None if how == "some" else count + 1
            call, limit = (lambda: sock.receive_some(most)), 1

        def needs_more(buffer: bytes) -> bool:
            return len(buffer) < limit and not (how == "until" and SEPARATOR in buffer)

        def judge(data: bytes) -> None:
            side.peer.observe()
            if how == "exactly":
                assert len(data) == count
            elif how == "until":
                assert len(data) <= count
                assert SEPARATOR not in data
                data += SEPARATOR
            else:
                assert data or side.peer.has_ended_output
                assert how == "some" or len(data) <= count + 1
            side.take(data)

        operation = Operation("receive", call, limit=limit, needs=needs_more, on_value=judge)
        busy = side.receiver is not None
        if not busy:
            side.receiver = operation
        await self._start_operation(operation, busy)

    # Cancelling

    @rule(index=st.integers(0, 5))
    def cancel(self, index: int) -> None:
        if running := self.running():
            self.call(self._cancel, *running[index % len(running)])

    def running(self) -> list[tuple[Side, Operation]]:
        """The operations that wait."""
        return [
            (side, operation)
            for side in getattr(self, "sides", ())
            for operation in side.operations
            if operation.running
        ]

    async def _cancel(self, side: Side, operation: Operation) -> None:
        if not operation.running:  # any more
            return
        side.observe()
        before = side.sock.lookahead()
        operation.scope.cancel("a rule")
        removed = side.remove(operation)
        if operation.kind in ("aclose", "disconnect"):
            side.life.abrupt = True
            side.drop_queue()
        with trio.fail_after(PATIENCE):
            await operation.ended.wait()
        assert operation.cancelled
        if operation.kind == "send_all":
            assert removed, "cancelled, although all of it went out"
        if operation is side.receiver:
            assert side.sock.lookahead().startswith(before)

    # Events, options, time

    @rule(index=either, count=st.integers(1, 12))
    def read_channel(self, index: int, count: int) -> None:
        self.sides[index].read_channel(count)

    @rule(
        index=either,
        receive=st.sampled_from([1, 3, 100, 2**20]),
        send=st.sampled_from([1, 1000, 2**26]),
        interval=st.sampled_from([1, 10, 65536]),
    )
    def change_options(self, index: int, receive: int, send: int, interval: int) -> None:
        self.call(self._change_options, self.sides[index], receive, send, interval)

    async def _change_options(self, side: Side, receive: int, send: int, interval: int) -> None:
        sock = side.sock
        sock.receive_buffer_limit = receive
        sock.send_buffer_limit = send
        sock.progress_interval = interval * self.chunk
        side.life.largest_interval = max(sock.progress_interval, side.life.largest_interval)

    @rule(index=either)
    def poll(self, index: int) -> None:
        self.call(self.sides[index].sock.poll)

    @rule()
    def let_time_pass(self) -> None:
        self.call(trio.sleep, 2 * GRACE)

    # Ends

    @rule(
        index=either,
        how=st.sampled_from(["send_eof", "send_eof", "close", "aclose", "aclose", "disconnect"]),
        now=rarely,
    )
    def end(self, index: int, how: str, now: bool) -> None:
        if how == "send_eof":
            side = self.pick(index, lambda side: side.sock.bytes_left_to_send and not side.sender)
            self.call(self._send_eof, side)
            return
        side = self.pick(index, lambda side: side.sock.is_connected)
        if not now:
            return
        if how == "close":
            self.call(self._close, side)
        else:
            self.call(self._aclose, side, how)

    async def _close(self, side: Side) -> None:
        side.life.abrupt = side.life.abrupt or not side.is_closed
        side.life.closed_by_us = True
        side.sock.close()
        side.drop_queue()

    async def _aclose(self, side: Side, how: str) -> None:
        async def call() -> None:
            began = trio.current_time()
            close = side.sock.disconnect if how == "disconnect" else side.sock.aclose
            await close(GRACE)
            in_time = trio.current_time() < began + GRACE
            side.life.abrupt = side.life.abrupt or not in_time
            peer = side.peer
            if was_connected and in_time and peer.sock.bytes_sent == peer.life.queued:
                side.life.peer_had_queued = peer.life.queued

        was_connected = side.sock.is_connected
        operation = Operation(how, call)
        side.life.closed_by_us = True
        side.others.append(operation)
        await self._start_operation(operation, busy=False)

    async def _reconnect(self) -> None:
        await self._end_lives()
        await self.link_again()
        for side in self.sides:
            side.begin_life()
        self.calls_after_the_end = 0

    @invariant()
    def handlers_are_not_nested(self) -> None:
        for side in getattr(self, "sides", ()):
            assert side.recorder is None or side.recorder.depth <= 1


class LoopbackMachine(SocketMachine):
    """Two sockets over loopback."""

    largest = 100_000
    chunk = 500

    def pair(self, **options: Any) -> Any:
        return socket_pair(**options)

    async def link_again(self) -> None:
        left, right = (side.sock for side in self.sides)
        right.port = 0
        await right.listen()
        left.address, left.port = "127.0.0.1", right.port
        await left.connect()
        with trio.fail_after(PATIENCE):
            await until(lambda: right.is_connected)
        self.shrink_buffers()

    def shrink_buffers(self) -> None:
        for side in self.sides:
            shrink_send_buffer(side.sock)

    async def _start(self, options: Any, kinds: Any) -> None:
        await super()._start(options, kinds)
        self.shrink_buffers()

    async def become_quiet(self) -> None:
        with trio.move_on_after(PATIENCE):
            await trio.testing.wait_all_tasks_blocked(0.0003)
            while self.unrest():  # noqa: ASYNC110 - the kernel has no event for it
                await trio.sleep(0.001)
        assert not self.unrest(), self.unrest()


class MemoryMachine(SocketMachine):
    """Two sockets in memory; nothing is ever late."""

    capacity = 200
    largest = 5000
    chunk = 1

    def clock(self) -> trio.abc.Clock:
        return trio.testing.MockClock(autojump_threshold=0)

    def pair(self, **options: Any) -> Any:
        return memory_socket_pair(self.capacity, **options)

    async def link_again(self) -> None:
        for side, transport in zip(self.sides, memory_transports(self.capacity), strict=True):
            take_over(side.sock, transport)

    async def become_quiet(self) -> None:
        await trio.testing.wait_all_tasks_blocked()
        assert not self.unrest(), self.unrest()


def profile(examples: int, steps: int) -> settings:
    return settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )


@pytest.mark.slow
@pytest.mark.timeout(60)  # eight seconds, but for machines that are slow and busy as well
def test_in_memory() -> None:
    """Deterministic, with a clock that jumps."""
    run_state_machine_as_test(MemoryMachine, settings=profile(60, 40))


@pytest.mark.slow
@pytest.mark.timeout(60)
@pytest.mark.parametrize("mode", ["hub", "portable"])
def test_over_loopback(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the kernel, in both readiness modes."""
    monkeypatch.setenv("TRIO_XSOCK_READINESS", mode)
    run_state_machine_as_test(LoopbackMachine, settings=profile(20, 30))

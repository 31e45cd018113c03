"""The readiness hub: one set and one task for all, fair, exact, and gone in time."""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.support import RawPeer, raw_pair, until
from trio_xsock import Connected, DataAvailable, EventChannel, TCPSocket
from trio_xsock._network.transport import PlainTransport
from trio_xsock._platform.system import is_linux
from trio_xsock._runtime import epoll as _epoll
from trio_xsock._runtime.epoll import EpollHub, EpollWatch
from trio_xsock._runtime.guard import Parking, Wakeups
from trio_xsock._runtime.steps import StepPair

pytestmark = pytest.mark.skipif(not is_linux(), reason="epoll is Linux's")

ROOT = Path(__file__).resolve().parents[2]
NAME = "trio_xsock readiness hub"


@pytest.fixture(autouse=True)
def hub_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the tests run with the portable readiness."""
    monkeypatch.delenv("TRIO_XSOCK_READINESS", raising=False)


def hub_tasks() -> int:
    """How many hubs are running."""
    root = trio.lowlevel.current_root_task()
    assert root is not None
    names = [task.name for nursery in root.child_nurseries for task in nursery.child_tasks]
    return names.count(NAME)


def epoll_sets() -> int:
    """How many epoll sets the process has."""
    links = []
    for name in os.listdir("/proc/self/fd"):
        try:
            links.append(os.readlink(f"/proc/self/fd/{name}"))
        except FileNotFoundError:  # the one of listdir itself
            pass
    return links.count("anon_inode:[eventpoll]")


async def socket_on(nursery: trio.Nursery, **options: Any) -> tuple[TCPSocket, RawPeer]:
    """A connected socket in a task of its own, and its peer."""
    ours, peer = raw_pair()
    return await nursery.start(TCPSocket.from_socket(ours, **options).run), peer


def ignore() -> None:
    """A step that is not called, or does nothing."""


def refuse(error: BaseException) -> None:
    """Nothing fails."""
    raise AssertionError("a step failed") from error


class Failing(NamedTuple):
    """A keeper, as far as watches know of it."""

    fault: Callable[[BaseException], object]


NOBODY = Failing(refuse)


def watch(
    hub: EpollHub,
    sock: socket.socket,
    read_step: Callable[[], None] = ignore,
    write_step: Callable[[], None] = ignore,
    failed: Callable[[BaseException], None] = refuse,
) -> EpollWatch:
    """A watch in the hub that wants nothing yet."""
    return hub.watch(sock, StepPair(read_step, write_step), Failing(failed))


def hub_with(epoll: Any, watches: dict[int, EpollWatch]) -> EpollHub:
    """A hub without a task."""
    hub = EpollHub(_epoll._Place(), epoll)
    hub._watches = watches
    return hub


# Life of the hub


async def test_there_is_one_set_and_one_task_for_all_sockets() -> None:
    """However many there are; with the last block both are gone when it has been left."""
    before = epoll_sets()
    async with trio.open_nursery() as nursery:
        pairs = [await socket_on(nursery) for _ in range(20)]
        assert (hub_tasks(), epoll_sets()) == (1, before + 1)
        for sock, peer in pairs[:-1]:
            peer.close()
            sock.close()
        await wait_all_tasks_blocked()
        assert (hub_tasks(), epoll_sets()) == (1, before + 1)
        sock, peer = pairs[-1]
        peer.close()
        sock.close()
    assert (hub_tasks(), epoll_sets()) == (0, before)


async def test_the_next_socket_gets_a_new_hub() -> None:
    """The run goes on, with and without."""
    for _ in range(3):
        ours, peer = raw_pair()
        with peer:
            async with TCPSocket.from_socket(ours) as sock:
                assert hub_tasks() == 1
                await peer.send(b"hello")
                assert await sock.receive_exactly(5) == b"hello"
        assert hub_tasks() == 0


async def test_a_block_without_a_connection_needs_no_hub() -> None:
    """It is made at first use."""
    async with TCPSocket():
        assert hub_tasks() == 0


async def test_a_cancelled_block_leaves_no_hub() -> None:
    """Ending the hub is waited for even then."""
    ours, peer = raw_pair()
    with peer, trio.CancelScope() as scope:
        async with TCPSocket.from_socket(ours) as sock:
            scope.cancel("enough")
            await sock.receive_some()
    assert scope.cancelled_caught
    assert hub_tasks() == 0


def test_each_run_has_its_own() -> None:
    """Runs follow one another, and the hub of one is not taken for the next one's."""

    async def main() -> None:
        ours, peer = raw_pair()
        with peer:
            async with TCPSocket.from_socket(ours) as sock:
                await peer.send(b"x")
                assert await sock.receive_some() == b"x"

    trio.run(main)
    trio.run(main)


def test_a_run_may_end_before_its_sockets_do() -> None:
    """Sockets of system tasks are closed when the hub may be gone already."""
    program = """if True:
        import socket, trio
        from trio_xsock import Connected, DataAvailable, EventChannel, TCPSocket

        async def hold(ours, ready):
            sock = TCPSocket.from_socket(ours)
            try:
                async with sock:
                    sock.write(b"hello")
                    ready.set()
                    await trio.sleep_forever()
            finally:
                print("closed", sock.handle)

        async def main():
            ready = trio.Event()
            trio.lowlevel.spawn_system_task(hold, ours, ready)
            await ready.wait()

        ours, theirs = socket.socketpair()
        trio.run(main)
        print(theirs.recv(100), theirs.recv(100))
        theirs.close()
    """
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", program]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=15)
    assert (result.stdout, result.stderr) == ("closed -1\nb'hello' b''\n", "")


@pytest.mark.parametrize("reason", ["environment", "clock", "descriptors"])
def test_everything_works_without(reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Switched off, under another clock, or with no descriptor left for the set."""

    def no_descriptor() -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    async def main() -> None:
        if reason == "descriptors":
            monkeypatch.setattr(select, "epoll", no_descriptor)
        ours, peer = raw_pair()
        with peer:
            async with TCPSocket.from_socket(ours) as sock:
                assert hub_tasks() == 0
                await peer.send(b"hello")
                assert await sock.receive_exactly(5) == b"hello"
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(sock.send_all, bytes(1_000_000))
                    assert await peer.recv_exactly(1_000_000) == bytes(1_000_000)

    if reason == "environment":
        monkeypatch.setenv("TRIO_XSOCK_READINESS", "portable")
    trio.run(main, clock=MockClock() if reason == "clock" else None)


# Failures


async def test_a_failing_handler_ends_its_own_socket_only() -> None:
    """Both have input in the same batch; the one goes on, the other's block raises."""

    class Failing:
        def on_data_available(self, sock: TCPSocket) -> None:
            raise error

    class Echoing:
        def on_data_available(self, sock: TCPSocket) -> None:
            sock.write(sock.read_all())

    error = ZeroDivisionError("of the handler")
    async with trio.open_nursery() as nursery:
        good = [await socket_on(nursery, handler=Echoing())]
        ours, bad_peer = raw_pair()
        with pytest.raises(ZeroDivisionError) as caught:
            async with TCPSocket.from_socket(ours, handler=Failing()):
                good.append(await socket_on(nursery, handler=Echoing()))
                for peer in (good[0][1], bad_peer, good[1][1]):
                    peer.send_nowait(b"hello")
                await trio.sleep_forever()
        assert caught.value is error
        for sock, peer in good:
            assert await peer.recv_exactly(5) == b"hello"
            assert sock.is_connected
            peer.close()
        assert await bad_peer.recv_some() == b""
        bad_peer.close()
        for sock, _ in good:
            sock.close()


async def test_whatever_a_step_raises_concerns_its_own_socket_only() -> None:
    """No memory for a read, say: the keeper of that socket hears of it, the hub goes on."""
    failures: list[BaseException] = []
    received: list[bytes] = []
    hub = EpollHub.join()
    pairs = [raw_pair() for _ in range(3)]
    watches: list[EpollWatch] = []

    def failing() -> None:
        pairs[1][0].recv(100)
        raise error

    def read(index: int) -> Callable[[], None]:
        return lambda: received.append(pairs[index][0].recv(100))

    error = MemoryError()
    for index, (ours, _) in enumerate(pairs):
        step = failing if index == 1 else read(index)
        watches.append(watch(hub, ours, step, failed=failures.append))
        watches[-1].reading(True)
    for _, peer in pairs:
        peer.send_nowait(b"hello")
    await wait_all_tasks_blocked()
    assert received == [b"hello", b"hello"]
    assert failures == [error]
    for each, (ours, peer) in zip(watches, pairs, strict=True):
        each.close()
        ours.close()
        peer.close()
    await hub.leave()


async def test_a_step_that_raises_ends_its_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    """The block raises what the step raised, as itself."""
    error = MemoryError()

    def recv(_sock: socket.socket, _count: int, _flags: int = 0) -> bytes:
        raise error

    monkeypatch.setattr(PlainTransport, "recv", recv)
    ours, peer = raw_pair()
    with peer:
        with pytest.raises(MemoryError) as caught:
            async with TCPSocket.from_socket(ours, events=EventChannel()):
                await peer.send(b"hello")
                await trio.sleep_forever()
        assert caught.value is error
        assert hub_tasks() == 0


def test_ctrl_c_reaches_a_handler() -> None:
    """It interrupts the handler where it is, and leaves the block as itself."""
    reached: list[str] = []

    class Handler:
        def on_data_available(self, sock: TCPSocket) -> None:
            reached.append("before")
            signal.raise_signal(signal.SIGINT)
            reached.append("after")  # pragma: no cover

    async def main() -> None:
        ours, peer = raw_pair()
        with peer:
            with pytest.raises(KeyboardInterrupt):
                async with TCPSocket.from_socket(ours, handler=Handler()):
                    await peer.send(b"hello")
                    await trio.sleep_forever()
            assert hub_tasks() == 0

    trio.run(main)
    assert reached == ["before"]


def test_ctrl_c_waits_until_a_step_is_done() -> None:
    """The books of a socket are never left half written."""
    done: list[str] = []

    async def main() -> None:
        hub = EpollHub.join()
        ours, peer = raw_pair()
        with ours, peer:

            @trio.lowlevel.enable_ki_protection
            def step() -> None:
                signal.raise_signal(signal.SIGINT)
                done.append("step")
                ours.recv(100)

            each = watch(hub, ours, step)
            each.reading(True)
            peer.send_nowait(b"x")
            try:
                with pytest.raises(KeyboardInterrupt):
                    await trio.sleep_forever()
                done.append("main")
            finally:
                each.close()
                await hub.leave()  # noqa: ASYNC102

    trio.run(main)
    assert done == ["step", "main"]


# Batches


async def test_an_event_is_for_the_socket_that_had_the_number() -> None:
    """Two are ready; the first step closes the second, whose number is used again at once."""
    hub = EpollHub.join()
    pairs = [raw_pair() for _ in range(2)]
    fresh: list[tuple[socket.socket, RawPeer]] = []
    watches: dict[int, EpollWatch] = {}
    events: list[str] = []

    def step(index: int) -> Callable[[], None]:
        def close_the_other() -> None:
            events.append("first")
            pairs[index][0].recv(100)
            other = 1 - index
            number = pairs[other][0].fileno()
            watches[other].close()
            pairs[other][0].close()
            while not fresh or fresh[-1][0].fileno() != number:
                fresh.append(raw_pair())
            watches[other] = watch(hub, fresh[-1][0], lambda: events.append("fresh"))
            watches[other].reading(True)
            watches[index].reading(False)

        return close_the_other

    for index, (ours, peer) in enumerate(pairs):
        watches[index] = watch(hub, ours, step(index))
        watches[index].reading(True)
        peer.send_nowait(b"hello")
    await wait_all_tasks_blocked()
    assert events == ["first"]  # and neither the closed one nor the new one
    last, last_peer = fresh[-1]
    last_peer.send_nowait(b"x")
    await until(lambda: len(events) > 1)
    last.recv(100)
    assert set(events[1:]) == {"fresh"}
    for each in watches.values():
        each.close()
    for ours, peer in pairs + fresh:
        ours.close()
        peer.close()
    await hub.leave()


async def test_a_busy_socket_leaves_the_other_tasks_their_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Half a millisecond of its steps at the most, then everybody else is asked."""
    now = 0.0
    calls: list[float] = []

    def never_done() -> None:
        nonlocal now
        calls.append(now)
        now += 0.0002

    def clock() -> float:
        nonlocal now
        now += 1e-7
        return now

    monkeypatch.setattr(_epoll, "perf_counter", clock)
    hub = EpollHub.join()
    ours, peer = raw_pair()
    with ours, peer:
        each = watch(hub, ours, never_done)
        each.reading(True)
        peer.send_nowait(b"x")
        await until(lambda: calls)
        growth: list[int] = []
        for _ in range(100):
            before = len(calls)
            await trio.lowlevel.checkpoint()
            growth.append(len(calls) - before)
        each.close()
        await hub.leave()
    # 0.2, 0.4 and 0.6 ms, each time; Trio picks who is first, so two may come in a row.
    assert max(growth) <= 6
    assert 290 <= sum(growth) <= 310


async def test_every_ready_socket_is_served_in_each_batch() -> None:
    """Also where there are more than one look at the set tells of."""
    hub = EpollHub.join()
    count = _epoll._EVENTS_PER_BATCH + 44
    pairs = [socket.socketpair() for _ in range(count)]
    served = [0] * count
    watches = []

    def step(index: int) -> Callable[[], None]:
        def read() -> None:
            served[index] += 1
            pairs[index][0].recv(1)  # there is more

        return read

    for index, (ours, theirs) in enumerate(pairs):
        theirs.send(b"abc")
        watches.append(watch(hub, ours, step(index)))
        watches[-1].reading(True)
    await until(lambda: min(served) >= 1)
    assert max(served) <= 3
    await until(lambda: served == [3] * count)
    for each, (ours, theirs) in zip(watches, pairs, strict=True):
        each.close()
        ours.close()
        theirs.close()
    await hub.leave()


# One more look after each batch


class Script:
    """An epoll set whose answers are made up: how many sockets are ready, look by look."""

    closed = False

    def __init__(self, *looks: int) -> None:
        self.looks = list(looks)

    def poll(self, timeout: float, most: int) -> list[tuple[int, int]]:
        assert timeout == 0
        assert most == _epoll._EVENTS_PER_BATCH
        ready = self.looks.pop(0) if self.looks else 0
        return [(7, select.EPOLLIN)] * ready


class Bench:
    """A hub with made up answers, without a task, on a clock that the test moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.steps = 0
        self.step_seconds = 0.0
        self.wakes = False
        monkeypatch.setattr(_epoll, "perf_counter", self._clock)
        self.wakeups = Wakeups()
        monkeypatch.setattr(_epoll, "WAKEUPS", self.wakeups)

    def _clock(self) -> float:
        self.now += 0.00001
        return self.now

    def _step(self) -> None:
        self.steps += 1
        self.now += self.step_seconds
        if self.wakes:
            self.wakeups.woken += 1

    def answer(self, *looks: int) -> Any:
        epoll: Any = Script(*looks)
        self.use(epoll)
        return epoll

    def use(self, epoll: Any) -> None:
        watches: dict[int, EpollWatch] = {}
        self.hub = hub_with(epoll, watches)
        watches[7] = each = EpollWatch(self.hub, 7, StepPair(self._step, ignore), NOBODY)
        each.mask = 1

    def dispatch(self, *looks: int) -> bool:
        epoll = self.answer(*looks)
        more = self.hub._dispatch()
        assert not epoll.looks, "all was asked for"
        return more


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A hub to be dispatched by hand."""
    return Bench(monkeypatch)


def test_what_is_ready_is_served_until_nothing_is(bench: Bench) -> None:
    """After each batch there is one more look."""
    assert not bench.dispatch(2, 1, 1, 0)
    assert bench.steps == 4


def test_nobody_looks_twice_in_vain(bench: Bench) -> None:
    """Where nothing is ready the task waits."""
    epoll = bench.answer(0, 1)
    assert not bench.hub._dispatch()
    assert epoll.looks == [1]


def test_who_was_woken_goes_first(bench: Bench) -> None:
    """What else is ready is served when that task has run."""
    bench.wakes = True
    epoll = bench.answer(1, 1)
    assert not bench.hub._dispatch()
    assert epoll.looks == [1]
    assert bench.steps == 1


def test_a_consumer_that_is_about_to_wait_has_one_batch_served(bench: Bench) -> None:
    """It asks once, and never waits."""
    epoll = bench.answer(2, 1)
    bench.hub.serve_once()
    assert bench.steps == 2
    assert epoll.looks == [1]


def test_nothing_is_served_when_the_run_is_about_to_end(bench: Bench) -> None:
    """The set is closed then."""
    bench.answer(1).closed = True
    bench.hub.serve_once()
    assert bench.steps == 0


async def test_what_is_ready_is_served_in_the_hub_of_the_run() -> None:
    """Unless there is none, or another task was woken before."""
    _epoll.serve_what_is_ready()  # there never was a hub
    log: list[str] = []
    hub = EpollHub.join()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_epoll, "WAKEUPS", wakeups := Wakeups())
        patch.setattr(hub, "_epoll", Logged(log, 0))
        wakeups.woken = 1
        _epoll.serve_what_is_ready()
        assert log == []
        wakeups.resumed = 1
        _epoll.serve_what_is_ready()
        assert log == ["serve"]
    await hub.leave()
    _epoll.serve_what_is_ready()  # there is none any more


async def test_a_consumer_gets_what_has_arrived_without_parking() -> None:
    """The event of bytes that are in the OS already, in one checkpoint."""
    async with trio.open_nursery() as nursery:
        sock, peer = await socket_on(nursery)
        with peer:
            events = sock.subscribe()
            assert isinstance(await events.receive(), Connected)
            peer.sock.sendall(b"hello")
            with trio.testing.assert_checkpoints(), pytest.MonkeyPatch.context() as patch:
                patch.setattr(Parking, "park", None)  # to park would raise
                assert isinstance(await events.receive(), DataAvailable)
            assert sock.read_all() == b"hello"
            sock.close()


async def test_iteration_takes_what_has_arrived_without_a_checkpoint() -> None:
    """But only a few times in a row: then other tasks have their turn."""
    async with trio.open_nursery() as nursery:
        sock, peer = await socket_on(nursery)
        with peer:
            events = sock.subscribe()
            assert isinstance(await anext(events), Connected)
            peer.sock.sendall(b"hello")
            with trio.testing.assert_no_checkpoints():
                assert isinstance(await anext(events), DataAvailable)
            assert sock.read_all() == b"hello"
            turns = 0

            @nursery.start_soon
            async def take_turns() -> None:
                nonlocal turns
                while True:
                    await trio.lowlevel.checkpoint()
                    turns += 1

            for _ in range(50):
                peer.sock.sendall(b"x")
                assert isinstance(await anext(events), DataAvailable)
                assert sock.read_all() == b"x"
            assert turns >= 8
            sock.close()
            nursery.cancel_scope.cancel()


async def test_a_cancelled_consumer_has_nothing_served() -> None:
    """It could not take the event."""
    async with trio.open_nursery() as nursery:
        sock, peer = await socket_on(nursery)
        with peer:
            events = sock.subscribe()
            assert isinstance(await events.receive(), Connected)
            peer.sock.sendall(b"hello")
            with trio.move_on_after(0) as scope:
                await events.receive()
            assert scope.cancelled_caught
            assert isinstance(await events.receive(), DataAvailable)
            sock.close()


def test_a_slow_batch_is_the_last_one(bench: Bench) -> None:
    """Others get their turn, and the rest is looked for afterwards."""
    bench.step_seconds = 0.0003
    assert bench.dispatch(1, 1)
    assert bench.steps == 2


class Logged(Script):
    """One that also notes when it is looked at, and has a descriptor."""

    def __init__(self, log: list[str], *looks: int) -> None:
        super().__init__(*looks)
        self.log = log

    def fileno(self) -> int:
        return -1

    def poll(self, timeout: float, most: int) -> list[tuple[int, int]]:
        self.log.append("serve")
        return super().poll(timeout, most)


@pytest.mark.parametrize(
    ("looks", "woken", "expected"),
    [
        pytest.param([0, 0], 0, "wait serve wait serve wait", id="nothing more"),
        pytest.param([1, 1, 0], 0, "wait serve pass serve pass serve wait", id="time is up"),
        pytest.param([0, 0], 1, "wait pass serve wait pass serve wait", id="woken"),
    ],
)
async def test_others_have_their_turn_when_the_time_is_up(
    monkeypatch: pytest.MonkeyPatch, bench: Bench, looks: list[int], woken: int, expected: str
) -> None:
    """Then it goes on without waiting. A task that was woken has a turn before."""
    bench.step_seconds = 1.0
    bench.wakeups.woken = woken
    log: list[str] = []
    epoll = Logged(log, *looks)
    bench.use(epoll)

    async def wait(_: object) -> None:
        log.append("wait")
        if not epoll.looks:
            raise trio.EndOfChannel
        await trio.lowlevel.cancel_shielded_checkpoint()

    async def checkpoint() -> None:
        log.append("pass")
        await trio.lowlevel.cancel_shielded_checkpoint()

    monkeypatch.setattr(trio.lowlevel, "wait_readable", wait)
    monkeypatch.setattr(trio.lowlevel, "checkpoint", checkpoint)
    with pytest.raises(trio.EndOfChannel):
        await bench.hub._serve()
    assert " ".join(log) == expected


# Watches


async def test_the_set_knows_a_socket_only_while_something_is_wanted() -> None:
    """It is told of each change once, and asked for nothing more."""
    told: list[tuple[Any, ...]] = []

    class Set:
        closed = False

        def register(self, fileno: int, mask: int) -> None:
            told.append(("register", mask))

        def modify(self, fileno: int, mask: int) -> None:
            told.append(("modify", mask))

        def unregister(self, fileno: int) -> None:
            told.append(("unregister",))

    watches: dict[int, EpollWatch] = {}
    each = EpollWatch(hub_with(Set(), watches), 7, StepPair(ignore, ignore), NOBODY)
    watches[7] = each
    each.reading(False)
    assert told == []
    each.reading(True)
    each.reading(True)
    each.writing(True)
    each.reading(False)
    each.writing(False)
    assert told == [
        ("register", select.EPOLLIN),
        ("modify", select.EPOLLIN | select.EPOLLOUT),
        ("modify", select.EPOLLOUT),
        ("unregister",),
    ]
    each.writing(True)
    told.clear()
    each.close()
    each.close()
    assert told == [("unregister",)]
    assert watches == {}


async def test_a_paused_reader_whose_peer_is_gone_does_not_spin() -> None:
    """Hang-ups are reported for ever to who is in the set, whatever was asked for."""
    steps: list[str] = []
    hub = EpollHub.join()
    ours, peer = raw_pair()
    with ours, peer:
        each = watch(hub, ours, lambda: steps.append("read"), lambda: steps.append("write"))
        each.reading(True)
        each.reading(False)
        peer.reset()
        await wait_all_tasks_blocked(0.01)
        assert steps == []
        each.writing(True)
        await until(lambda: steps)
        each.writing(False)
        assert set(steps) == {"write"}
        each.close()
    await hub.leave()


@pytest.mark.parametrize(
    ("wanted", "mask", "called"),
    [
        ("r", select.EPOLLIN, "r"),
        ("r", select.EPOLLOUT, ""),
        ("w", select.EPOLLIN, ""),
        ("w", select.EPOLLOUT, "w"),
        ("rw", select.EPOLLIN, "r"),
        ("rw", select.EPOLLOUT, "w"),
        ("rw", select.EPOLLIN | select.EPOLLOUT, "rw"),
        ("r", select.EPOLLHUP, "r"),
        ("w", select.EPOLLERR, "w"),
        ("rw", select.EPOLLERR | select.EPOLLHUP, "rw"),
        ("", select.EPOLLERR | select.EPOLLHUP | select.EPOLLIN | select.EPOLLOUT, ""),
    ],
)
def test_the_steps_that_are_wanted_and_due_are_called(wanted: str, mask: int, called: str) -> None:
    """Errors and hang-ups are for both."""
    steps: list[str] = []
    left, right = socket.socketpair()
    with left, right, select.epoll() as epoll:
        pair = StepPair(lambda: steps.append("r"), lambda: steps.append("w"))
        each = EpollWatch(hub_with(epoll, {}), left.fileno(), pair, NOBODY)
        each.reading("r" in wanted)
        each.writing("w" in wanted)
        each.dispatch(mask)
    assert "".join(steps) == called


async def test_a_step_may_close_the_watch() -> None:
    """Then the other step is not called any more, though both were due."""
    steps: list[str] = []
    hub = EpollHub.join()
    ours, peer = raw_pair()
    with ours, peer:

        def read() -> None:
            steps.append("read")
            each.close()

        each = watch(hub, ours, read, lambda: steps.append("write"))
        peer.send_nowait(b"x")
        await until(lambda: select.select([ours], [], [], 0)[0])
        each.reading(True)
        each.writing(True)
        await wait_all_tasks_blocked()
    assert steps == ["read"]
    await hub.leave()


async def test_a_parked_hub_is_a_blocked_task() -> None:
    """Trio's ``wait_all_tasks_blocked`` means with it what it means without."""
    async with trio.open_nursery() as nursery:
        sock, peer = await socket_on(nursery)
        await wait_all_tasks_blocked()
        await peer.send(b"hello")
        await wait_all_tasks_blocked()
        assert sock.read_all() == b"hello"
        peer.close()
        sock.close()


# Hang-ups


async def test_a_hang_up_is_reported_once_while_nobody_reads() -> None:
    """Input is nobody's matter; the reset is, and it does not make the task spin."""
    hub = EpollHub.join()
    ours, peer = raw_pair()
    with ours, peer:
        steps: list[str] = []
        each = watch(hub, ours, lambda: steps.append("step"))
        assert each.report_hang_up()
        peer.send_nowait(b"x")
        await wait_all_tasks_blocked()
        assert steps == []
        peer.reset()
        await until(lambda: steps)
        await wait_all_tasks_blocked(0.01)
        assert steps == ["step"]
        assert each.mask == 0
        each.close()
        await hub.leave()


async def test_the_step_of_a_hang_up_may_ask_for_input() -> None:
    """It is called again, then, as for any reader."""
    hub = EpollHub.join()
    ours, peer = raw_pair()
    with ours, peer:
        steps: list[str] = []

        def step() -> None:
            steps.append("step")
            each.reading(len(steps) < 3)

        each = watch(hub, ours, step)
        each.report_hang_up()
        peer.reset()
        await until(lambda: len(steps) == 3)
        await wait_all_tasks_blocked(0.01)
        assert len(steps) == 3
        each.close()
        await hub.leave()


async def test_who_reads_needs_no_report_of_a_hang_up() -> None:
    """The read step is called anyway; asking for both changes nothing."""
    hub = EpollHub.join()
    ours, peer = raw_pair()
    with ours, peer:
        each = watch(hub, ours, lambda: each.reading(False))
        each.report_hang_up()
        each.reading(True)
        assert each.report_hang_up()
        assert each.mask == 1
        peer.reset()
        await until(lambda: not each.mask)
        each.close()
        await hub.leave()

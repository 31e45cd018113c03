"""Watches, the portable one and the hub's: the same tests for both.

Steps read and write raw sockets; there is no socket of the library here.
"""

from __future__ import annotations

import functools
import gc
import math
import os
import socket
import sys
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import cast

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.support import RawPeer, raw_pair, until
from tests.support.tls import credentials
from trio_xsock._machines.tls import TLSEngine
from trio_xsock._network.tls_transport import TLSTransport
from trio_xsock._network.transport import Transport
from trio_xsock._platform.system import is_linux
from trio_xsock._runtime import readiness as _readiness
from trio_xsock._runtime.keeper import Keeper
from trio_xsock._runtime.readiness import PortableWatch, Watch, release_readiness, watch_socket
from trio_xsock._runtime.steps import StepPair


@pytest.fixture(params=["hub", "portable"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Which kind of watch a test uses; every test runs with both."""
    kind: str = request.param
    if kind == "portable":
        monkeypatch.setenv("TRIO_XSOCK_READINESS", "portable")
    elif not is_linux():  # pragma: no cover
        pytest.skip("only Linux has the readiness hub")
    else:
        monkeypatch.delenv("TRIO_XSOCK_READINESS", raising=False)
    return kind


class Reader:
    """A socket that notes what its steps did."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.watch: Watch | None = None
        self.received: list[bytes | str] = []
        self.writable = 0
        self.after_read: Callable[[], object] = lambda: None
        self.after_write: Callable[[], object] | None = None

    def on_readable(self) -> None:
        """Take in at most four bytes."""
        try:
            data = self.sock.recv(4)
        except BlockingIOError:  # pragma: no cover
            self.received.append("nothing there")
            return
        except OSError as exc:
            self.received.append(type(exc).__name__)
            data = b""
        else:
            self.received.append(data)
        if not data and self.watch is not None:
            self.watch.reading(False)
        self.after_read()

    def on_writable(self) -> None:
        """Count, and by default want no more."""
        self.writable += 1
        if self.after_write is not None:
            self.after_write()
        elif self.watch is not None:
            self.watch.writing(False)

    def fill(self) -> None:
        """Send until the OS takes no more."""
        try:
            while True:
                self.sock.send(b"x" * 4096)
        except BlockingIOError:
            pass


class Idle:
    """Whom a keeper is for who has nothing to do."""

    def _work(self) -> float:
        return math.inf  # pragma: no cover

    def _contain(self, error: Exception) -> bool:
        return False

    def _handle_failure(self) -> None:
        """What failed is looked for in the keeper."""


@asynccontextmanager
async def keeping() -> AsyncIterator[Keeper]:
    """A block, as far as watches know of it."""
    owner = Idle()
    async with trio.open_nursery() as nursery:
        keeper = Keeper(nursery, owner)
        try:
            yield keeper
        finally:
            await keeper.finish()  # noqa: ASYNC102 - both shield themselves
            await release_readiness(keeper)  # noqa: ASYNC102
            assert not nursery.child_tasks


@asynccontextmanager
async def watched(keeper: Keeper, *, small: bool = False) -> AsyncIterator[tuple[Reader, RawPeer]]:
    """A watched socket and its peer; closed in the right order at the end."""
    ours, peer = raw_pair(small=small)
    with ours, peer:
        reader = Reader(ours)
        reader.watch = watch_socket(keeper, ours, reader)
        try:
            yield reader, peer
        finally:
            reader.watch.close()


def test_the_kinds_are_what_they_are_called(kind: str) -> None:
    """Else all of this would test the same thing twice."""

    async def main() -> None:
        async with keeping() as keeper, watched(keeper) as (reader, _):
            assert isinstance(reader.watch, PortableWatch) == (kind == "portable")

    trio.run(main)


# Reading


async def test_nothing_is_wanted_at_first(kind: str) -> None:
    """A watch calls nothing before it is asked to, whatever is ready."""
    async with keeping() as keeper, watched(keeper) as (reader, peer):
        await peer.send(b"data")
        await wait_all_tasks_blocked()
        assert (reader.received, reader.writable) == ([], 0)


async def test_the_read_step_is_called_while_there_is_input(kind: str) -> None:
    """Not only when some arrives: what a step leaves, the next one gets."""
    async with keeping() as keeper, watched(keeper) as (reader, peer):
        assert reader.watch is not None
        await peer.send(b"abcdefghij")
        reader.watch.reading(True)
        assert reader.received == []  # not in the call itself
        await wait_all_tasks_blocked()
        assert reader.received == [b"abcd", b"efgh", b"ij"]
        await peer.send(b"kl")
        await wait_all_tasks_blocked()
        assert reader.received[3:] == [b"kl"]
        assert reader.writable == 0


async def test_reading_can_pause(kind: str) -> None:
    """What arrives meanwhile waits in the OS, and is announced when reading goes on."""
    async with keeping() as keeper, watched(keeper) as (reader, peer):
        watch = reader.watch
        assert watch is not None
        watch.reading(True)
        await wait_all_tasks_blocked()
        for _ in range(3):
            reader.received.clear()
            watch.reading(False)
            watch.reading(False)
            await peer.send(b"abcd")
            await wait_all_tasks_blocked()
            assert reader.received == []
            watch.reading(True)
            watch.reading(True)
            await wait_all_tasks_blocked()
            assert reader.received == [b"abcd"]


async def test_a_step_can_pause_reading(kind: str) -> None:
    """As a full receive buffer does: it is not called once more."""
    async with keeping() as keeper, watched(keeper) as (reader, peer):
        watch = reader.watch
        assert watch is not None
        reader.after_read = lambda: watch.reading(False)
        await peer.send(b"abcdefgh")
        for count in (1, 2):
            watch.reading(True)
            await wait_all_tasks_blocked()
            assert len(reader.received) == count


async def test_pausing_and_resuming_at_any_moment(kind: str) -> None:
    """Thousands of changes, before, between and after the kernel's answers, lose nothing."""
    async with keeping() as keeper, watched(keeper) as (reader, peer):
        watch = reader.watch
        assert watch is not None
        for number in range(1000):
            peer.send_nowait(b"abcd")
            for wanted in (True, False, True)[: 1 + number % 3]:
                watch.reading(wanted)
            if number % 5 == 0:
                await trio.lowlevel.checkpoint()
            watch.reading(number % 2 == 0)
        watch.reading(True)
        await until(lambda: len(reader.received) == 1000)
        assert reader.received == [b"abcd"] * 1000


@pytest.mark.parametrize(
    ("end", "expected"), [(RawPeer.fin, [b""]), (RawPeer.reset, ["ConnectionResetError"])]
)
async def test_the_end_is_input_too(
    kind: str, end: Callable[[RawPeer], None], expected: list[bytes | str]
) -> None:
    """The step finds out what it is."""
    async with keeping() as keeper, watched(keeper) as (reader, peer):
        assert reader.watch is not None
        reader.watch.reading(True)
        await wait_all_tasks_blocked()
        end(peer)
        await wait_all_tasks_blocked()
        assert reader.received == expected


@pytest.mark.parametrize("end", [RawPeer.fin, RawPeer.reset])
async def test_a_paused_watch_does_not_spin_at_the_end(
    kind: str, end: Callable[[RawPeer], None]
) -> None:
    """A hang-up that nobody wants to hear of wakes nobody: everything comes to rest."""
    async with keeping() as keeper, watched(keeper) as (reader, peer):
        assert reader.watch is not None
        reader.watch.reading(True)
        await wait_all_tasks_blocked()
        reader.watch.reading(False)
        end(peer)
        await wait_all_tasks_blocked()  # would never return
        assert reader.received == []


# Writing


async def test_the_write_step_is_called_when_there_is_room(kind: str) -> None:
    """At once if there is room already, and not while it is not wanted."""
    async with keeping() as keeper, watched(keeper) as (reader, _):
        for count in (1, 2):
            assert reader.watch is not None
            reader.watch.writing(True)
            assert reader.writable == count - 1
            await wait_all_tasks_blocked()
            assert reader.writable == count
        assert reader.received == []


async def test_the_write_step_waits_for_room(kind: str) -> None:
    """Nothing is called while the peer does not read."""
    async with keeping() as keeper, watched(keeper, small=True) as (reader, peer):
        assert reader.watch is not None
        reader.fill()
        reader.watch.writing(True)
        await wait_all_tasks_blocked()
        assert reader.writable == 0
        while not reader.writable:
            await peer.recv_some()
            await wait_all_tasks_blocked()
        assert reader.writable == 1


async def test_the_write_step_is_called_while_there_is_room(kind: str) -> None:
    """A step that does not use up the room is called again, and others have their turn."""
    async with keeping() as keeper, watched(keeper) as (reader, _):
        reader.after_write = lambda: None
        assert reader.watch is not None
        reader.watch.writing(True)
        await until(lambda: reader.writable >= 100)
        reader.watch.writing(False)
        count = reader.writable
        await wait_all_tasks_blocked()
        assert reader.writable == count


async def test_a_dead_connection_is_writable(kind: str) -> None:
    """So that the step finds the error."""
    async with keeping() as keeper, watched(keeper, small=True) as (reader, peer):
        assert reader.watch is not None
        reader.fill()
        reader.watch.writing(True)
        await wait_all_tasks_blocked()
        peer.reset()
        await wait_all_tasks_blocked()
        assert reader.writable == 1


async def test_both_directions_at_once(kind: str) -> None:
    """They are independent: each step has its own readiness."""
    async with keeping() as keeper, watched(keeper, small=True) as (reader, peer):
        watch = reader.watch
        assert watch is not None
        reader.fill()
        watch.writing(True)
        watch.reading(True)
        await peer.send(b"abcd")
        await wait_all_tasks_blocked()
        assert (reader.received, reader.writable) == ([b"abcd"], 0)
        watch.reading(False)
        while not reader.writable:
            await peer.recv_some()
            await wait_all_tasks_blocked()
        await peer.send(b"efgh")
        watch.writing(True)
        await wait_all_tasks_blocked()
        assert (reader.received, reader.writable) == ([b"abcd"], 2)
        watch.reading(True)
        await wait_all_tasks_blocked()
        assert (reader.received, reader.writable) == ([b"abcd", b"efgh"], 2)


# Closing


async def test_a_closed_watch_calls_nothing(kind: str) -> None:
    """Not even what was ready before; closing it again is nothing."""
    async with keeping() as keeper, watched(keeper) as (reader, peer):
        watch = reader.watch
        assert watch is not None
        watch.reading(True)
        watch.writing(True)
        await peer.send(b"abcd")
        watch.close()
        watch.close()
        await wait_all_tasks_blocked()
        assert (reader.received, reader.writable) == ([], 0)


@pytest.mark.parametrize("parked", ["never", "waiting", "paused"])
async def test_a_watch_can_be_closed_in_any_state(kind: str, parked: str) -> None:
    """Nothing that served it goes on."""
    async with keeping() as keeper, watched(keeper, small=True) as (reader, _):
        watch = reader.watch
        assert watch is not None
        if parked != "never":
            reader.fill()
            watch.reading(True)
            watch.writing(True)
            await wait_all_tasks_blocked()
        if parked == "paused":
            watch.reading(False)
            watch.writing(False)
            await wait_all_tasks_blocked()
        watch.close()
        await wait_all_tasks_blocked()


async def test_a_step_can_close_its_own_watch(kind: str) -> None:
    """As every step does that finds the connection dead; the other step is not called."""
    async with keeping() as keeper, watched(keeper) as (reader, peer):
        watch = reader.watch
        assert watch is not None

        def close() -> None:
            watch.close()
            reader.sock.close()

        reader.after_read = reader.after_write = close
        await peer.send(b"abcdefgh")
        watch.reading(True)
        watch.writing(True)
        await wait_all_tasks_blocked()
        assert len(reader.received) + reader.writable == 1


async def test_a_step_can_close_another_watch(kind: str) -> None:
    """Two sockets are ready at once, and the first to be served closes the other."""
    async with keeping() as keeper:
        async with (
            watched(keeper) as (first, first_peer),
            watched(keeper) as (second, second_peer),
        ):
            for mine, other in ((first, second), (second, first)):

                def close(other: Reader = other) -> None:
                    assert other.watch is not None
                    other.watch.close()
                    other.sock.close()

                mine.after_read = close
                assert mine.watch is not None
                mine.watch.reading(True)
            await wait_all_tasks_blocked()
            first_peer.send_nowait(b"abcd")
            second_peer.send_nowait(b"abcd")
            await wait_all_tasks_blocked()
            assert len(first.received) + len(second.received) == 1


async def test_a_descriptor_that_is_used_again(kind: str) -> None:
    """What the OS told of the old socket is not taken for news of the new one."""
    async with keeping() as keeper, watched(keeper) as (killer, killer_peer):
        assert killer.watch is not None
        killer.watch.reading(True)
        for _ in range(20):
            async with watched(keeper) as (old, old_peer):
                spare, spare_peer = raw_pair()
                with spare, spare_peer:
                    new = Reader(spare)
                    killer.after_read = functools.partial(replace, old, new, keeper)
                    assert old.watch is not None
                    old.watch.reading(True)
                    await wait_all_tasks_blocked()
                    killer_peer.send_nowait(b"abcd")
                    old_peer.send_nowait(b"old!")
                    await wait_all_tasks_blocked()
                    assert old.received in ([], [b"old!"])  # if it was served before
                    assert (new.received, new.writable) == ([], 1)
                    spare_peer.send_nowait(b"new!")
                    await wait_all_tasks_blocked()
                    assert (new.received, new.writable) == ([b"new!"], 1)
                    assert new.watch is not None
                    new.watch.close()
                    new.sock.close()


def replace(old: Reader, new: Reader, keeper: Keeper) -> None:
    """Close a socket, and give its number to another, as the OS likes to do."""
    assert old.watch is not None
    number = old.sock.fileno()
    old.watch.close()
    old.sock.close()
    os.dup2(new.sock.fileno(), number, inheritable=False)
    new.sock = socket.socket(fileno=number)
    new.watch = watch_socket(keeper, new.sock, new)
    new.watch.reading(True)
    new.watch.writing(True)


async def test_a_closed_watch_lets_go_of_the_socket(kind: str) -> None:
    """Steps are methods of the socket: it goes away with the last one who has it."""
    ours, peer = raw_pair()
    gc.disable()
    try:
        async with keeping() as keeper:
            with ours, peer:
                reader = Reader(ours)
                reference = weakref.ref(reader)
                reader.watch = watch_socket(keeper, ours, reader)
                reader.watch.reading(True)
                await wait_all_tasks_blocked()
                reader.watch.close()
                await wait_all_tasks_blocked()
                reader.watch = None
                del reader
                assert reference() is None
    finally:
        gc.enable()


# Among other tasks


async def test_a_watch_works_on_under_cancellation(kind: str) -> None:
    """A graceful close in a cancelled body still needs it."""
    with trio.CancelScope() as outer:
        async with keeping() as keeper, watched(keeper) as (reader, peer):
            watch = reader.watch
            assert watch is not None
            watch.reading(True)
            await wait_all_tasks_blocked()
            outer.cancel()
            with trio.CancelScope(shield=True):
                await peer.send(b"abcd")
                watch.writing(True)
                await wait_all_tasks_blocked()
            assert (reader.received, reader.writable) == ([b"abcd"], 1)


async def test_a_busy_socket_starves_nobody(kind: str) -> None:
    """Neither other sockets nor other tasks."""
    async with keeping() as keeper:
        async with (
            watched(keeper) as (busy, _),
            watched(keeper) as (quiet, peer),
        ):
            assert busy.watch is not None
            assert quiet.watch is not None
            busy.after_write = lambda: None
            busy.watch.writing(True)
            quiet.watch.reading(True)
            for count in range(1, 20):
                before = busy.writable
                peer.send_nowait(b"abcd")
                await until(lambda: len(quiet.received) == count)  # noqa: B023
                assert busy.writable - before < 20_000
            busy.watch.writing(False)


async def test_steps_of_many_sockets(kind: str) -> None:
    """Each socket gets its own bytes."""
    async with keeping() as keeper, trio.open_nursery() as nursery:

        async def one(number: int) -> None:
            async with watched(keeper) as (reader, peer):
                assert reader.watch is not None
                reader.watch.reading(True)
                for turn in range(5):
                    peer.send_nowait(bytes([number, turn, number, turn]))
                    await until(lambda: len(reader.received) > turn)  # noqa: B023
                assert reader.received == [bytes([number, t, number, t]) for t in range(5)]

        for number in range(50):
            nursery.start_soon(one, number)


async def test_blocks_beside_one_another(kind: str) -> None:
    """Blocks begin and end in any order; the watches of the others go on."""
    async with keeping() as first, watched(first) as (reader, peer):
        assert reader.watch is not None
        reader.watch.reading(True)
        for count in (1, 2, 3):
            async with keeping() as second, watched(second) as (other, other_peer):
                assert other.watch is not None
                other.watch.reading(True)
                peer.send_nowait(b"abcd")
                other_peer.send_nowait(b"efgh")
                await wait_all_tasks_blocked()
                assert (len(reader.received), other.received) == (count, [b"efgh"])


async def test_an_accepted_socket_uses_its_server_s_readiness(kind: str) -> None:
    """It lives in the server's block, and needs nothing of its own."""
    owner = Idle()
    async with keeping() as keeper:
        child = keeper.child(owner)
        async with watched(child) as (reader, peer):
            assert reader.watch is not None
            reader.watch.reading(True)
            peer.send_nowait(b"abcd")
            await wait_all_tasks_blocked()
            assert reader.received == [b"abcd"]
        await child.finish()
        await release_readiness(child)


@pytest.mark.parametrize("error", [ValueError(), KeyboardInterrupt()], ids=repr)
async def test_a_step_that_raises_fails_its_own_socket(kind: str, error: BaseException) -> None:
    """Steps never should; if one does, the others do not suffer."""
    async with keeping() as keeper, keeping() as other_keeper:
        async with watched(keeper) as (reader, peer), watched(other_keeper) as (other, other_peer):

            def fail() -> None:
                assert reader.watch is not None
                reader.watch.reading(False)  # as a socket does that is closed by its failure
                raise error

            reader.after_read = fail
            for each in (reader, other):
                assert each.watch is not None
                each.watch.reading(True)
            await wait_all_tasks_blocked()
            peer.send_nowait(b"abcd")
            for turn in (1, 2):
                other_peer.send_nowait(b"efgh")
                await wait_all_tasks_blocked()
                assert other.received == [b"efgh"] * turn
            assert keeper.failures == (error,)
            assert other_keeper.failures == ()


# Which kind


async def kind_of_watch() -> str:
    """What ``watch_socket`` makes now."""
    async with keeping() as keeper, watched(keeper) as (reader, _):
        return type(reader.watch).__name__


def test_with_another_clock_watches_are_portable(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mock clock must not stand still while the kernel goes on behind Trio's back."""
    monkeypatch.delenv("TRIO_XSOCK_READINESS", raising=False)
    assert trio.run(kind_of_watch, clock=MockClock()) == "PortableWatch"


async def test_elsewhere_watches_are_portable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only Linux has epoll."""
    monkeypatch.delenv("TRIO_XSOCK_READINESS", raising=False)
    monkeypatch.setattr(sys, "platform", "elsewhere")
    assert await kind_of_watch() == "PortableWatch"


async def test_out_of_descriptors_watches_are_portable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub is an accelerator: everything works without it."""

    def refuse() -> None:
        raise OSError

    monkeypatch.delenv("TRIO_XSOCK_READINESS", raising=False)
    monkeypatch.setattr(_readiness.EpollHub, "join", refuse)
    assert await kind_of_watch() == "PortableWatch"


async def test_a_transport_may_tell_of_itself() -> None:
    """What is no socket of the OS's makes its own watch."""
    made: list[object] = []

    class Memory:
        unsent = False

        def make_watch(self, *arguments: object) -> Watch:
            made.extend(arguments)
            return watch

    class Wanted:
        def __init__(self) -> None:
            self.calls: list[tuple[str, bool]] = []

        def reading(self, wanted: bool, /) -> None:
            self.calls.append(("reading", wanted))

        def writing(self, wanted: bool, /) -> None:
            self.calls.append(("writing", wanted))

        def close(self) -> None: ...

    watch = Wanted()
    engine = TLSEngine(credentials().client_context(), server_hostname="localhost")
    async with keeping() as keeper:
        outer = TLSTransport(cast("Transport", Memory()), engine)
        steps = StepPair(list, dict)
        outer_watch = outer.make_watch(keeper, steps)
        assert made == [keeper, steps]
        outer_watch.reading(True)
        assert watch.calls == [("reading", True)]


async def test_releasing_is_a_checkpoint_and_sees_no_cancellation(kind: str) -> None:
    """Whatever was used, and if nothing was."""
    owner = Idle()
    for used in (True, False):
        async with trio.open_nursery() as nursery:
            keeper = Keeper(nursery, owner)
            if used:
                async with watched(keeper):
                    pass
            with trio.CancelScope() as scope:
                scope.cancel()
                await keeper.finish()
                await release_readiness(keeper)
            assert not scope.cancelled_caught

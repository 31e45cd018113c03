"""Connections that nobody listens to: the hub waits for their input while many are busy."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.support import RawPeer, until
from tests.support.cancelling import cancel_at_step
from tests.support.pairs import linked, pairs, turned
from tests.support.tls import tls_linked
from trio_xsock import Connected, DataAvailable, ServerSocket, SocketClosedError, TCPSocket
from trio_xsock._engine import crowd
from trio_xsock._platform.system import is_linux

pytestmark = pytest.mark.skipif(not is_linux(), reason="without epoll all connections are served")

BUSY = 20
Call = Callable[[TCPSocket], Awaitable[Any]]
CALLS: dict[str, Call] = {
    "receive_some": lambda sock: sock.receive_some(),
    "receive_exactly": lambda sock: sock.receive_exactly(2),
    "receive_until": lambda sock: sock.receive_until(b"\n"),
    "lines": lambda sock: anext(sock.lines(encoding=None)),
}
OF_LINES = (CALLS["receive_until"], CALLS["lines"])
every_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())


@pytest.fixture(autouse=True)
def hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere all connections are served."""
    monkeypatch.delenv("TRIO_XSOCK_READINESS", raising=False)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers that fit a test."""
    monkeypatch.setattr(crowd, "_MANY", 8)
    monkeypatch.setattr(crowd, "_FEW", 2)


@pytest.fixture
def crowded(monkeypatch: pytest.MonkeyPatch) -> None:
    """One busy connection is many: the hub waits from the first wait on."""
    monkeypatch.setattr(crowd, "_MANY", 0)
    monkeypatch.setattr(crowd, "_FEW", 0)


def is_served(sock: TCPSocket) -> bool:
    """Whether the OS is asked to report its input."""
    return sock._connection.intake.served


def is_crowded(sock: TCPSocket) -> bool:
    """Whether that is so because many connections are busy."""
    return sock._connection.intake.crowded


@asynccontextmanager
async def echo_server(call: Call) -> AsyncIterator[tuple[list[RawPeer], list[TCPSocket]]]:
    """``BUSY`` clients of a server that sends back what ``call`` returns, and its sockets."""
    socks: list[TCPSocket] = []

    async def echo(sock: TCPSocket) -> None:
        socks.append(sock)
        while data := await call(sock):
            await sock.send_all(data)

    async with ServerSocket(address="127.0.0.1") as server, trio.open_nursery() as nursery:
        await server.listen()
        nursery.start_soon(server.serve, echo)
        peers = [await RawPeer.connect(server.port) for _ in range(BUSY)]
        await until(lambda: len(socks) == BUSY)
        yield peers, socks
        for peer in peers:
            peer.close()
        await server.aclose()


async def round_trips(peers: list[RawPeer]) -> None:
    """Two bytes to each, and back from each, several times."""
    for number in range(10, 30):
        for peer in peers:
            peer.send_nowait(b"%d" % number)
        for peer in peers:
            assert await peer.recv_exactly(2) == b"%d" % number


# Who waits


@pytest.mark.usefixtures("small")
async def test_the_hub_waits_for_many_that_are_busy() -> None:
    """And what a few of them do then does not change it for the others."""
    async with echo_server(TCPSocket.receive_some) as (peers, socks):
        await round_trips(peers)
        assert all(map(is_crowded, socks))
        await round_trips(peers[:5])
        assert all(map(is_crowded, socks))


@pytest.mark.usefixtures("small")
async def test_the_task_waits_itself_when_it_is_alone_again() -> None:
    """Then nothing is read that nobody asks for, as before."""
    async with echo_server(TCPSocket.receive_some) as (peers, socks):
        await round_trips(peers)
        await round_trips(peers[:1])
        assert [is_served(sock) for sock in socks].count(False) == 1
        await round_trips(peers)
        assert all(map(is_crowded, socks))


@pytest.mark.usefixtures("small")
async def test_a_busy_one_among_idle_ones_waits_itself() -> None:
    """It depends on those that are busy, however many there are that have said nothing yet."""
    async with echo_server(TCPSocket.receive_some) as (peers, socks):
        await round_trips(peers[:1])
        await round_trips(peers[:1])
        assert [is_served(sock) for sock in socks].count(False) == 1


async def test_the_hub_waits_for_a_new_connection_of_a_server() -> None:
    """Until its task has had input a few times: then it is new no more."""
    async with echo_server(TCPSocket.receive_some) as (peers, socks):
        assert all(map(is_crowded, socks))
        seen = []
        for _ in range(4):
            peers[0].send_nowait(b"ab")
            assert await peers[0].recv_exactly(2) == b"ab"
            seen.append([is_served(sock) for sock in socks].count(False))
        assert seen == [0, 0, 1, 1]


async def test_a_portable_watch_goes_on_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """It cannot report a hang-up alone."""
    monkeypatch.setenv("TRIO_XSOCK_READINESS", "portable")
    async with echo_server(TCPSocket.receive_some) as (peers, socks):
        await round_trips(peers[:1])
        assert all(map(is_served, socks))


@pytest.mark.usefixtures("small")
@every_call
async def test_all_ways_to_receive(call: Call) -> None:
    """Each gets what was sent, and all of it."""
    async with echo_server(call) as (peers, socks):
        for number in range(10, 30):
            for peer in peers:
                peer.send_nowait(b"%d\n" % number if call in OF_LINES else b"%d" % number)
            for peer in peers:
                assert await peer.recv_exactly(2) == b"%d" % number
        assert all(map(is_crowded, socks))


# As long as the hub waits


@pytest.mark.usefixtures("crowded")
@every_call
@pytest.mark.parametrize("sent_at", range(4))
@pytest.mark.parametrize("cancelled_at", range(4))
async def test_a_cancellation_at_any_step_loses_nothing(
    call: Call, sent_at: int, cancelled_at: int
) -> None:
    """Before the bytes come, when they have come and the task has not run yet, and after."""
    await cancel_at_step(call, sent_at, cancelled_at)


@pytest.mark.usefixtures("crowded")
@pytest.mark.parametrize("step", range(4))
async def test_a_subscriber_comes(step: int) -> None:
    """From then on it is served for the subscriber, however few are busy."""
    async with linked() as (sock, peer), trio.open_nursery() as nursery:
        nursery.start_soon(sock.receive_exactly, 4)
        for _ in range(step):
            await trio.lowlevel.checkpoint()
        channel = sock.subscribe()
        await peer.send(b"abcd")
        await wait_all_tasks_blocked()
        await peer.send(b"more")
        while not isinstance(await channel.receive(), DataAvailable):
            pass
        assert is_served(sock)
        assert sock.read_all() == b"more"


@pytest.mark.usefixtures("crowded")
async def test_our_close_fails_the_waiting_call() -> None:
    """As it does when the task waits itself."""
    async with linked() as (sock, _), trio.open_nursery() as nursery:

        @nursery.start_soon
        async def receive() -> None:
            with pytest.raises(SocketClosedError):
                await sock.receive_some()

        await wait_all_tasks_blocked()
        assert is_crowded(sock)
        sock.close()


@pytest.mark.usefixtures("crowded")
async def test_what_was_left_is_not_announced_after_the_end() -> None:
    """A task was woken because there is more than it takes, and we close before it runs."""
    async with linked() as (sock, peer):
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def receive() -> None:
                with pytest.raises(SocketClosedError):
                    await sock.receive_some(1)

            await wait_all_tasks_blocked()
            assert is_crowded(sock)
            channel = sock.subscribe()
            peer.send_nowait(b"more than one byte")
            sock._connection.on_readable()
            sock.close()
        assert [event async for event in channel] == [Connected(sock)]


@pytest.mark.usefixtures("crowded")
async def test_tls() -> None:
    """Input that the OS does not report is read, too."""
    async with tls_linked() as (sock, peer):
        for size in (1, 5, 40_000):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(peer.send, bytes(size))
                assert await sock.receive_exactly(size) == bytes(size)
        assert is_crowded(sock)


@pytest.mark.usefixtures("crowded")
async def test_trio_s_check_of_streams() -> None:
    """The contract of a stream, with the hub waiting for each."""
    async with pairs(TCPSocket, TCPSocket) as make:
        await trio.testing.check_half_closeable_stream(make, None)
        await trio.testing.check_two_way_stream(turned(make), None)

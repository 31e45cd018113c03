"""Sockets used from elsewhere: another thread, another Trio run, asyncio, or when all is over.

What has to do with the loop is refused, with an error that says why, and does no harm: the socket
goes on in its own run as if nothing had been called.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing
from outcome import Outcome

from tests.support import until
from tests.support.groups import free_port
from tests.support.pairs import linked
from tests.support.peers import LOOPBACK
from tests.support.tls import credentials
from trio_xsock import (
    AutoDiscovery,
    Connected,
    DataAvailable,
    Datagram,
    EasyTCPSocket,
    EasyUDPSocket,
    Event,
    EventChannel,
    InvalidStateError,
    ServerSocket,
    SocketState,
    SSLSocket,
    TCPSocket,
    UDPSocket,
)
from trio_xsock._runtime.guard import WAKEUPS

Call = Callable[[Any], Any]
Elsewhere = Callable[[Call, Any], None]


async def nothing() -> None:
    """A task."""
    raise AssertionError("never started")


COMMON: dict[str, Call] = {
    "close": lambda sock: sock.close(),
    "aclose": lambda sock: sock.aclose(),
    "start_soon": lambda sock: sock.start_soon(nothing),
    "run": lambda sock: sock.run(),
    "async with": lambda sock: sock.__aenter__(),
}
CONNECTED: dict[str, Call] = {
    **COMMON,
    "connect": lambda sock: sock.connect(),
    "listen": lambda sock: sock.listen(),
    "disconnect": lambda sock: sock.disconnect(),
    "flush": lambda sock: sock.flush(),
    "abort_send": lambda sock: sock.abort_send(),
    "poll": lambda sock: sock.poll(),
}
STREAM: dict[str, Call] = {
    **CONNECTED,
    "receive_some": lambda sock: sock.receive_some(),
    "receive_exactly": lambda sock: sock.receive_exactly(1),
    "receive_until": lambda sock: sock.receive_until(b"\n"),
    "lines": lambda sock: sock.lines().__anext__(),
    "async for": lambda sock: sock.__anext__(),
    "send_eof": lambda sock: sock.send_eof(),
    "wait_send_all_might_not_block": lambda sock: sock.wait_send_all_might_not_block(),
}
MESSAGES: dict[str, Call] = {
    **CONNECTED,
    "receive": lambda sock: sock.receive(),
    "async for": lambda sock: sock.__anext__(),
    "wait_for_message": lambda sock: sock.wait_for_message(1),
}
DATAGRAMS: dict[str, Call] = {
    **COMMON,
    "connect": lambda sock: sock.connect(),
    "bind": lambda sock: sock.bind(),
    "receive": lambda sock: sock.receive(),
    "async for": lambda sock: sock.__anext__(),
    "poll": lambda sock: sock.poll(),
}
GROUPS: dict[str, Call] = {
    **COMMON,
    "bind": lambda sock: sock.bind(5),
    "wait_for_message": lambda sock: sock.wait_for_message(1),
}
SERVER: dict[str, Call] = {
    **COMMON,
    "listen": lambda server: server.listen(),
    "stop_listening": lambda server: server.stop_listening(),
    "accept": lambda server: server.accept(),
    "serve": lambda server: server.serve(nothing),
}


# Sockets at work, and what shows that they still are


@asynccontextmanager
async def stream(
    make: Callable[..., Any],
) -> AsyncIterator[tuple[Any, Callable[[], Awaitable[None]]]]:
    """A client of a server of its own kind."""
    issued = credentials()
    options: dict[str, Any] = {"ca_file": issued.ca} if make is SSLSocket else {}
    served: dict[str, Any] = {"certificate_file": issued.server} if make is SSLSocket else {}
    async with ServerSocket(address=LOOPBACK, add_socket=lambda: make(**served)) as server:
        await server.listen()
        async with make(LOOPBACK, server.port, **options) as sock:
            await sock.connect()
            accepted = await server.accept()

            async def check() -> None:
                if make is EasyTCPSocket:
                    accepted.send_message(7, b"still here")
                    assert (await sock.receive()).data == b"still here"
                else:
                    accepted.write(b"still here")
                    assert await sock.receive_exactly(10) == b"still here"

            yield sock, check


@asynccontextmanager
async def datagrams(
    make: Callable[..., Any],
) -> AsyncIterator[tuple[Any, Callable[[], Awaitable[None]]]]:
    async with make(address=LOOPBACK) if make is UDPSocket else make() as sock:
        await sock.bind(free_port())

        async def check() -> None:
            assert sock.state is SocketState.BOUND
            if make is UDPSocket:
                await sock.send(Datagram(LOOPBACK, sock.port, b"still here"))
                assert (await sock.receive()).data == b"still here"

        yield sock, check


@asynccontextmanager
async def listening(_: object) -> AsyncIterator[tuple[Any, Callable[[], Awaitable[None]]]]:
    async with ServerSocket(address=LOOPBACK) as server:
        await server.listen()

        async def check() -> None:
            async with TCPSocket(LOOPBACK, server.port) as client:
                await client.connect()
                await (await server.accept()).aclose()

        yield server, check


KINDS: list[tuple[Any, Any, dict[str, Call]]] = [
    (TCPSocket, stream, STREAM),
    (SSLSocket, stream, STREAM),
    (EasyTCPSocket, stream, MESSAGES),
    (UDPSocket, datagrams, DATAGRAMS),
    (EasyUDPSocket, datagrams, GROUPS),
    (AutoDiscovery, datagrams, GROUPS),
    (ServerSocket, listening, SERVER),
]
REFUSALS = "in another thread|only once|is not possible"
OVER = "async context|bad yield: .*trio|block has been left|only once|closed|not listening"

AtWork = Callable[[Any], AbstractAsyncContextManager[tuple[Any, Callable[[], Awaitable[None]]]]]

every_kind = pytest.mark.parametrize(
    ("make", "at_work", "calls"), KINDS, ids=lambda kind: getattr(kind, "__name__", "")
)


# Elsewhere


async def awaited(call: Call, sock: Any) -> None:
    result = call(sock)
    if inspect.isawaitable(result):
        await result


def in_another_trio_run(call: Call, sock: Any) -> None:
    with pytest.raises(InvalidStateError, match=REFUSALS):
        trio.run(awaited, call, sock)


def in_asyncio(call: Call, sock: Any) -> None:
    """There Trio itself refuses what comes to it."""
    with pytest.raises((InvalidStateError, RuntimeError), match=f"async context|{REFUSALS}"):
        asyncio.run(awaited(call, sock))


@every_kind
@pytest.mark.parametrize("elsewhere", [in_another_trio_run, in_asyncio])
async def test_in_another_thread(
    elsewhere: Elsewhere, make: Any, at_work: AtWork, calls: dict[str, Call]
) -> None:
    """Each call is refused there, and the socket goes on here."""
    async with at_work(make) as (sock, check):
        for call in calls.values():
            await trio.to_thread.run_sync(elsewhere, call, sock)
            await check()


@pytest.mark.parametrize("elsewhere", [in_another_trio_run, in_asyncio])
@pytest.mark.parametrize("shared", [False, True])
async def test_event_channels_in_another_thread(elsewhere: Elsewhere, shared: bool) -> None:
    """Waiting and closing are refused there; who waits here is still told of what happens."""
    channel = EventChannel() if shared else None
    async with linked(events=channel) as (sock, peer), trio.open_nursery() as nursery:
        events = sock.events
        assert events.receive_nowait() == Connected(sock)
        await trio.to_thread.run_sync(elsewhere, lambda _: events.receive(), sock)
        told: list[Event] = []

        async def consume() -> None:
            told.append(await events.receive())

        nursery.start_soon(consume)
        await trio.testing.wait_all_tasks_blocked()
        for call in (lambda _: events.close(), lambda _: events.receive()):
            await trio.to_thread.run_sync(elsewhere, call, sock)
        assert not events.closed
        await peer.send(b"x")
        await until(lambda: told)
        assert told == [DataAvailable(sock)]
    assert WAKEUPS.woken == WAKEUPS.resumed


async def test_waiting_for_nobody_in_particular() -> None:
    """A channel that no socket uses yet knows where its consumers are."""
    channel = EventChannel()
    async with trio.open_nursery() as nursery:

        async def consume() -> None:
            async for _ in channel:
                raise AssertionError("nothing happens")  # pragma: no cover

        nursery.start_soon(consume)
        await trio.testing.wait_all_tasks_blocked()
        await trio.to_thread.run_sync(in_another_trio_run, lambda _: channel.close(), None)
        channel.close()
    await trio.to_thread.run_sync(channel.close)


@every_kind
def test_after_the_run(make: Any, at_work: AtWork, calls: dict[str, Call]) -> None:
    """All is closed, and can be closed again; everything else says that it is over."""

    async def main() -> Any:
        async with at_work(make) as (sock, _):
            return sock

    sock = trio.run(main)
    for name, call in calls.items():
        if name in {"close", "abort_send", "stop_listening"}:
            call(sock)
        else:
            with pytest.raises((InvalidStateError, RuntimeError), match=OVER):
                asyncio.run(awaited(call, sock))
        if name not in {"close", "aclose", "disconnect", "abort_send", "stop_listening", "poll"}:
            with pytest.raises(InvalidStateError, match=OVER):
                trio.run(awaited, call, sock)
    assert sock.handle == -1


@every_kind
def test_never_in_a_run(make: Any, at_work: AtWork, calls: dict[str, Call]) -> None:
    """A socket that was only made says what it needs."""
    for name in ("start_soon", "run", "async with"):
        with pytest.raises((InvalidStateError, RuntimeError), match=r"async context|needs"):
            asyncio.run(awaited(calls[name], make()))


def test_asyncio_in_the_same_thread() -> None:
    """Where Trio is the guest: who cannot wait leaves nothing behind that would take the data."""

    async def guest(connected: asyncio.Future[TCPSocket], go_on: trio.Event) -> bytes:
        async with linked() as (sock, peer):
            connected.set_result(sock)
            await go_on.wait()
            await peer.send(b"data")
            return await sock.receive_exactly(4)

    async def host() -> bytes:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Outcome[bytes]] = loop.create_future()
        connected: asyncio.Future[TCPSocket] = loop.create_future()
        go_on = trio.Event()
        trio.lowlevel.start_guest_run(
            guest,
            connected,
            go_on,
            run_sync_soon_threadsafe=loop.call_soon_threadsafe,
            done_callback=done.set_result,
        )
        sock = await connected
        for name, call in STREAM.items():
            if name not in {*COMMON, "abort_send", "disconnect"}:
                with pytest.raises((RuntimeError, InvalidStateError)):
                    await call(sock)
        go_on.set()
        return (await done).unwrap()

    assert asyncio.run(host()) == b"data"


async def test_what_a_thread_is_for() -> None:
    """It has the socket's run do it."""
    async with linked() as (sock, peer):

        def thread() -> bytes:
            trio.from_thread.run_sync(sock.write, b"from a thread")
            return trio.from_thread.run(sock.receive_some)

        await peer.send(b"answer")
        assert await trio.to_thread.run_sync(thread) == b"answer"
        assert await peer.recv_exactly(13) == b"from a thread"

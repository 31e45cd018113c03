"""Accepting: what listens, and what the OS says when a connection is taken from it."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from tests.support import RawPeer, raw_listener, until
from tests.support.children import child
from tests.support.flaky import FlakyListener
from trio_xsock import OpenDriverError, OutOfMemoryError, SocketError
from trio_xsock._network import acceptor as _acceptor
from trio_xsock._network.acceptor import Acceptor
from trio_xsock._network.transport import PlainTransport, set_for_connections
from trio_xsock._runtime.keeper import Keeper
from trio_xsock._runtime.readiness import release_readiness


class Host:
    """Whoever has an acceptor: says how many may come, and notes who came."""

    def __init__(self) -> None:
        self.places = 100
        self.came: list[socket.socket] = []
        self.peers: list[Any] = []
        self.failures: list[tuple[SocketError, bool]] = []
        self.react: Callable[[], None] = lambda: None
        self.acceptor: Acceptor | None = None

    def _work(self) -> float:
        assert self.acceptor is not None
        if trio.current_time() >= self.acceptor.retry_at:
            self.acceptor.retry()
        return self.acceptor.retry_at

    def _contain(self, error: Exception) -> bool:
        return False

    def _handle_failure(self) -> None:
        raise AssertionError("nothing should fail")  # pragma: no cover

    def may_accept(self) -> bool:
        return len(self.came) < self.places

    def welcome(self, sock: socket.socket, peer: Any) -> None:
        self.came.append(sock)
        self.peers.append(peer)
        self.react()

    def failed(self, error: SocketError, final: bool) -> None:
        self.failures.append((error, final))


@asynccontextmanager
async def accepting(
    host: Host, sock: socket.socket | None = None
) -> AsyncIterator[tuple[Acceptor, FlakyListener, Any]]:
    """An acceptor with a listener, the listener, and its port."""
    listener = FlakyListener(sock or raw_listener())
    async with trio.open_nursery() as nursery:
        keeper = Keeper(nursery, host)
        acceptor = host.acceptor = Acceptor(
            keeper,
            [listener],
            may_accept=host.may_accept,
            welcome=host.welcome,
            failed=host.failed,
        )
        try:
            yield acceptor, listener, listener.getsockname()[1]
        finally:
            acceptor.close()
            for sock in host.came:
                sock.close()
            with trio.move_on_after(5, shield=True):
                await keeper.finish()
                await release_readiness(keeper)


async def test_accepting_needs_to_be_wanted() -> None:
    """Nothing is accepted before the first update, or where there is no place."""
    host = Host()
    host.places = 0
    async with accepting(host) as (acceptor, listener, port):
        with await RawPeer.connect(port):
            await trio.testing.wait_all_tasks_blocked()
            acceptor.update()
            await trio.testing.wait_all_tasks_blocked()
            assert listener.calls == 0
            host.places = 1
            acceptor.update()
            await until(lambda: host.came)


async def test_a_connection_is_prepared() -> None:
    """It is non-blocking, not inheritable, and does not wait for more to send (TCP_NODELAY)."""
    host = Host()
    async with accepting(host) as (acceptor, _, port):
        acceptor.update()
        with await RawPeer.connect(port):
            await until(lambda: host.came)
            (sock,) = host.came
            assert host.peers == [sock.getpeername()]
            assert not sock.getblocking()
            assert not sock.get_inheritable()
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_a_unix_socket_will_do(tmp_path: Path) -> None:
    """Its peers have no address, which is told in our way."""
    host = Host()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "socket"))
    listener.listen()
    async with accepting(host, listener) as (acceptor, _, _):
        acceptor.update()
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(str(tmp_path / "socket"))
            await until(lambda: host.came)
            assert host.peers == [("", 0)]


def test_an_option_that_is_refused_does_no_harm() -> None:
    """Some systems refuse TCP_NODELAY for a connection that was reset; this one for a pipe."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        transport = PlainTransport.of(ours)
        with transport:
            set_for_connections(transport)
            assert PlainTransport.of(transport) is transport
            assert not transport.getblocking()


async def test_so_many_are_accepted_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """After that those who are connected get their turn; the others follow."""
    monkeypatch.setattr(_acceptor, "_AT_ONCE", 8)
    host = Host()
    async with accepting(host) as (acceptor, listener, port):
        peers = [await RawPeer.connect(port) for _ in range(17)]
        acceptor.accepts = True
        steps = []

        def step() -> None:
            before = listener.calls
            acceptor._accept_step(listener)
            steps.append(listener.calls - before)

        for _ in range(3):
            step()
        acceptor.accepts = False
        assert steps == [8, 8, 2]  # with the one that found nothing
        assert len(host.came) == 17
        for peer in peers:
            peer.close()


async def test_accepting_stops_at_the_ceiling_within_a_step() -> None:
    """Each place is asked for before it is taken."""
    host = Host()
    host.places = 3
    async with accepting(host) as (acceptor, _, port):
        peers = [await RawPeer.connect(port) for _ in range(5)]
        acceptor.update()
        await until(lambda: len(host.came) == 3)
        await trio.testing.wait_all_tasks_blocked()
        assert len(host.came) == 3
        host.places = 5
        acceptor.update()
        await until(lambda: len(host.came) == 5)
        for peer in peers:
            peer.close()


@pytest.mark.parametrize(
    "number", [errno.ECONNABORTED, errno.ECONNRESET, errno.EPROTO, errno.EPERM, errno.ETIMEDOUT]
)
async def test_a_connection_that_died_is_passed_over(number: int) -> None:
    """Errors of the newcomer are not the listener's, and delay nobody."""
    host = Host()
    async with accepting(host) as (acceptor, listener, port):
        listener.script = [OSError(number, os.strerror(number)) for _ in range(3)]
        acceptor.update()
        with await RawPeer.connect(port):
            await until(lambda: host.came)
        assert host.failures == []


async def test_a_connection_reset_before_it_is_accepted_does_no_harm() -> None:
    """The real thing: its successor is served as if nothing had been."""
    host = Host()
    host.places = 0
    async with accepting(host) as (acceptor, _, port):
        (await RawPeer.connect(port)).reset()
        with await RawPeer.connect(port) as peer:
            host.places = 2
            acceptor.update()
            await until(lambda: any(sock.getpeername()[1] == peer.port for sock in alive(host)))
        assert host.failures == []


def alive(host: Host) -> list[socket.socket]:
    """Those that still know their peer."""
    result = []
    for sock in host.came:
        try:
            sock.getpeername()
        except OSError:
            continue
        result.append(sock)
    return result


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.EMFILE, OpenDriverError),
        (errno.ENFILE, OpenDriverError),
        (errno.ENOBUFS, OutOfMemoryError),
        (errno.ENOMEM, OutOfMemoryError),
    ],
)
async def test_an_outage_is_a_pause_that_grows(
    number: int, kind: type[SocketError], mock_clock: trio.testing.MockClock
) -> None:
    """One report per outage; it is tried again after 0.1 s, 0.2 s, ... at most 2 s."""
    host = Host()
    async with accepting(host) as (acceptor, listener, port):
        listener.script = [OSError(number, os.strerror(number)) for _ in range(7)]
        acceptor.update()
        with await RawPeer.connect(port):
            for tries, pause in enumerate([0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0], 1):
                await until(lambda tries=tries: listener.calls == tries)
                assert acceptor.retry_at == pytest.approx(trio.current_time() + pause)
                acceptor.update()  # somebody left: that is no reason to try earlier
                mock_clock.jump(pause * 0.9)
                await trio.testing.wait_all_tasks_blocked()
                assert listener.calls == tries
                mock_clock.jump(pause * 0.2)
            await until(lambda: host.came)
        ((error, final),) = host.failures
        assert type(error) is kind
        assert error.errno == number
        assert "tried again by itself" in str(error)
        assert isinstance(error.__cause__, OSError)
        assert not final


async def test_an_outage_ends_when_nobody_waits_any_more(
    mock_clock: trio.testing.MockClock,
) -> None:
    """A descriptor now and then is no end of it; the next one after that is reported again."""
    host = Host()
    outage = OSError(errno.EMFILE, "too many")
    async with accepting(host) as (acceptor, listener, port):
        peers = [await RawPeer.connect(port) for _ in range(3)]
        for step in [[outage], [outage], [None, outage], [None, None, BlockingIOError()]]:
            listener.script = list(step)
            acceptor.update()
            await until(lambda: not listener.script)
            mock_clock.jump(max(0, acceptor.retry_at - trio.current_time()))
        listener.script = [outage]
        assert len(host.failures) == 1
        peers.append(await RawPeer.connect(port))
        await until(lambda: len(host.failures) == 2)
        assert len(host.came) == 3
        for peer in peers:
            peer.close()


async def test_pauses_start_over_when_somebody_could_be_accepted(
    mock_clock: trio.testing.MockClock,
) -> None:
    """Descriptors come back one by one: each is used within 0.1 s."""
    host = Host()
    outage = OSError(errno.EMFILE, "too many")
    async with accepting(host) as (acceptor, listener, port):
        listener.script = [outage, outage, None, outage]
        acceptor.update()
        with await RawPeer.connect(port):
            for pause, left in [(0.1, 3), (0.2, 2), (0.1, 0)]:
                await until(lambda left=left: len(listener.script) == left)
                assert acceptor.retry_at == pytest.approx(trio.current_time() + pause)
                mock_clock.jump(pause)
        assert len(host.failures) == 1


async def test_an_outage_does_not_spin() -> None:
    """While it lasts, the listener is left alone although somebody waits there."""
    host = Host()
    async with accepting(host) as (acceptor, listener, port):
        listener.script = [OSError(errno.EMFILE, "too many")]
        acceptor.update()
        with await RawPeer.connect(port):
            await until(lambda: host.failures)
            for _ in range(100):
                await trio.lowlevel.checkpoint()
            assert listener.calls == 1


async def test_an_error_of_the_listener_is_final() -> None:
    """It is reported, and its host is to stop."""
    host = Host()
    async with accepting(host) as (acceptor, listener, port):
        listener.script = [OSError(errno.EINVAL, "invalid")]
        acceptor.update()
        with await RawPeer.connect(port):
            await until(lambda: host.failures)
            acceptor._want(False)
        ((error, final),) = host.failures
        assert type(error) is SocketError
        assert error.errno == errno.EINVAL
        assert final


async def test_whoever_is_welcomed_may_close_the_acceptor() -> None:
    """Nothing is accepted after that, although more are waiting."""
    host = Host()
    async with accepting(host) as (acceptor, listener, port):
        peers = [await RawPeer.connect(port) for _ in range(3)]
        host.react = acceptor.close
        acceptor.update()
        await until(lambda: host.came)
        await trio.testing.wait_all_tasks_blocked()
        assert len(host.came) == 1
        assert listener.calls == 1
        assert host.failures == []
        acceptor.update()
        acceptor.close()
        assert listener.fileno() == -1
        for peer in peers:
            peer.close()


CHILD = """
import os, resource, sys, time
import trio
from trio_xsock import ServerSocket

async def echo(sock):
    async for chunk in sock:
        await sock.send_all(chunk)

async def main():
    async with ServerSocket(address="127.0.0.1") as server, trio.open_nursery() as nursery:
        port = await nursery.start(server.serve, echo)
        events = server.events
        highest = max(int(name) for name in os.listdir("/proc/self/fd"))
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 8, hard))
        print(port, flush=True)
        error = (await events.receive()).error
        before = time.process_time()
        await trio.sleep(0.5)
        used = time.process_time() - before
        print(type(error).__name__, error.errno, used, flush=True)
        await trio.lowlevel.wait_readable(0)
        waiting = events.statistics().current_buffer_used
        print(waiting, server.is_listening, len(server.active_connections()), flush=True)
        nursery.cancel_scope.cancel()

trio.run(main)
"""


@pytest.mark.slow
async def test_real_exhaustion_of_descriptors() -> None:
    """A child with few descriptors: pause, one error, no CPU, and recovery by itself."""
    async with child("-c", CHILD) as server:
        port = int(await server.line())
        peers = [await RawPeer.connect(port) for _ in range(20)]
        for peer in peers:
            peer.send_nowait(b"x")
        name, number, used = (await server.line()).split()
        assert (name, int(number)) == ("OpenDriverError", errno.EMFILE)
        assert float(used) < 0.05
        served = [peer for peer in peers if readable(peer)]
        assert 0 < len(served) < len(peers)
        while peers:
            for peer in served or peers[:1]:
                assert await peer.recv_exactly(1) == b"x"
                peer.close()
                peers.remove(peer)
            served = [peer for peer in peers if readable(peer)]
        with await RawPeer.connect(port) as last:
            last.send_nowait(b"y")
            assert await last.recv_exactly(1) == b"y"
            await server.say("tell")
            assert (await server.line()).split() == ["0", "True", "1"]
        assert await server.process.wait() == 0


def readable(peer: RawPeer) -> bool:
    try:
        return bool(peer.sock.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return False

"""From accept to the announcement of a connection."""

from __future__ import annotations

import logging
import math
from typing import Any

import pytest
import trio
import trio.testing

from tests.support import EventRecorder, until
from tests.support.guarded import Guarded, guarded
from tests.support.serving import connect, echo, listening, serving, waiting_for_a_place
from trio_xsock import (
    Connected,
    LossReason,
    LostConnectionError,
    SocketError,
    TCPSocket,
)
from trio_xsock._engine.upgrade import Over


async def test_a_connection_is_announced_after_its_handshake() -> None:
    """Until then it is nobody's, and counts nowhere but in ``handshaking``."""
    async with guarded() as server:
        with await connect(server) as peer:
            await until(lambda: server.statistics().handshaking)
            assert server.active_connections() == []
            assert server.statistics().accepted == 0
            peer.send_nowait(b"yhello")
            sock = await server.accept()
            assert sock.is_connected
            assert sock.remote_port == peer.port
            assert await sock.receive_some() == b"hello"
            assert server.statistics().handshaking == 0
            assert server.statistics().accepted == 1


async def test_live_sockets_learn_of_it_after_the_handshake() -> None:
    """``on_connected`` comes then, and only then."""
    recorder = EventRecorder(read=True)
    async with listening(add_socket=lambda: Guarded(handler=recorder)) as server:
        with await connect(server) as refused, await connect(server) as peer:
            refused.send_nowait(b"n")
            assert await refused.recv_some() == b""
            assert recorder.calls == []
            peer.send_nowait(b"y")
            await recorder.wait_for(Connected)
            assert server.active_connections()[0].remote_port == peer.port


async def test_who_waits_ready_is_limited_as_ever() -> None:
    """Nobody accepts: two are ready, the others wait behind them."""
    async with guarded(minimum_sockets_available=2) as server:
        peers = [await connect(server) for _ in range(4)]
        for peer in peers:
            peer.send_nowait(b"y")
        await until(lambda: server.statistics().ready == 2)
        await trio.testing.wait_all_tasks_blocked()
        assert len(server.active_connections()) == 2
        for _ in range(4):
            assert (await server.accept()).is_connected
        for peer in peers:
            peer.close()


async def test_live_ones_pass_those_that_nobody_accepts() -> None:
    """They need nobody who asks for them, only a place below the ceiling."""
    recorder = EventRecorder()
    kinds: list[Any] = [None, None, recorder, None]
    async with listening(
        add_socket=lambda: Guarded(handler=kinds.pop(0) if kinds else None),
        minimum_sockets_available=1,
    ) as server:
        peers = [await connect(server) for _ in range(3)]
        await until(lambda: server.statistics().handshaking == 3)
        peers[0].send_nowait(b"y")
        await until(lambda: server.statistics().ready == 1)
        peers[1].send_nowait(b"y")
        await trio.testing.wait_all_tasks_blocked()
        peers[2].send_nowait(b"y")
        await recorder.wait_for(Connected)
        assert server.statistics().handshaking == 1
        for peer in peers:
            peer.close()


async def test_a_plain_socket_has_no_handshake() -> None:
    """It is announced at once, and nothing is held up."""
    async with listening() as server:
        with await connect(server) as peer:
            sock = await server.accept()
            assert not sock._wants_tls()
            assert not sock._connection.link.securing
            assert sock._connection.link.handshake is None
            peer.send_nowait(b"at once")
            assert await sock.receive_some() == b"at once"
        assert server.statistics().handshaking == 0


# Handshakes that go wrong


async def test_a_socket_that_closes_in_its_handshake_is_refused() -> None:
    """Whatever the handshake returns; and one that ends while it waits gives up its turn."""
    async with guarded(maximum_sockets_connected=1) as server:
        with await connect(server) as peer:
            peer.send_nowait(b"c")
            assert await peer.recv_some() == b""
            await until(lambda: server.statistics().refused == 1)
        with await connect(server) as first, await connect(server) as second:
            await until(lambda: server.statistics().handshaking == 2)
            first.send_nowait(b"y")
            await server.accept()
            second.send_nowait(b"y")
            await until(lambda: waiting_for_a_place(server))
            waiting_for_a_place(server)[0].close()
            assert server.statistics().refused == 2
            assert server.statistics().handshaking == 0


async def test_a_mistake_in_a_handshake_ends_one_peer(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged with its traceback, and the server serves the next."""
    async with guarded() as server:
        with await connect(server) as peer, await connect(server) as other:
            peer.send_nowait(b"!")
            assert await peer.recv_some() == b""
            other.send_nowait(b"y")
            assert (await server.accept()).remote_port == other.port
        assert server.statistics().handshaking == 0
        assert server.statistics().refused == 1
    [record] = [record for record in caplog.records if record.levelno > logging.DEBUG]
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == "a mistake of ours"
    caplog.clear()


async def test_a_handshake_that_is_over_at_once() -> None:
    """In the call that begins it."""

    class Polite(Guarded):
        def _begin_handshake(self, over: Over) -> float:
            assert self._connection.transport is not None
            self._connection.go_on(self._connection.transport)
            over(None)
            return math.inf

    async with serving(echo, add_socket=Polite) as server:
        with await connect(server) as peer:
            peer.send_nowait(b"x")
            assert await peer.recv_exactly(1) == b"x"
            assert server.statistics().handshaking == 0


async def test_a_handshake_that_cannot_begin() -> None:
    """The peer is refused, and the next one has its chance."""
    errors: list[SocketError] = [SocketError("not now")]

    class Moody(Guarded):
        def _begin_handshake(self, over: Over) -> float:
            if errors:
                raise errors.pop()
            return super()._begin_handshake(over)

    async with listening(add_socket=Moody) as server:
        with await connect(server) as refused, await connect(server) as peer:
            assert await refused.recv_some() == b""
            peer.send_nowait(b"y")
            assert (await server.accept()).remote_port == peer.port
            assert server.statistics().refused == 1


# Idle ones


async def test_silent_clients_at_the_ceiling_make_room() -> None:
    """Ten at a ceiling of ten; the one who talks stays, and those outside come in."""
    reasons = []

    async def handler(sock: TCPSocket) -> None:
        try:
            await echo(sock)
        except LostConnectionError as error:
            reasons.append(error.reason)

    async with serving(handler, maximum_sockets_connected=10, idle_timeout=0.3) as server:
        talker = await connect(server)
        silent = [await connect(server) for _ in range(9)]
        await until(lambda: len(server.active_connections()) == 10)
        others = [await connect(server) for _ in range(5)]

        async def talk() -> None:
            while True:
                await talker.send(b"x")
                await talker.recv_exactly(1)
                await trio.sleep(0.05)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(talk)
            for other in others:
                await other.send(b"me too")
                assert await other.recv_exactly(6) == b"me too"
            for peer in silent:
                assert await peer.recv_some() == b""
            nursery.cancel_scope.cancel()
        assert reasons[:9] == [LossReason.TIMED_OUT] * 9
        assert talker.port in [sock.remote_port for sock in server.active_connections()]
        for peer in (talker, *silent, *others):
            peer.close()


async def test_a_sockets_own_idle_timeout_counts_more() -> None:
    """And what is set later counts for those who come later."""
    times: list[float | None] = [7.0, None, None]
    async with listening(
        add_socket=lambda: TCPSocket(idle_timeout=times.pop(0)),
        idle_timeout=5,
        minimum_sockets_available=0,
    ) as server:
        peers = []
        for expected in (7, 5, 1.5):
            peers.append(await connect(server))
            sock = await server.accept()
            assert sock.idle_timeout == expected
            if expected == 5:
                server.idle_timeout = 1.5
        for peer in peers:
            peer.close()

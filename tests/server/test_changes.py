"""Connections that come and go: who is told."""

from __future__ import annotations

from tests.support import until
from tests.support.serving import close_all, connect, connect_many, followers, listening, outage
from trio_xsock import (
    ConnectionsChanged,
    ErrorOccurred,
    OpenDriverError,
    ServerSocket,
    TCPSocket,
)


async def test_who_asks_is_told_of_connections_that_come_and_go() -> None:
    """Counts that add up, however late they are taken; only for who asks."""
    async with listening(minimum_sockets_available=0) as server:
        plain = server.events
        with server.subscribe(connections=True) as events:
            with await connect(server):
                sock = await server.accept()
                assert events.receive_nowait() == ConnectionsChanged(server, 1, 0, 1)
            await sock.aclose()
            assert events.receive_nowait() == ConnectionsChanged(server, 0, 1, 0)
            for _ in range(5):
                with await connect(server):
                    await (await server.accept()).aclose()
            error = OpenDriverError("no descriptor", errno=24)
            outage(server, error)
            assert events.receive_nowait() == ConnectionsChanged(server, 5, 5, 0)
            assert events.receive_nowait() == ErrorOccurred(server, error)
        with await connect(server):
            (await server.accept()).close()
        assert plain.receive_nowait() == ErrorOccurred(server, error)
        assert server.statistics().events_posted == 13
        assert followers(server) == 0


async def test_a_servers_handler_is_told_of_each_connection() -> None:
    """Unmerged, in order; a channel beside it changes nothing."""
    calls: list[tuple[int, int, int]] = []

    class Handler:
        def on_connections_changed(
            self, server: ServerSocket[TCPSocket], opened: int, closed: int, live: int
        ) -> None:
            calls.append((opened, closed, live))

    async with listening(handler=Handler()) as server:
        with server.subscribe():
            peers = await connect_many(server, 2)
            for _ in peers:
                await server.accept()
            close_all(peers)
            for sock in server.active_connections():
                sock.close()
            await until(lambda: len(calls) == 4)
    assert calls == [(1, 0, 1), (1, 0, 2), (0, 1, 1), (0, 1, 0)]

"""The options and facts of a server."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from tests.support import until
from tests.support.serving import close_all, connect_many, listening
from trio_xsock import (
    InvalidPortError,
    InvalidStateError,
    ServerSocket,
)

# Places


async def test_limits_may_change_while_listening() -> None:
    """Raising the ceiling lets the next ones in at once; lowering it ends nobody."""
    async with listening(maximum_sockets_connected=1) as server:
        peers = await connect_many(server, 5)
        sockets = [await server.accept()]
        server.maximum_sockets_connected = 3
        sockets += [await server.accept(), await server.accept()]
        server.maximum_sockets_connected = 1
        assert server.active_connections() == sockets
        assert all(sock.is_connected for sock in sockets)
        sockets.pop().close()
        sockets.pop().close()
        await trio.testing.wait_all_tasks_blocked()
        assert server.active_connections() == sockets
        server.maximum_sockets_connected = None
        sockets += [await server.accept(), await server.accept()]
        assert server.active_connections() == sockets
        close_all(peers)


async def test_active_connections_is_a_new_list() -> None:
    """Whatever is done to it; oldest first, those that wait to be accepted among them."""
    async with listening() as server:
        assert server.active_connections() == []
        peers = await connect_many(server, 2)
        await until(lambda: len(server.active_connections()) == 2)
        active = server.active_connections()
        assert [sock.remote_port for sock in active] == [peer.port for peer in peers]
        active.clear()
        assert len(server.active_connections()) == 2
        close_all(peers)


async def test_statistics_count() -> None:
    """Accepted ever; live and ready now; events while somebody listens."""
    async with listening() as server:
        peers = await connect_many(server, 3)
        await until(lambda: len(server.active_connections()) == 2)
        await server.accept()
        await until(lambda: len(server.active_connections()) == 3)
        statistics = server.statistics()
        assert (statistics.accepted, statistics.live, statistics.ready) == (3, 3, 2)
        assert (statistics.failed, statistics.events_posted, statistics.events_merged) == (0, 0, 0)
        close_all(peers)


# Where it listens


async def test_local_address_never_shows_a_wildcard() -> None:
    """Nobody could connect to that."""
    async with ServerSocket() as server:
        assert server.local_address not in ("", "0.0.0.0", "::")
        await server.listen()
        assert server.local_address not in ("", "0.0.0.0", "::")


async def test_the_port_is_settable_while_not_listening() -> None:
    """While listening it is what the OS says; afterwards, what was set."""
    server = ServerSocket()
    with pytest.raises(InvalidPortError):
        server.port = 70000
    with pytest.raises(TypeError):
        server.port = "80"  # type: ignore[assignment]
    server.port = 0
    async with server:
        await server.listen()
        with pytest.raises(InvalidStateError, match="stop_listening"):
            server.port = 1
        server.stop_listening()
        assert server.port == 0
        server.port = 1
        assert server.port == 1

"""From accept to the end: who gets a connection, for how many there is a place, and who waits."""

from __future__ import annotations

import random

import pytest
import trio
import trio.testing

from tests.support import EventRecorder, RawPeer, until
from tests.support.serving import close_all, connect, connect_many, listening
from trio_xsock import (
    DataAvailable,
    ErrorOccurred,
    EventChannel,
    InvalidStateError,
    ServerSocket,
    SocketClosedError,
    SocketState,
    TCPSocket,
)

# Accepting


async def test_accept_gives_an_open_socket() -> None:
    """Connected, with the peer's address as accept told it, and usable at once."""
    async with listening() as server:
        with await connect(server) as peer:
            sock = await server.accept()
            assert type(sock) is TCPSocket
            assert sock.state is SocketState.CONNECTED
            assert sock.is_connected
            assert (sock.remote_address, sock.remote_port) == ("127.0.0.1", peer.port)
            assert sock.local_port == sock.port == server.port
            peer.send_nowait(b"hello")
            assert await sock.receive_some() == b"hello"
            await sock.send_all(b"bye")
            assert await peer.recv_exactly(3) == b"bye"


async def test_accept_waits_for_a_connection() -> None:
    """Whoever comes first is given to whoever waited longest."""
    async with listening() as server:
        got: list[tuple[int, TCPSocket]] = []

        async def accept(number: int) -> None:
            got.append((number, await server.accept()))

        async with trio.open_nursery() as nursery:
            for number in range(3):
                nursery.start_soon(accept, number)
                await trio.testing.wait_all_tasks_blocked()
            peers = []
            for number in range(3):
                peers.append(await connect(server))
                await until(lambda number=number: len(got) == number + 1)
        assert [number for number, _ in got] == [0, 1, 2]
        assert [sock.remote_port for _, sock in got] == [peer.port for peer in peers]
        close_all(peers)


async def test_accept_is_a_checkpoint_on_its_fast_path() -> None:
    """Also when a connection waits already; and then a cancellation takes none."""
    async with listening() as server:
        with await connect(server):
            await until(server.active_connections)
            with trio.CancelScope() as scope:
                scope.cancel()
                await server.accept()
            assert scope.cancelled_caught
            with trio.testing.assert_checkpoints():
                sock = await server.accept()
            assert server.active_connections() == [sock]


async def test_a_cancelled_accept_loses_no_connection() -> None:
    """The next one gets it, also when cancellation and connection come together."""
    async with listening() as server:
        accepted = []
        with await connect(server) as first:
            await server.accept()
            for number in range(20):
                scope = trio.CancelScope()
                async with trio.open_nursery() as nursery:

                    async def accept(scope: trio.CancelScope) -> None:
                        with scope:
                            accepted.append(await server.accept())

                    nursery.start_soon(accept, scope)
                    await trio.testing.wait_all_tasks_blocked()
                    peer = await connect(server)
                    for _ in range(number % 5):
                        await trio.lowlevel.checkpoint()
                    scope.cancel()
                with peer:
                    if scope.cancelled_caught:
                        accepted.append(await server.accept())
                    assert accepted[-1].remote_port == peer.port
                    await accepted[-1].aclose()
            assert len(accepted) == 20
            assert [sock.remote_port for sock in server.active_connections()] == [first.port]


async def test_accept_before_listen_is_refused() -> None:
    """InvalidStateError, and no SocketClosedError: nobody has closed anything."""
    server = ServerSocket()
    with pytest.raises(InvalidStateError, match="listen"):
        await server.accept()
    async with server:
        with pytest.raises(InvalidStateError) as caught:
            await server.accept()
        assert not isinstance(caught.value, SocketClosedError)


async def test_stop_listening_wakes_who_waits() -> None:
    """They get SocketClosedError, as does who comes later."""
    async with listening() as server:

        async def accept() -> None:
            with pytest.raises(SocketClosedError, match="stopped listening"):
                await server.accept()

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(accept)
            await trio.testing.wait_all_tasks_blocked()
            server.stop_listening()
        await accept()
    await accept()


async def test_a_socket_may_be_entered_once() -> None:
    """Its async with closes it; a second one is refused."""
    async with listening() as server:
        with await connect(server) as peer:
            sock = await server.accept()
            async with sock as entered:
                assert entered is sock
                await sock.send_all(b"bye")
            assert sock.state is SocketState.CLOSED
            assert await peer.recv_all_to_eof() == b"bye"
            assert server.active_connections() == []
            with pytest.raises(InvalidStateError, match="entered only once"):
                async with sock:
                    pass


async def test_a_socket_that_has_ended_may_still_be_entered() -> None:
    """The peer was faster: what it sent can be read all the same."""
    async with listening() as server:
        peer = await connect(server)
        sock = await server.accept()
        peer.send_nowait(b"hello")
        await until(lambda: sock.bytes_available == 5)
        peer.reset()
        await until(lambda: sock.state is SocketState.CLOSED)
        async with sock:
            assert await sock.receive_some() == b"hello"


async def test_the_body_of_an_accepted_socket_raises_its_own_exception() -> None:
    """As from any socket's block: the same object, and the connection is closed at once."""
    error = ValueError("mine")
    async with listening() as server:
        with await connect(server) as peer:
            sock = await server.accept()
            with pytest.raises(ValueError, match="mine") as caught:
                async with sock:
                    raise error
            assert caught.value is error
            assert await peer.recv_some() == b""


async def test_an_accepted_socket_does_not_connect_again() -> None:
    """It was made for one connection, and says so; open or not, in its block or not."""
    async with listening() as server:
        with await connect(server):
            sock = await server.accept()
            with pytest.raises(InvalidStateError):
                await sock.connect()
            async with sock:
                sock.close()
                sock.address, sock.port = "127.0.0.1", server.port
                with pytest.raises(InvalidStateError, match="made by a server"):
                    await sock.connect()
                with pytest.raises(InvalidStateError, match="made by a server"):
                    await sock.listen()
            assert sock.state is SocketState.CLOSED


async def test_start_soon_of_an_accepted_socket_lives_in_the_servers_block() -> None:
    """Such tasks go on after the connection, and end with the server's block."""
    ended = []

    async def task() -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append(True)

    async with listening() as server:
        with await connect(server):
            sock = await server.accept()
            sock.start_soon(task)
            sock.close()
            await trio.testing.wait_all_tasks_blocked()
            assert not ended
            sock.start_soon(task)
            await trio.testing.wait_all_tasks_blocked()
    assert ended == [True, True]
    with pytest.raises(InvalidStateError, match="block has been left"):
        sock.start_soon(task)


async def test_start_soon_of_an_entered_socket_lives_in_its_own_block() -> None:
    """There the tasks end with that block, and their exceptions leave it."""
    async with listening() as server:
        with await connect(server):
            sock = await server.accept()
            with trio.testing.assert_checkpoints():
                async with sock:
                    sock.start_soon(trio.sleep_forever)
        with await connect(server):
            sock = await server.accept()
            error = ValueError("task")

            async def fail() -> None:
                await trio.lowlevel.checkpoint()
                raise error

            with pytest.raises(ValueError, match="task") as caught:
                async with sock:
                    sock.start_soon(fail)
                    await trio.sleep_forever()
            assert caught.value is error


# Live sockets


async def test_sockets_with_a_handler_are_live_at_once() -> None:
    """Their handler is called from Connected on, without anybody accepting them."""
    recorders: list[EventRecorder] = []

    def add_socket() -> TCPSocket:
        recorders.append(EventRecorder(read=True))
        return TCPSocket(handler=recorders[-1])

    async with listening(add_socket=add_socket) as server:
        with await connect(server) as peer:
            peer.send_nowait(b"hello")
            await recorders[0].wait_for(DataAvailable)
            assert recorders[0].names == ["on_connected", "on_data_available"]
            assert recorders[0].received == b"hello"
            with trio.move_on_after(0) as scope:
                await server.accept()
            assert scope.cancelled_caught
            (sock,) = server.active_connections()
            sock.write(b"from a handler's socket")
            assert await peer.recv_exactly(23) == b"from a handler's socket"
        await recorders[0].wait_for(ErrorOccurred)
        await until(lambda: not server.active_connections())


async def test_sockets_with_a_channel_are_live_at_once() -> None:
    """One channel for all connections: their events come there, and nowhere else."""
    channel = EventChannel()
    async with listening(add_socket=lambda: TCPSocket(events=channel)) as server:
        peers = await connect_many(server, 5)
        ports = {(await channel.receive()).socket.remote_port for _ in range(5)}
        assert ports == {peer.port for peer in peers}
        close_all(peers)
    channel.close()


async def test_live_sockets_are_not_held_up_by_others() -> None:
    """Beside sockets that nobody accepts, those that are live come in, and are never accepted."""
    recorder = EventRecorder()
    kinds = [None, recorder, None, recorder, recorder]

    def add_socket() -> TCPSocket:
        return TCPSocket(handler=kinds.pop(0) if kinds else recorder)

    async with listening(add_socket=add_socket, minimum_sockets_available=2) as server:
        peers = await connect_many(server, 6)
        await until(lambda: len(server.active_connections()) == 6)
        plain = [await server.accept() for _ in range(2)]
        assert [sock.remote_port for sock in plain] == [peers[0].port, peers[2].port]
        close_all(peers)


# How many


@pytest.mark.parametrize(("minimum", "ready"), [(0, 1), (1, 1), (2, 2), (5, 5)])
async def test_so_many_wait_ready_while_nobody_asks(minimum: int, ready: int) -> None:
    """At most max(1, minimum) are accepted ahead; the others stay in the backlog."""
    async with listening(minimum_sockets_available=minimum) as server:
        peers = await connect_many(server, 8)
        await until(lambda: len(server.active_connections()) == ready)
        await trio.testing.wait_all_tasks_blocked()
        assert len(server.active_connections()) == ready
        assert server.statistics().ready == ready
        accepted = [await server.accept() for _ in range(8)]
        assert [sock.remote_port for sock in accepted] == [peer.port for peer in peers]
        assert server.statistics().ready == 0
        assert server.statistics().accepted == 8
        close_all(peers)


async def test_a_connection_that_dies_ready_is_never_accepted() -> None:
    """It gives up its place to the next one."""
    async with listening(minimum_sockets_available=1) as server:
        dead = await connect(server)
        await until(server.active_connections)
        with await connect(server) as peer:
            dead.reset()
            await until(lambda: [s.remote_port for s in server.active_connections()] == [peer.port])
            assert (await server.accept()).remote_port == peer.port


async def test_newcomers_wait_in_the_backlog_at_the_ceiling() -> None:
    """A place is free as soon as a connection ends, whoever ended it."""
    async with listening(maximum_sockets_connected=2) as server:
        peers = await connect_many(server, 6)
        first, second = await server.accept(), await server.accept()
        with trio.move_on_after(0):
            await server.accept()
        await trio.testing.wait_all_tasks_blocked()
        assert server.statistics().accepted == 2
        first.close()
        third = await server.accept()
        assert third.remote_port == peers[2].port
        peers[1].reset()
        fourth = await server.accept()
        assert second.state is SocketState.CLOSED
        await fourth.aclose()
        fifth = await server.accept()
        async with fifth:
            await trio.testing.wait_all_tasks_blocked()
            assert server.active_connections() == [third, fifth]
        assert (await server.accept()).remote_port == peers[5].port
        close_all(peers)


async def test_a_closing_connection_has_given_its_place_back() -> None:
    """It may linger to deliver what it has; that counts against nobody."""
    async with listening(maximum_sockets_connected=1) as server:
        with await RawPeer.connect(server.port, small=True) as slow, await connect(server) as next_:
            sock = await server.accept()
            sock.write(bytes(2**22))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(sock.aclose, 1e6)
                assert (await server.accept()).remote_port == next_.port
                assert sock.state is SocketState.CLOSING
                assert sock not in server.active_connections()
                assert await slow.count_to_eof() == 2**22


def end_ended(sockets: list[TCPSocket]) -> None:
    """What the peer has ended, we end as well."""
    for sock in sockets:
        if sock.is_connected and sock.at_eof:
            sock.close()


async def test_places_are_freed_exactly_once() -> None:
    """Random connects, resets, closes and limits: never more than the maximum, none lost."""
    rng = random.Random(8)
    async with listening(maximum_sockets_connected=4) as server, trio.open_nursery() as nursery:
        sockets: list[TCPSocket] = []

        async def take() -> None:
            while True:
                sockets.append(await server.accept())
                maximum = server.maximum_sockets_connected
                assert maximum is not None
                assert len(server.active_connections()) <= max(maximum, highest)

        highest = 4
        nursery.start_soon(take)
        peers: list[RawPeer] = []
        for _ in range(400):
            match rng.randrange(6):
                case 0 | 1:
                    if len(peers) < 40:
                        peers.append(await connect(server))
                case 2:
                    if peers:
                        peers.pop(rng.randrange(len(peers))).reset()
                case 3:
                    if peers:
                        peers.pop(rng.randrange(len(peers))).close()
                case 4:
                    if sockets:
                        sock = rng.choice(sockets)
                        sock.close()
                        sock.close()
                case _:
                    highest = len(server.active_connections())
                    server.maximum_sockets_connected = rng.randint(1, 6)
            for _ in range(rng.randrange(4)):
                await trio.lowlevel.checkpoint()
            end_ended(sockets)
        close_all(peers)
        with await connect(server) as last:
            while [sock.remote_port for sock in server.active_connections()] != [last.port]:
                end_ended(sockets)
                await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()


async def test_waiting_for_the_last_connection() -> None:
    """aclose() returns when the last connection has ended; also a second task that waits."""
    async with listening() as server:
        with await RawPeer.connect(server.port, small=True) as peer:
            sock = await server.accept()
            sock.write(bytes(2**22))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(server.aclose, 1e6)
                nursery.start_soon(server.aclose, 1e6)
                await trio.testing.wait_all_tasks_blocked()
                assert len(nursery.child_tasks) == 2
                assert await peer.count_to_eof() == 2**22

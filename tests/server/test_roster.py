"""The books of a server: who is connected, who waits, and for how many there is a place."""

from __future__ import annotations

import random
from typing import Any

import pytest
import trio
import trio.testing

from tests.support import EventRecorder, RawPeer, until
from tests.support.serving import connect, followers, listening, outage
from trio_xsock import (
    ConnectionsChanged,
    DataAvailable,
    ErrorOccurred,
    EventChannel,
    InvalidStateError,
    OpenDriverError,
    ServerSocket,
    SocketClosedError,
    SocketState,
    TCPSocket,
)


def close_all(peers: list[RawPeer]) -> None:
    for peer in peers:
        peer.close()


async def connect_many(server: ServerSocket[Any], count: int) -> list[RawPeer]:
    return [await connect(server) for _ in range(count)]


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


async def test_sockets_are_made_ahead_and_on_demand() -> None:
    """As many as minimum_sockets_available say, and more as it grows; never too few."""
    made: list[TCPSocket] = []

    def add_socket() -> TCPSocket:
        made.append(TCPSocket())
        return made[-1]

    async with listening(add_socket=add_socket, minimum_sockets_available=3) as server:
        assert len(made) == 3
        peers = await connect_many(server, 1)
        assert await server.accept() is made[0]
        assert len(made) == 4
        server.minimum_sockets_available = 6
        assert len(made) == 9 - 2
        server.minimum_sockets_available = 0
        for number in range(1, 8):
            peers += await connect_many(server, 1)
            assert await server.accept() is made[number]
        assert len(made) == 8
        server.stop_listening()
        server.minimum_sockets_available = 50
        assert len(made) == 8
        close_all(peers)


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


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("minimum_sockets_available", -1, ValueError),
        ("minimum_sockets_available", 1.0, TypeError),
        ("minimum_sockets_available", None, TypeError),
        ("maximum_sockets_connected", 0, ValueError),
        ("maximum_sockets_connected", -1, ValueError),
        ("maximum_sockets_connected", "3", TypeError),
        ("maximum_sockets_connected", True, TypeError),
    ],
)
def test_limits_that_make_no_sense_are_refused(
    name: str, value: Any, error: type[Exception]
) -> None:
    """At construction, and at assignment, which then changes nothing."""
    options: dict[str, Any] = {name: value}
    with pytest.raises(error, match=name):
        ServerSocket(**options)
    server = ServerSocket(minimum_sockets_available=7, maximum_sockets_connected=8)
    with pytest.raises(error, match=name):
        setattr(server, name, value)
    assert server.minimum_sockets_available == 7
    assert server.maximum_sockets_connected == 8


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


def end_ended(sockets: list[TCPSocket]) -> None:
    """What the peer has ended, we end as well."""
    for sock in sockets:
        if sock.is_connected and sock.at_eof:
            sock.close()


# A factory that fails


async def bad_add_socket_is_reported(add_socket: Any, match: str) -> None:
    """Have a server whose second socket is no good; it stops, and all of it says so."""
    made = 0

    def second_is_bad() -> Any:
        nonlocal made
        made += 1
        return TCPSocket() if made == 1 else add_socket()

    recorder = EventRecorder()
    async with ServerSocket(
        address="127.0.0.1",
        minimum_sockets_available=0,
        add_socket=second_is_bad,
        handler=recorder,
    ) as server:
        await server.listen()
        with await connect(server), await connect(server) as peer:
            first = await server.accept()
            with pytest.raises(InvalidStateError, match=match) as caught:
                await server.accept()
            assert await peer.recv_some() == b""
            assert not server.is_listening
            assert first.is_connected
            error = (await recorder.wait_for(ErrorOccurred)).error
            assert caught.value is error
            with pytest.raises(InvalidStateError) as again:
                await server.accept()
            assert again.value is error
            assert server.events.receive_nowait() == ErrorOccurred(server, error)
        assert recorder.names == ["on_error"]
        made = 0
        await server.listen()
        with await connect(server):
            assert (await server.accept()).is_connected


async def test_add_socket_that_returns_none_later() -> None:
    """It stops the server, which then may listen again; no descriptor is kept (F50)."""
    await bad_add_socket_is_reported(lambda: None, "must return a new TCPSocket")


async def test_add_socket_that_raises_later() -> None:
    """What it raised is the cause (F50)."""
    await bad_add_socket_is_reported(lambda: {}["x"], "add_socket raised KeyError")


async def test_add_socket_that_fails_at_once() -> None:
    """Then listen() raises it, and nothing listens (F50)."""
    one = TCPSocket()

    def raising() -> TCPSocket:
        raise ValueError("no more")

    def nothing() -> Any:
        return None

    for add_socket in (nothing, raising, lambda: one):
        async with ServerSocket(add_socket=add_socket) as server:
            with pytest.raises(InvalidStateError, match="add_socket"):
                await server.listen()
            assert not server.is_listening
            with pytest.raises(InvalidStateError):
                await server.accept()


async def test_add_socket_that_fails_when_the_minimum_grows() -> None:
    """Reported as any failure after listen(): nothing is raised where nobody expects it."""
    good = 2

    def add_socket() -> TCPSocket:
        nonlocal good
        good -= 1
        if good < 0:
            raise ValueError("no more")
        return TCPSocket()

    async with listening(add_socket=add_socket) as server:
        events = server.events
        server.minimum_sockets_available = 3
        assert not server.is_listening
        event = events.receive_nowait()
        assert isinstance(event, ErrorOccurred)
        assert isinstance(event.error.__cause__, ValueError)


async def test_ctrl_c_in_add_socket_leaves_the_block() -> None:
    """KeyboardInterrupt is nobody's failure; the server closes, and it comes out as itself."""
    error = KeyboardInterrupt()
    made = 0

    def add_socket() -> TCPSocket:
        nonlocal made
        made += 1
        if made > 2:
            raise error
        return TCPSocket()

    with pytest.raises(KeyboardInterrupt) as caught:
        async with listening(add_socket=add_socket) as server:
            with await connect(server):
                await trio.sleep_forever()
    assert caught.value is error
    assert not server.is_listening
    made = 2
    with pytest.raises(KeyboardInterrupt):
        async with ServerSocket(add_socket=add_socket) as server:
            await server.listen()
    assert made == 3


async def test_ctrl_c_in_add_socket_on_demand_loses_no_descriptor() -> None:
    """The connection that it was called for is closed."""

    def add_socket() -> TCPSocket:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        async with listening(add_socket=add_socket, minimum_sockets_available=0) as server:
            with await connect(server):
                await trio.sleep_forever()


async def test_an_outage_is_posted_and_stops_nothing() -> None:
    """The acceptor tells of it; whoever listens to the server learns of it."""
    async with listening() as server:
        error = OpenDriverError("no descriptor", errno=24)
        outage(server, error)
        assert server.statistics().events_posted == 0  # nobody listens
        events = server.events
        outage(server, error)
        assert events.receive_nowait() == ErrorOccurred(server, error)
        assert server.is_listening


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


# Who comes and goes


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

"""``ServerSocket``: its constructor, its block, its end."""

from __future__ import annotations

import errno
import gc
import inspect
import os
import socket
import time
import weakref
from typing import Any

import pytest
import trio
import trio.testing

from tests.support import EventRecorder, RawPeer, until
from tests.support.serving import (
    connect,
    echo,
    listening,
    open_connections,
    running_handlers,
    serving,
    start_serving,
)
from trio_xsock import (
    ErrorOccurred,
    InvalidPortError,
    InvalidStateError,
    ServerSocket,
    SocketClosedError,
    SocketState,
    TCPSocket,
)
from trio_xsock._runtime import readiness as _readiness

HAS_IPV6 = socket.has_ipv6 and os.path.exists("/proc/net/if_inet6")


# Construction


def test_a_server_has_the_defaults_of_the_contract() -> None:
    """SPEC 8, as far as it goes; a server that was never entered holds nothing."""
    parameters = inspect.signature(ServerSocket).parameters
    defaults = {name: parameter.default for name, parameter in parameters.items()}
    assert defaults == {
        "port": 0,
        "address": "",
        "network_interface": None,
        "minimum_sockets_available": 2,
        "maximum_sockets_connected": None,
        "add_socket": TCPSocket,
        "handler": None,
        "idle_timeout": None,
        "maximum_handshakes": 100,
        "handshake_timeout": 30.0,
        "backlog": None,
        "reuse_port": False,
        "raise_handler_errors": False,
        "proxy_protocol": False,
        "trusted_proxies": ("127.0.0.0/8", "::1"),
    }
    server = ServerSocket(8080)
    assert server.port == 8080
    assert server.handle == -1
    assert not server.is_listening
    assert server.active_connections() == []
    assert server.statistics().accepted == 0
    assert server.local_address
    assert repr(server) == "<ServerSocket not listening on *:8080, 0 connections>"


def test_a_server_is_a_listener() -> None:
    """Wherever Trio takes one, it will do; and it is generic in its sockets."""
    assert isinstance(ServerSocket(), trio.abc.Listener)
    assert ServerSocket[TCPSocket](port=1).port == 1


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"port": 65536}, InvalidPortError),
        ({"port": -1}, InvalidPortError),
        ({"port": "80"}, TypeError),
        ({"address": 5}, TypeError),
        ({"network_interface": "lo"}, TypeError),
        ({"add_socket": None}, TypeError),
        ({"add_socket": TCPSocket()}, TypeError),
        ({"backlog": -1}, ValueError),
        ({"backlog": 1.5}, TypeError),
        ({"minimum_sockets_available": -1}, ValueError),
        ({"maximum_sockets_connected": 0}, ValueError),
        ({"no_such_option": 1}, TypeError),
    ],
)
def test_options_that_make_no_sense_are_refused(
    options: dict[str, Any], error: type[Exception]
) -> None:
    """At construction, before any I/O."""
    with pytest.raises(error):
        ServerSocket(**options)


def test_async_functions_are_refused() -> None:
    """As add_socket, and as a method of the handler."""

    async def add_socket() -> TCPSocket:
        return TCPSocket()

    class Handler:
        async def on_error(self, server: Any, error: Exception) -> None: ...

    with pytest.raises(TypeError, match="add_socket must be a plain function"):
        ServerSocket(add_socket=add_socket)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="on_error is an async function"):
        ServerSocket(handler=Handler())


# Serving


async def test_serve_listens_if_need_be_and_reports_the_port() -> None:
    """It starts with nursery.start, and also on a server that listens already."""
    async with ServerSocket(address="127.0.0.1") as server, trio.open_nursery() as nursery:
        port = await nursery.start(server.serve, echo)
        assert port == server.port > 0
        assert server.is_listening
        nursery.cancel_scope.cancel()
    async with listening() as server, trio.open_nursery() as nursery:
        before = server.port
        assert await nursery.start(server.serve, echo) == before
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("handler", [None, 5, "echo"])
async def test_what_is_no_function_is_no_handler(handler: Any) -> None:
    """Refused at the call; nothing listens."""
    async with ServerSocket() as server:
        with pytest.raises(TypeError, match="handler must be an async function"):
            await server.serve(handler)
        assert not server.is_listening


# Trio's own


async def test_trios_serve_listeners_works() -> None:
    """A Listener is a Listener; sockets are closed when their handlers return."""
    async with listening() as server, trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, echo, [server])
        peers = [await connect(server) for _ in range(5)]
        for number, peer in enumerate(peers):
            peer.send_nowait(b"%d" % number)
            assert await peer.recv_exactly(1) == b"%d" % number
            peer.fin()
            assert await peer.recv_some() == b""
            peer.close()
        await until(lambda: not server.active_connections())
        nursery.cancel_scope.cancel()
    assert not server.is_listening


async def test_a_server_may_be_entered_again_inside_its_block() -> None:
    """As a Listener by whoever is given it; the end of that closes it, the block goes on."""
    async with listening() as server:
        async with server as again:
            assert again is server
            assert server.is_listening
        assert not server.is_listening
        await server.listen()
        error = ValueError("guest")
        with pytest.raises(ValueError, match="guest") as caught:
            with await connect(server):
                sock = await server.accept()
                async with server:
                    raise error
        assert caught.value is error
        assert sock.state is SocketState.CLOSED
        server.start_soon(trio.sleep_forever)


async def test_a_guest_may_stay_longer_than_the_block() -> None:
    """Each leaves what it entered, in whatever order."""
    entered, leave = trio.Event(), trio.Event()

    async def guest() -> None:
        async with server:
            entered.set()
            await leave.wait()

    async with trio.open_nursery() as nursery:
        async with listening() as server:
            nursery.start_soon(guest)
            await entered.wait()
            with await connect(server):
                sock = await server.accept()
                server.start_soon(trio.sleep_forever)
        assert sock.state is SocketState.CLOSED
        leave.set()


async def test_a_pair_made_by_a_server_is_a_trio_stream() -> None:
    """Both ends, with the server's in its scope."""
    async with listening() as server:
        async with TCPSocket("127.0.0.1", server.port) as client:
            await client.connect()
            accepted = await server.accept()
            async with accepted:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(client.send_all, bytes(2**20))
                    assert await accepted.receive_exactly(2**20) == bytes(2**20)
                await client.send_eof()
                assert await accepted.receive_some() == b""
                await accepted.send_all(b"bye")
                assert await client.receive_some() == b"bye"


# The events of a server


async def test_events_of_a_server_end_with_it() -> None:
    """Iteration goes on over stop_listening, and ends with close(); listening begins it anew."""
    async with ServerSocket(address="127.0.0.1") as server:
        await server.listen()
        events = server.events
        assert server.events is events
        other = server.subscribe()
        server.stop_listening()
        with pytest.raises(trio.WouldBlock):
            events.receive_nowait()
        server.close()
        assert [event async for event in events] == []
        assert [event async for event in other] == []
        await server.listen()
        with pytest.raises(trio.WouldBlock):
            events.receive_nowait()


async def test_who_asks_late_learns_why_a_server_stopped() -> None:
    """A new channel begins with the error that stopped it, until it listens again."""
    async with listening(minimum_sockets_available=0, add_socket=lambda: None) as server:  # type: ignore[arg-type]
        with await connect(server):
            await until(lambda: not server.is_listening)
        (event,) = [server.subscribe().receive_nowait()]
        assert isinstance(event, ErrorOccurred)
        assert event.socket is server
        assert server.events.statistics().current_buffer_used == 1


# The end


async def test_leaving_the_block_closes_everything() -> None:
    """Listeners, connections that wait, and those that were accepted."""
    async with listening() as server:
        port = server.port
        peers = [await connect(server) for _ in range(3)]
        sock = await server.accept()
        await until(lambda: len(server.active_connections()) == 3)
    assert not server.is_listening
    assert server.active_connections() == []
    assert sock.state is SocketState.CLOSED
    for peer in peers:
        assert await peer.recv_some() == b""
        peer.close()
    with pytest.raises(ConnectionRefusedError):
        await RawPeer.connect(port)


async def test_leaving_the_block_by_an_exception_closes_at_once() -> None:
    """The exception leaves as itself, and the handlers are cancelled."""
    error = ValueError("body")
    cancelled = []

    async def handler(sock: TCPSocket) -> None:
        sock.write(bytes(2**22))
        try:
            await trio.sleep_forever()
        finally:
            cancelled.append(True)

    async with trio.open_nursery() as nursery:
        with pytest.raises(ValueError, match="body") as caught:
            async with ServerSocket(address="127.0.0.1") as server:
                await start_serving(nursery, server, handler)
                with await connect(server):
                    await until(lambda: running_handlers(server))
                    await trio.testing.wait_all_tasks_blocked()
                    raise error
        assert caught.value is error
        assert cancelled


async def test_cancelling_the_block_closes_at_once() -> None:
    """No grace for anybody."""
    with trio.CancelScope() as scope:
        async with listening() as server:
            with await RawPeer.connect(server.port, small=True) as peer:
                sock = await server.accept()
                sock.write(bytes(2**22))
                scope.cancel()
                await trio.lowlevel.checkpoint()
    assert scope.cancelled_caught
    assert sock.state is SocketState.CLOSED
    assert peer.received < 2**22


async def test_aclose_lets_the_handlers_finish() -> None:
    """They have the grace; newcomers are refused meanwhile."""
    done = []

    async def handler(sock: TCPSocket) -> None:
        assert await sock.receive_exactly(3) == b"end"
        await sock.send_all(b"done")
        done.append(True)

    async with trio.open_nursery() as nursery:
        async with ServerSocket(address="127.0.0.1") as server:
            await start_serving(nursery, server, handler)
            port = server.port
            peers = [await connect(server) for _ in range(3)]
            await until(lambda: running_handlers(server) == 3)
            async with trio.open_nursery() as closing:
                closing.start_soon(server.aclose, 1e6)
                await until(lambda: not server.is_listening)
                with pytest.raises(ConnectionRefusedError):
                    await RawPeer.connect(port)
                assert len(server.active_connections()) == 3
                for peer in peers:
                    peer.send_nowait(b"end")
                    assert await peer.recv_all_to_eof() == b"done"
                    peer.close()
            assert len(done) == 3
            with trio.testing.assert_checkpoints():
                await server.aclose()


async def test_aclose_cancels_those_who_do_not_finish(
    mock_clock: trio.testing.MockClock,
) -> None:
    """When the grace is over; it returns when they have ended."""
    ended = []

    async def handler(sock: TCPSocket) -> None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.lowlevel.checkpoint()
            ended.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        async with ServerSocket(address="127.0.0.1") as server:
            await start_serving(nursery, server, handler)
            with await connect(server) as peer:
                await until(lambda: running_handlers(server))
                await trio.testing.wait_all_tasks_blocked()
                async with trio.open_nursery() as closing:
                    closing.start_soon(server.aclose, 3)
                    await trio.testing.wait_all_tasks_blocked()
                    mock_clock.jump(2.9)
                    await trio.testing.wait_all_tasks_blocked()
                    assert ended == []
                    mock_clock.jump(0.2)
                assert ended == [3.1]
                assert await peer.recv_some() == b""


async def test_aclose_with_no_grace_is_close() -> None:
    """Zero seconds: everybody is cancelled at once."""
    cancelled = []

    async def handler(sock: TCPSocket) -> None:
        try:
            await trio.sleep_forever()
        finally:
            cancelled.append(True)

    async with serving(handler) as server:
        with await connect(server):
            await until(lambda: running_handlers(server))
            await trio.testing.wait_all_tasks_blocked()
            await server.aclose(0)
            assert cancelled
            assert not running_handlers(server)


async def test_a_cancelled_aclose_still_closes() -> None:
    """trio.aclose_forcefully works."""
    async with listening() as server:
        with await connect(server):
            sock = await server.accept()
            await trio.aclose_forcefully(server)
            assert not server.is_listening
            assert sock.state is SocketState.CLOSED


@pytest.mark.parametrize(
    ("grace", "error"), [(-1, ValueError), (float("nan"), ValueError), ("5", TypeError)]
)
async def test_a_grace_that_makes_no_sense_is_refused(grace: Any, error: type[Exception]) -> None:
    """Before anything is closed."""
    async with listening() as server:
        with pytest.raises(error, match="grace"):
            await server.aclose(grace)
        assert server.is_listening


async def test_aclose_delivers_what_unserved_connections_have_queued() -> None:
    """Those that nobody serves are closed as by their own aclose; live ones too."""
    recorder = EventRecorder()
    kinds: list[Any] = [None, recorder]
    async with listening(add_socket=lambda: TCPSocket(handler=kinds.pop(0))) as server:
        kinds += [None] * 9
        peers = [await RawPeer.connect(server.port, small=True) for _ in range(2)]
        await until(lambda: len(server.active_connections()) == 2)
        for sock in server.active_connections():
            sock.write(bytes(2**20))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.aclose, 1e6)
            for peer in peers:
                assert await peer.count_to_eof() == 2**20
                peer.close()
        assert recorder.names[-1] == "on_send_complete"


async def test_a_handler_may_close_its_server() -> None:
    """From within: stop_listening() for the graceful end, close() for the other."""

    async def stop(sock: TCPSocket) -> None:
        server.stop_listening()
        await sock.send_all(b"bye")

    async def close(sock: TCPSocket) -> None:
        server.close()
        await trio.sleep_forever()

    async with ServerSocket(address="127.0.0.1") as server:
        for handler, farewell in ((stop, b"bye"), (close, b"")):
            async with trio.open_nursery() as nursery:
                await nursery.start(server.serve, handler)
                with await connect(server) as peer:
                    assert await peer.recv_all_to_eof() == farewell


async def test_close_is_always_legal() -> None:
    """Before, in and after the block, and again."""
    server = ServerSocket()
    server.stop_listening()
    server.close()
    await server.aclose()
    async with server:
        server.close()
        await server.listen()
        server.close()
        server.close()
        await server.aclose()
        await server.listen()
    server.close()
    await server.aclose()


async def test_handlers_of_live_sockets_run_before_the_block_is_left() -> None:
    """What closing them caused is told to them, and it may be a failure."""
    recorder = EventRecorder()
    async with listening(add_socket=lambda: TCPSocket(handler=recorder)) as server:
        with await RawPeer.connect(server.port, small=True):
            await until(server.active_connections)
            server.active_connections()[0].write(bytes(2**22))
            server.close()
    assert recorder.calls[-1] == ("on_send_complete", True)

    def fail(_: object) -> None:
        raise ValueError("at the very end")

    failing = EventRecorder(reactions={"on_send_complete": fail})
    with pytest.raises(ValueError, match="at the very end"):
        async with listening(
            add_socket=lambda: TCPSocket(handler=failing), raise_handler_errors=True
        ) as server:
            with await RawPeer.connect(server.port, small=True):
                await until(server.active_connections)
                server.active_connections()[0].write(bytes(2**22))
                server.close()


async def test_a_sockets_block_may_be_left_after_the_servers() -> None:
    """The connection ended with the server; leaving its own block does no harm."""
    entered, leave = trio.Event(), trio.Event()

    async def use(sock: TCPSocket) -> None:
        async with sock:
            entered.set()
            await leave.wait()
            with pytest.raises(SocketClosedError):
                await sock.send_all(b"x")
            with pytest.raises(InvalidStateError, match="has been left"):
                sock.start_soon(trio.sleep_forever)

    async with trio.open_nursery() as nursery:
        async with listening() as server:
            with await connect(server):
                accepted = await server.accept()
                nursery.start_soon(use, accepted)
                await entered.wait()
        leave.set()


async def test_run_lives_until_the_server_is_closed() -> None:
    """A server in a task of its own."""
    async with trio.open_nursery() as nursery:
        server = await nursery.start(ServerSocket(address="127.0.0.1").run)
        await server.listen()
        with await connect(server):
            sock = await server.accept()
            assert sock.is_connected
            server.close()
    assert sock.state is SocketState.CLOSED


async def test_tasks_of_a_server_end_with_its_block() -> None:
    """start_soon works as for a socket."""
    cancelled = []

    async def task() -> None:
        try:
            await trio.sleep_forever()
        finally:
            cancelled.append(True)

    async with listening() as server:
        server.start_soon(task)
        await trio.testing.wait_all_tasks_blocked()
    assert cancelled


async def test_an_outage_of_epoll_is_no_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no descriptor for the readiness hub, sockets wait for themselves."""

    def join() -> Any:
        raise OSError(errno.EMFILE, "too many")

    monkeypatch.setattr(_readiness.EpollHub, "join", join)
    async with serving(echo) as server:
        with await connect(server) as peer:
            peer.send_nowait(b"x")
            assert await peer.recv_exactly(1) == b"x"


async def test_nothing_of_a_server_stays_behind() -> None:
    """It is let go of without the cyclic garbage collector, used or not."""
    gc.disable()
    try:
        reference: weakref.ref[ServerSocket[TCPSocket]] = weakref.ref(ServerSocket())
        assert reference() is None
        async with serving(echo) as server:
            with await connect(server) as peer:
                peer.send_nowait(b"x")
                assert await peer.recv_exactly(1) == b"x"
                peer.fin()
                assert await peer.recv_some() == b""
            await server.aclose()
        reference = weakref.ref(server)
        del server
        assert reference() is None
    finally:
        gc.enable()


async def test_a_server_refuses_to_send() -> None:
    """What the base of sockets and servers asks for, answered."""
    server = ServerSocket()
    assert not server._send_some()
    server._abort_from_handler()


# Many


@pytest.mark.slow
async def test_five_hundred_connections() -> None:
    """All are served at the same time; nothing is left of them."""
    count = 500
    async with serving(echo) as server:
        peers = [await connect(server) for _ in range(count)]
        for number, peer in enumerate(peers):
            peer.send_nowait(b"%4d" % number)
        for number, peer in enumerate(peers):
            assert await peer.recv_exactly(4) == b"%4d" % number
        assert len(server.active_connections()) == count
        for peer in peers:
            peer.fin()
        for peer in peers:
            assert await peer.recv_some() == b""
            peer.close()
        await until(lambda: not open_connections(server))
        assert server.statistics().accepted == count
        assert server.statistics().failed == 0


async def test_idle_connections_cost_no_time() -> None:
    """At a full house with a queue before the door, nobody spins."""
    async with serving(echo, maximum_sockets_connected=5) as server:
        peers = [await connect(server) for _ in range(10)]
        await until(lambda: len(server.active_connections()) == 5)
        await trio.testing.wait_all_tasks_blocked()
        before = time.process_time()
        await trio.sleep(0.1)
        assert time.process_time() - before < 0.02
        for peer in peers:
            peer.close()

"""How a server stops its handlers: none of them fails by that, and idle ones end at once."""

from __future__ import annotations

import logging
import resource
import socket as stdlib_socket
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.support import until
from tests.support.serving import connect, echo, running_handlers, start_serving
from trio_xsock import (
    EasyTCPSocket,
    Message,
    ServerSocket,
    SocketClosedError,
    TCPSocket,
)

Handler = Callable[[Any], Awaitable[object]]
Stop = Callable[[ServerSocket[Any]], Awaitable[object]]


async def polite_echo(sock: TCPSocket) -> None:
    """An echo handler that says where it may be stopped."""
    while True:
        with sock.may_stop():
            chunk = await sock.receive_some()
        if not chunk:
            return
        await sock.send_all(chunk)


async def close(server: ServerSocket[Any]) -> None:
    server.close()
    await trio.lowlevel.checkpoint()


async def aclose_now(server: ServerSocket[Any]) -> None:
    await server.aclose(0)


async def aclose(server: ServerSocket[Any]) -> None:
    await server.aclose(60)


def loud(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged above INFO."""
    return [each.getMessage() for each in caplog.records if each.levelno > logging.INFO]


@pytest.mark.parametrize("raising", [False, True])
@pytest.mark.parametrize(
    ("handler", "stop"), [(echo, close), (echo, aclose_now), (polite_echo, aclose)]
)
async def test_a_thousand_idle_clients(
    handler: Handler, stop: Stop, raising: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """They do not hold up the stop, and none of them is a failure.

    CPU time of this process is measured, and up to three times: the machine may have more to do.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, 4096), hard), hard))
    try:
        for _ in range(3):
            took = await stop_with_idle_clients(handler, stop, raising)
            assert not loud(caplog)
            if took < 0.5:
                break
        assert took < 0.5
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def stop_with_idle_clients(handler: Handler, stop: Stop, raising: bool) -> float:
    """Stop a server that has a thousand of them; returns the CPU time that this takes."""
    peers: list[stdlib_socket.socket] = []
    try:
        async with (
            ServerSocket(address="127.0.0.1", raise_handler_errors=raising) as server,
            trio.open_nursery() as nursery,
        ):
            await start_serving(nursery, server, handler)
            for _ in range(1000):
                peers.append(stdlib_socket.create_connection(("127.0.0.1", server.port)))
                if len(peers) % 50 == 0:
                    await until(lambda: running_handlers(server) == len(peers))
            await wait_all_tasks_blocked()
            before = time.process_time()
            await stop(server)
            await until(lambda: not running_handlers(server))
            took = time.process_time() - before
            assert server.statistics().failed == 0
        for peer in peers:
            assert peer.recv(1) == b""  # and no reset
    finally:
        for peer in peers:
            peer.close()
    return took


async def test_a_stop_lets_a_request_finish() -> None:
    """Only the wait for the next one is cancelled; what was queued is still sent."""
    begun, go_on = trio.Event(), trio.Event()

    async def handler(sock: TCPSocket) -> None:
        while True:
            with sock.may_stop():
                await sock.receive_until(b"\n")
            begun.set()
            await go_on.wait()
            sock.write(bytes(2**22))

    async with ServerSocket(address="127.0.0.1") as server, trio.open_nursery() as nursery:
        await start_serving(nursery, server, handler)
        with await connect(server) as peer:
            peer.send_nowait(b"one\ntwo\n")
            await begun.wait()
            nursery.start_soon(server.aclose, 60)
            await server.stopping.wait()
            await wait_all_tasks_blocked()
            go_on.set()
            assert await peer.count_to_eof() == 2**22
    assert server.statistics().failed == 0


async def test_a_request_that_has_just_come_is_answered() -> None:
    """Its wait is over when the stop comes, though the handler has not gone on yet."""

    async def handler(sock: TCPSocket) -> None:
        while True:
            with sock.may_stop():
                await arrived.wait()
            await sock.send_all(b"answer")

    arrived = trio.Event()
    async with ServerSocket(address="127.0.0.1") as server, trio.open_nursery() as nursery:
        await start_serving(nursery, server, handler)
        with await connect(server) as peer:
            await until(lambda: running_handlers(server))
            await wait_all_tasks_blocked()
            arrived.set()  # the handler is woken, and runs after this
            nursery.start_soon(server.aclose, 60)
            assert await peer.recv_all_to_eof() == b"answer"
    assert server.statistics().failed == 0


async def test_the_whole_handler_is_cancelled() -> None:
    """What follows the wait is skipped; a clean-up runs."""
    steps: list[str] = []

    async def handler(sock: TCPSocket) -> None:
        try:
            with sock.may_stop():
                await trio.sleep_forever()
            steps.append("went on")  # pragma: no cover
        finally:
            steps.append("cleaned up")

    async with ServerSocket(address="127.0.0.1") as server, trio.open_nursery() as nursery:
        await start_serving(nursery, server, handler)
        with await connect(server):
            await until(lambda: running_handlers(server))
            await wait_all_tasks_blocked()
            await server.aclose(60)
    assert steps == ["cleaned up"]


async def test_may_stop_in_a_task_of_the_handler() -> None:
    """A wait in one task stops the others as well, also as part of a group."""

    async def wait(sock: TCPSocket) -> None:
        with sock.may_stop():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(sock.receive_some)
                nursery.start_soon(trio.sleep_forever)

    async def handler(sock: TCPSocket) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait, sock)
            nursery.start_soon(trio.sleep_forever)

    async with ServerSocket(address="127.0.0.1") as server, trio.open_nursery() as nursery:
        await start_serving(nursery, server, handler)
        with await connect(server):
            await until(lambda: running_handlers(server))
            await wait_all_tasks_blocked()
            await server.aclose(60)
    assert server.statistics().failed == 0


async def test_may_stop_without_a_server() -> None:
    """It changes nothing, and neither does it for a connection that was accepted by hand."""
    with TCPSocket().may_stop(), EasyTCPSocket().may_stop():
        await trio.lowlevel.checkpoint()
    async with ServerSocket(address="127.0.0.1") as server:
        await server.listen()
        with await connect(server):
            sock = await server.accept()
            with sock.may_stop():
                await trio.lowlevel.checkpoint()


async def test_may_stop_lets_other_errors_and_cancellations_pass() -> None:
    """They are the handler's, and the handler goes on where nothing was raised."""
    error = ValueError("handler's")

    async def handler(sock: TCPSocket) -> None:
        with trio.move_on_after(0) as scope, sock.may_stop():
            await trio.sleep_forever()
        assert scope.cancelled_caught
        with sock.may_stop():
            raise error

    with pytest.raises(ValueError, match="handler's") as caught:
        async with ServerSocket(address="127.0.0.1", raise_handler_errors=True) as server:
            await server.listen()
            with await connect(server):
                await server.serve(handler)
    assert caught.value is error


async def test_messages_may_stop_too() -> None:
    """The family has it; the message that was queued arrives."""

    async def handler(sock: EasyTCPSocket) -> None:
        sock.send_message(7, b"bye")
        with sock.may_stop():
            await sock.receive()

    async with (
        ServerSocket(address="127.0.0.1", add_socket=EasyTCPSocket) as server,
        trio.open_nursery() as nursery,
    ):
        await start_serving(nursery, server, handler)
        async with EasyTCPSocket("127.0.0.1", server.port) as client:
            await client.connect()
            await until(lambda: running_handlers(server))
            await wait_all_tasks_blocked()
            await server.aclose(60)
            assert await client.receive() == Message(7, b"bye")


@pytest.mark.parametrize("stop", [close, aclose_now])
async def test_a_stopped_handler_may_find_its_socket_closed(
    stop: Stop, caplog: pytest.LogCaptureFixture
) -> None:
    """In its clean-up, in a shielded call, and in a task of the socket."""
    found: list[str] = []

    async def read(sock: TCPSocket) -> None:
        with trio.CancelScope(shield=True):
            await sock.receive_some()

    async def handler(sock: TCPSocket) -> None:
        sock.start_soon(read, sock)
        try:
            await trio.sleep_forever()
        finally:
            await trio.lowlevel.cancel_shielded_checkpoint()
            found.append(sock.state.name)
            sock.write("bye")

    async with (
        ServerSocket(address="127.0.0.1", raise_handler_errors=True) as server,
        trio.open_nursery() as nursery,
    ):
        await start_serving(nursery, server, handler)
        with await connect(server):
            await until(lambda: running_handlers(server))
            await wait_all_tasks_blocked()
            await stop(server)
            await until(lambda: not running_handlers(server))
    assert found == ["CLOSED"]
    assert server.statistics().failed == 0
    assert not loud(caplog)


async def test_a_stopped_handler_can_fail(caplog: pytest.LogCaptureFixture) -> None:
    """By an exception of its own; that is told of as ever."""

    async def handler(sock: TCPSocket) -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("in the clean-up")

    async with ServerSocket(address="127.0.0.1") as server, trio.open_nursery() as nursery:
        await start_serving(nursery, server, handler)
        with await connect(server):
            await until(lambda: running_handlers(server))
            server.close()
            await until(lambda: not running_handlers(server))
    assert server.statistics().failed == 1
    assert len(loud(caplog)) == 1


async def test_a_socket_that_a_handler_closes_itself_is_a_failure() -> None:
    """Nobody has stopped it: it is a mistake in the program."""

    async def handler(sock: TCPSocket) -> None:
        sock.close()
        await sock.receive_some()

    async with ServerSocket(address="127.0.0.1", raise_handler_errors=True) as server:
        await server.listen()
        with await connect(server), pytest.raises(SocketClosedError):
            await server.serve(handler)


async def test_live_connections_are_stopped_without_a_failure(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A handler object's task that finds its connection closed by the stop has not failed."""

    class Reading:
        def on_connected(self, socket: TCPSocket) -> None:
            socket.start_soon(socket.receive_exactly, 5)

    for stop in close, aclose_now:
        async with ServerSocket(
            address="127.0.0.1", add_socket=lambda: TCPSocket(handler=Reading())
        ) as server:
            await server.listen()
            with await connect(server):
                await until(server.active_connections)
                await wait_all_tasks_blocked()
                await stop(server)
        assert server.statistics().failed == 0
    assert not loud(caplog)


async def test_stopping_is_set_when_a_stop_begins() -> None:
    """By aclose, close, and the end of the block; a new one when the server listens again."""
    async with ServerSocket(address="127.0.0.1") as server:
        first = server.stopping
        await server.listen()
        server.stop_listening()
        assert not first.is_set()
        for stop in close, aclose_now:
            before = server.stopping
            await server.listen()
            assert server.stopping is before or before.is_set()
            now = server.stopping
            assert not now.is_set()
            await stop(server)
            with trio.fail_after(1):
                await now.wait()
        await server.listen()
        last = server.stopping
        assert not last.is_set()
    assert last.is_set()

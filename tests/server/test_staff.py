"""The handlers of a server's connections, and what happens when one fails."""

from __future__ import annotations

import logging
import weakref
from typing import Any

import pytest
import trio
import trio.testing

from tests.support import EventRecorder, until
from tests.support.serving import (
    client,
    connect,
    echo,
    ended,
    listening,
    open_connections,
    running_handlers,
    serving,
    start_serving,
)
from trio_xsock import (
    ErrorOccurred,
    ServerSocket,
    SocketClosedError,
    SocketError,
    SocketHandler,
    SocketState,
    TCPSocket,
)


class Failing:
    """A handler object that raises when something arrives."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def on_data_available(self, socket: Any) -> None:
        raise self.error


async def fail(error: BaseException) -> None:
    await trio.lowlevel.checkpoint()
    raise error


# Serving


async def test_serve_runs_one_handler_per_connection() -> None:
    """All at the same time, each with its own socket."""
    async with serving(echo) as server:
        peers = [await connect(server) for _ in range(5)]
        for number, peer in enumerate(peers):
            peer.send_nowait(b"%d" % number)
        for number, peer in enumerate(peers):
            assert await peer.recv_exactly(1) == b"%d" % number
        assert len(server.active_connections()) == 5
        assert server.statistics().ready == 0
        for peer in peers:
            peer.fin()
            assert await ended(peer)
            peer.close()
        await until(lambda: not server.active_connections())


async def test_a_handler_that_returns_closes_gracefully() -> None:
    """What it queued is sent first, though the peer had sent something it did not read."""

    async def reply(sock: TCPSocket) -> None:
        assert await sock.receive_some(1) == b"r"
        sock.write(bytes(2**20))

    async with serving(reply) as server:
        with await connect(server) as peer:
            peer.send_nowait(b"request")
            assert await peer.count_to_eof() == 2**20
        await until(lambda: not running_handlers(server))
        assert server.statistics().failed == 0


async def test_a_handler_may_use_the_sockets_block() -> None:
    """async with in the handler ends the connection earlier; nothing is closed twice."""

    async def reply(sock: TCPSocket) -> None:
        async with sock:
            sock.start_soon(trio.sleep_forever)
            await sock.send_all(b"hello")
        assert sock.state is SocketState.CLOSED

    async with serving(reply) as server:
        with await connect(server) as peer:
            assert await peer.recv_all_to_eof() == b"hello"
        await until(lambda: not running_handlers(server))
        assert server.statistics().failed == 0


async def test_tasks_of_a_socket_end_with_its_handler() -> None:
    """start_soon in a handler without async with: cancelled when the handler has returned."""
    cancelled = []

    async def task() -> None:
        try:
            await trio.sleep_forever()
        finally:
            cancelled.append(True)

    async def handler(sock: TCPSocket) -> None:
        sock.start_soon(task)
        await sock.receive_some()

    async with serving(handler) as server:
        with await connect(server) as peer:
            await trio.testing.wait_all_tasks_blocked()
            assert not cancelled
            peer.fin()
            assert await ended(peer)
        await until(lambda: cancelled)


# Failures


async def test_a_failing_handler_closes_its_connection_only(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is logged with its traceback and posted with it as the cause; the others never notice."""
    error = ValueError("handler")

    async def handler(sock: TCPSocket) -> None:
        if await sock.receive_exactly(4) == b"fail":
            sock.write(b"x" * 2**22)
            raise error
        await echo(sock)

    recorder = EventRecorder()
    async with serving(handler, handler=recorder) as server:
        events = server.events
        with await connect(server) as good, await connect(server) as bad:
            bad.send_nowait(b"fail")
            await bad.count_to_eof()
            posted = (await recorder.wait_for(ErrorOccurred)).error
            assert type(posted) is SocketError
            assert posted.__cause__ is error
            where = f"127.0.0.1:{bad.port}"
            assert where in str(posted)
            assert posted.error_number is None
            assert events.receive_nowait() == ErrorOccurred(server, posted)
            good.send_nowait(b"go on")
            assert await good.recv_exactly(1) == b"n"
        assert server.statistics().failed == 1
        assert server.is_listening
    (record,) = [each for each in caplog.records if each.name == "trio_xsock"]
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None
    assert record.exc_info[1] is error
    assert where in record.getMessage()


async def test_a_lost_connection_is_one_line_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A handler that lets it out has failed; but peers cannot fill the log with tracebacks."""
    caplog.set_level(logging.INFO, "trio_xsock")
    async with serving(echo) as server:
        peer = await connect(server)
        await until(server.active_connections)
        peer.reset()
        await until(lambda: server.statistics().failed)
    (record,) = caplog.records
    assert (record.levelname, record.exc_info) == ("INFO", None)
    assert "LostConnectionError" in record.getMessage()
    assert "\n" not in record.getMessage()


async def test_a_group_of_a_handlers_own_is_kept() -> None:
    """The same group comes out; cancellations in one are left out."""
    group = ExceptionGroup("mine", [ValueError("a"), KeyError("b")])
    async with ServerSocket(address="127.0.0.1", raise_handler_errors=True) as server:

        async def handler(sock: TCPSocket) -> None:
            raise group

        with pytest.RaisesGroup(ValueError, KeyError) as caught:
            async with client(server):
                await server.serve(handler)
        assert caught.value is group


class UnprintableError(Exception):
    """An error whose text raises."""

    def __repr__(self) -> str:
        raise ValueError("no text")

    __str__ = __repr__


async def test_an_error_without_a_text_does_not_delay_a_close(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The server knows that the handler has ended, though it cannot be told of."""
    caplog.set_level(logging.CRITICAL, "trio_xsock")
    ready = trio.Event()

    async def handler(sock: TCPSocket) -> None:
        with trio.CancelScope(shield=True):
            await ready.wait()
        raise UnprintableError

    async def serve(task_status: Any) -> None:
        with pytest.RaisesGroup(ValueError):
            await server.serve(handler, task_status=task_status)

    async with listening() as server, trio.open_nursery() as nursery:
        await nursery.start(serve)
        with await connect(server):
            await until(lambda: running_handlers(server))
            with trio.fail_after(5):
                async with trio.open_nursery() as closing:
                    closing.start_soon(server.aclose, 30)
                    await trio.testing.wait_all_tasks_blocked()
                    ready.set()


async def test_cancellations_in_a_group_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    """A nursery in a handler may raise both; only the error is told of."""

    async def handler(sock: TCPSocket) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            try:
                await trio.sleep_forever()
            finally:
                raise ValueError("while being cancelled")

    async with listening() as server:
        async with trio.open_nursery() as nursery:
            await nursery.start(server.serve, handler)
            with await connect(server):
                await until(lambda: running_handlers(server))
                await trio.testing.wait_all_tasks_blocked()
                nursery.cancel_scope.cancel()
    (record,) = caplog.records
    assert record.exc_info is not None
    with pytest.RaisesGroup(ValueError):
        raise record.exc_info[1]  # type: ignore[misc]


async def test_a_failing_task_of_a_socket_counts_as_its_handler(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It cancels the handler, closes the connection, and is reported."""
    error = ValueError("task")
    cancelled = []

    async def handler(sock: TCPSocket) -> None:
        sock.start_soon(fail, error)
        try:
            await trio.sleep_forever()
        finally:
            cancelled.append(True)

    recorder = EventRecorder()
    async with serving(handler, handler=recorder) as server:
        with await connect(server) as peer:
            assert await ended(peer)
        await recorder.wait_for(ErrorOccurred)
        assert recorder.errors[0].__cause__ is error
        assert cancelled
        assert len(caplog.records) == server.statistics().failed == 1


async def test_a_failing_task_in_a_sockets_block_leaves_the_block() -> None:
    """And with that the handler; it is reported once."""
    error = ValueError("task")

    async def handler(sock: TCPSocket) -> None:
        async with sock:
            sock.start_soon(fail, error)
            await trio.sleep_forever()

    recorder = EventRecorder()
    async with serving(handler, handler=recorder) as server:
        with await connect(server) as peer:
            assert await ended(peer)
        await recorder.wait_for(ErrorOccurred)
        await until(lambda: not running_handlers(server))
        assert [each.__cause__ for each in recorder.errors] == [error]


async def test_a_handler_and_its_task_may_both_fail(caplog: pytest.LogCaptureFixture) -> None:
    """They are reported as one group."""

    async def handler(sock: TCPSocket) -> None:
        sock.start_soon(fail, ValueError("task"))
        try:
            await trio.sleep_forever()
        finally:
            raise KeyError("handler")

    async with serving(handler) as server:
        with await connect(server) as peer:
            assert await ended(peer)
        await until(lambda: server.statistics().failed)
    (record,) = caplog.records
    assert record.exc_info is not None
    with pytest.RaisesGroup(ValueError, KeyError):
        raise record.exc_info[1]  # type: ignore[misc]


async def test_a_failing_handler_object_needs_no_serve(caplog: pytest.LogCaptureFixture) -> None:
    """Its connection is closed, it is logged and posted; the others go on."""
    error = ValueError("object")
    kinds: list[Any] = [Failing(error)]

    def add_socket() -> TCPSocket:
        return TCPSocket(handler=kinds.pop() if kinds else EventRecorder(read=True))

    recorder = EventRecorder()
    async with listening(add_socket=add_socket, handler=recorder) as server:
        with await connect(server) as bad, await connect(server) as good:
            await until(lambda: len(server.active_connections()) == 2)
            bad.send_nowait(b"x")
            good.send_nowait(b"x")
            await ended(bad)
            await recorder.wait_for(ErrorOccurred)
            assert recorder.errors[0].__cause__ is error
            (sock,) = server.active_connections()
            assert sock.remote_port == good.port
            await until(lambda: sock.handler.received == b"x")
        assert len(caplog.records) == server.statistics().failed == 1


async def test_a_failing_handler_object_in_serve_cancels_the_handler() -> None:
    """A served socket may be given a handler object; its failures are the handler's."""
    error = ValueError("object")

    async def handler(sock: TCPSocket) -> None:
        sock.handler = Failing(error)
        await trio.sleep_forever()

    recorder = EventRecorder()
    async with serving(handler, handler=recorder) as server:
        with await connect(server) as peer:
            await until(lambda: running_handlers(server))
            await trio.testing.wait_all_tasks_blocked()
            peer.send_nowait(b"x")
            await ended(peer)
        await recorder.wait_for(ErrorOccurred)
        assert recorder.errors[0].__cause__ is error


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt])
async def test_a_failing_handler_object_may_be_let_out(kind: type[BaseException]) -> None:
    """Out of the server's block; or of serve, if that is running."""
    error = kind("object")
    options: dict[str, Any] = {
        "add_socket": lambda: TCPSocket(handler=Failing(error)),
        "raise_handler_errors": kind is ValueError,
    }
    with pytest.raises(kind) as caught:
        async with listening(**options) as server:
            with await connect(server) as peer:
                peer.send_nowait(b"x")
                await trio.sleep_forever()
    assert caught.value is error
    async with listening(**options) as server:
        with await connect(server) as peer:
            peer.send_nowait(b"x")
            with pytest.raises(kind) as caught:
                await server.serve(echo)
            assert caught.value is error
        assert server.is_listening


async def test_an_accepted_socket_that_fails_later_is_reported() -> None:
    """Also one that came out of accept(), and whose second task fails as well."""
    recorder = EventRecorder()
    async with listening(handler=recorder) as server:
        with await connect(server) as peer:
            sock = await server.accept()
            sock.start_soon(fail, ValueError("first"))
            await recorder.wait_for(ErrorOccurred)
            assert sock.state is SocketState.CLOSED
            assert await ended(peer)
            sock.start_soon(fail, ValueError("second"))
            await recorder.wait_for(ErrorOccurred, 2)
        assert [str(error.__cause__) for error in recorder.errors] == ["first", "second"]


async def test_a_failing_handler_of_the_server_leaves_its_block() -> None:
    """The server's own handler object is no connection's: it ends the server."""
    error = KeyError("on_error")

    class Object:
        def on_error(self, server: Any, posted: SocketError) -> None:
            raise error

    async def handler(sock: TCPSocket) -> None:
        raise ValueError("handler")

    with pytest.raises(KeyError) as caught:
        async with ServerSocket(address="127.0.0.1", handler=Object()) as server:
            await server.listen()
            with await connect(server):
                await server.serve(handler)
    assert caught.value is error


# Nothing is left


async def test_nothing_of_a_connection_stays_behind() -> None:
    """Its tasks end with it, and the socket itself is let go of."""
    sockets: list[weakref.ref[TCPSocket]] = []

    async def handler(sock: TCPSocket) -> None:
        sockets.append(weakref.ref(sock))
        sock.start_soon(trio.sleep_forever)
        await echo(sock)

    async with serving(handler) as server:
        await trio.testing.wait_all_tasks_blocked()
        before = trio.lowlevel.current_statistics().tasks_living
        for number in range(5):
            with await connect(server) as peer:
                peer.send_nowait(b"x")
                assert await peer.recv_exactly(1) == b"x"
                peer.fin()
                assert await ended(peer)
            await until(lambda: not open_connections(server))
            await trio.testing.wait_all_tasks_blocked()
            assert sockets[number]() is None
            assert trio.lowlevel.current_statistics().tasks_living == before


@pytest.mark.parametrize("how", ["close", "aclose", "block", "peer", "handler"])
async def test_nothing_of_an_accepted_connection_stays_behind(how: str) -> None:
    """The same without serve, however it ends, and without the cyclic garbage collector."""

    def add_socket() -> TCPSocket:
        return TCPSocket(handler=SocketHandler() if how == "handler" else None)

    async with listening(add_socket=add_socket) as server:
        with await connect(server):
            await until(server.active_connections)
        await until(lambda: server.active_connections()[:1] != [] or how == "handler")
        if how != "handler":
            (await server.accept()).close()
        await trio.testing.wait_all_tasks_blocked()
        before = trio.lowlevel.current_statistics().tasks_living
        peer = await connect(server)
        if how == "handler":
            await until(server.active_connections)
            sock = server.active_connections()[0]
        else:
            sock = await server.accept()
        match how:
            case "close":
                sock.close()
            case "aclose":
                sock.write(bytes(100))
                await sock.aclose()
            case "block":
                async with sock:
                    sock.start_soon(trio.sleep_forever)
            case "peer":
                peer.fin()
                assert await sock.receive_some() == b""
                await sock.aclose()
            case "handler":
                peer.fin()
                await until(lambda: not open_connections(server))
        peer.close()
        await trio.testing.wait_all_tasks_blocked()
        reference = weakref.ref(sock)
        del sock
        assert trio.lowlevel.current_statistics().tasks_living == before
        assert reference() is None


async def test_a_task_keeps_its_socket_alive() -> None:
    """Nobody else may have it: a failure still has to find it."""
    recorder = EventRecorder()
    go = trio.Event()

    async def wait_and_fail() -> None:
        await go.wait()
        raise ValueError("task")

    async with listening(handler=recorder) as server:
        with await connect(server):
            sock = await server.accept()
            sock.start_soon(wait_and_fail)
            sock.close()
            reference = weakref.ref(sock)
            del sock
            await trio.testing.wait_all_tasks_blocked()
            assert reference() is not None
            go.set()
            await recorder.wait_for(ErrorOccurred)
            await trio.testing.wait_all_tasks_blocked()
        assert isinstance(recorder.errors[0].__cause__, ValueError)
        recorder.events.clear()
        recorder.calls.clear()


async def test_closing_the_server_cancels_handlers() -> None:
    """close() does not wait for them, the end of the block does."""
    unwound = []

    async def handler(sock: TCPSocket) -> None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(SocketClosedError):
                sock.write(b"x")
            unwound.append(True)

    async with trio.open_nursery() as nursery:
        async with ServerSocket(address="127.0.0.1") as server:
            await start_serving(nursery, server, handler)
            with await connect(server):
                await until(lambda: running_handlers(server))
                await trio.testing.wait_all_tasks_blocked()
                server.close()
                assert server.active_connections() == []
                assert not unwound
        assert unwound

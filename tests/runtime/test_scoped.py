"""The block of a socket: its tasks, its handlers, and what leaves it."""

from __future__ import annotations

import contextvars
import gc
import signal
import socket
import time
import weakref
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from tests.support import EventRecorder, RawPeer, accept, check_grammar, raw_listener
from tests.support.pairs import GatedResolver, linked
from trio_xsock import (
    Connected,
    ConnectError,
    DataAvailable,
    ErrorOccurred,
    EventChannel,
    InvalidStateError,
    LossReason,
    LostConnectionError,
    SendComplete,
    SendProgress,
    ServerSocket,
    SocketClosedError,
    SocketError,
    SocketHandler,
    SocketState,
    TCPSocket,
)
from trio_xsock._network.transport import PlainTransport


class Told:
    """A handler that is told of errors."""

    def __init__(self) -> None:
        self.errors: list[SocketError] = []

    def on_error(self, socket: TCPSocket, error: SocketError) -> None:
        self.errors.append(error)


VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("VARIABLE", default="unset")


def raiser(error: BaseException) -> Callable[[Any], None]:
    def method(_: Any) -> None:
        raise error

    return method


async def fail(error: BaseException) -> None:
    await trio.lowlevel.checkpoint()
    raise error


# Entering


async def test_entering_is_a_checkpoint_and_gives_the_socket() -> None:
    """The block itself opens nothing but tasks."""
    sock = TCPSocket()
    with trio.testing.assert_checkpoints():
        entered = await sock.__aenter__()
    assert entered is sock
    assert sock.handle == -1
    with trio.testing.assert_checkpoints():
        await sock.__aexit__(None, None, None)


async def test_entering_under_cancellation_enters_nothing() -> None:
    """The socket may still be entered afterwards."""
    sock = TCPSocket()
    with trio.CancelScope() as scope:
        scope.cancel()
        await sock.__aenter__()
    assert scope.cancelled_caught
    async with sock:
        pass


async def test_the_block_is_entered_once() -> None:
    """While it is open, and after it was left."""
    sock = TCPSocket("example.org", 80)
    async with sock:
        with pytest.raises(InvalidStateError, match=r"example\.org:80.*entered only once"):
            await sock.__aenter__()
    with pytest.raises(InvalidStateError, match="only once"):
        await sock.__aenter__()


async def test_calls_outside_of_the_block_are_refused() -> None:
    """The text tells what to do, before and after."""
    sock = TCPSocket("example.org", 80)
    with pytest.raises(InvalidStateError, match=r"example\.org:80.*start_soon.*async with TCPSoc"):
        sock.start_soon(trio.sleep_forever)
    with pytest.raises(InvalidStateError, match=r"connect\(\) needs.*nursery\.start\(sock\.run\)"):
        await sock.connect()
    async with sock:
        pass
    with pytest.raises(InvalidStateError, match=r"example\.org:80.*left; make a new TCPSocket"):
        sock.start_soon(trio.sleep_forever)
    with pytest.raises(InvalidStateError, match=r"connect\(\).*make a new"):
        await sock.connect()
    assert sock.state is SocketState.CLOSED


def test_a_socket_needs_no_trio_to_be_made_and_closed() -> None:
    """It holds nothing; plain calls that are always legal stay so."""
    sock = TCPSocket("example.org", 80)
    sock.close()
    sock.close()
    sock.abort_send()
    sock.purge()
    assert sock.events.statistics().current_buffer_used == 0


# What leaves the block


@pytest.mark.parametrize("connected", [True, False])
@pytest.mark.parametrize(
    "error",
    [
        ValueError("mine"),
        ExceptionGroup("mine", [ValueError(), ExceptionGroup("inner", [KeyError()])]),
        BaseExceptionGroup("mine", [KeyboardInterrupt()]),
        KeyboardInterrupt(),
        SystemExit(3),
        StopAsyncIteration(),
        GeneratorExit(),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_the_body_s_exception_leaves_as_the_same_object(
    error: BaseException, connected: bool
) -> None:
    """Whatever it is, with its context and cause as they were."""
    cause, context = KeyError("cause"), KeyError("context")
    error.__cause__, error.__context__ = cause, context
    sock = TCPSocket("127.0.0.1", 1)
    with pytest.raises(type(error)) as caught:
        with raw_listener() as listener:
            sock.port = listener.getsockname()[1]
            async with sock:
                if connected:
                    await sock.connect()
                    assert sock.is_connected
                raise error
    assert caught.value is error
    assert (error.__cause__, error.__context__) == (cause, context)
    assert sock.state is SocketState.CLOSED


async def test_cancellation_of_the_body_reaches_its_scope() -> None:
    """As itself, not in a group; the connection is closed at once."""
    async with linked() as (sock, peer):
        pass
    with raw_listener() as listener, trio.CancelScope() as scope:
        async with TCPSocket("127.0.0.1", listener.getsockname()[1]) as sock:
            await sock.connect()
            with await accept(listener) as peer:
                scope.cancel()
                try:
                    await trio.sleep_forever()
                except BaseException as caught:
                    cancelled = caught
                    raise
    assert type(cancelled) is trio.Cancelled
    assert scope.cancelled_caught
    assert sock.handle == -1
    assert peer.sock.fileno() == -1


async def test_a_cancelled_body_may_close_gracefully() -> None:
    """The socket's own tasks outlive the body, so a shielded aclose still gets the queue out."""
    size = 5_000_000
    with raw_listener(small=True) as listener:
        async with trio.open_nursery() as nursery:
            async with trio.open_nursery() as inner:

                async def body() -> None:
                    async with TCPSocket("127.0.0.1", listener.getsockname()[1]) as sock:
                        try:
                            await sock.connect()
                            sock.write(bytes(size))
                            inner.cancel_scope.cancel()
                            await trio.sleep_forever()
                        finally:
                            with trio.move_on_after(10, shield=True):
                                await sock.aclose()
                            assert sock.bytes_sent == size

                async def read() -> None:
                    with await accept(listener) as peer:
                        assert await peer.count_to_eof() == size

                nursery.start_soon(read)
                inner.start_soon(body)


async def test_leaving_normally_sends_what_is_queued() -> None:
    """It is ``aclose``."""
    recorder = EventRecorder()
    async with trio.open_nursery() as nursery:
        async with linked(small=True, handler=recorder) as (sock, peer):
            sock.write(bytes(1_000_000))
            assert sock.bytes_left_to_send
            raw = RawPeer(peer.sock.dup())
            nursery.start_soon(raw.count_to_eof)
        assert sock.bytes_sent == 1_000_000
    raw.close()
    assert raw.received == 1_000_000
    check_grammar(recorder.events, queued=1_000_000, peer_received=raw.received)


async def test_leaving_under_cancellation_closes_at_once() -> None:
    """Also where the body did not notice: the queue is dropped, and Cancelled goes on."""
    recorder = EventRecorder()
    with raw_listener(small=True) as listener, trio.CancelScope() as scope:
        async with TCPSocket("127.0.0.1", listener.getsockname()[1], handler=recorder) as sock:
            await sock.connect()
            sock.write(bytes(10_000_000))
            scope.cancel()
    assert scope.cancelled_caught
    assert recorder.calls[-1] == ("on_send_complete", True)


# Failing handlers and tasks


@pytest.mark.parametrize(
    "error", [ValueError(), KeyboardInterrupt(), SystemExit(), ExceptionGroup("", [KeyError()])]
)
@pytest.mark.parametrize("method", ["on_connected", "on_data_available"])
async def test_a_failing_handler_ends_the_block(method: str, error: BaseException) -> None:
    """The socket is closed, the body cancelled, and the exception leaves as itself."""
    recorder = EventRecorder(reactions={method: raiser(error)})
    body: list[str] = []
    with raw_listener() as listener:
        sock = TCPSocket("127.0.0.1", listener.getsockname()[1], handler=recorder)
        with pytest.raises(type(error)) as caught:
            async with sock:
                body.append("entered")
                try:
                    await sock.connect()
                    with await accept(listener) as peer:
                        peer.send_nowait(b"x")
                        await trio.sleep_forever()
                except trio.Cancelled:
                    assert sock.handle == -1
                    body.append("cancelled")
                    raise
    assert caught.value is error
    assert body == ["entered", "cancelled"]
    assert recorder.names[-1] == method
    with pytest.raises(SocketClosedError):
        sock.write(b"x")


async def test_a_failing_task_ends_the_block() -> None:
    """As a failing handler does; other tasks of the socket are cancelled."""
    error = ValueError("mine")
    ended: list[bool] = []

    async def other() -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append(True)

    sock = TCPSocket()
    with pytest.raises(ValueError, match="mine") as caught:
        async with sock:
            sock.start_soon(other)
            await trio.testing.wait_all_tasks_blocked()
            sock.start_soon(fail, error)
            await trio.sleep_forever()
    assert caught.value is error
    assert ended == [True]


async def test_body_and_task_failing_leave_in_one_group() -> None:
    """The body's exception comes first."""
    mine, other = ValueError("body"), KeyError("task")
    with pytest.RaisesGroup(ValueError, KeyError) as caught:
        async with TCPSocket() as sock:
            sock.start_soon(fail, other)
            try:
                await trio.sleep_forever()
            finally:
                raise mine
    assert caught.value.exceptions == (mine, other)


async def test_a_failure_and_a_cancellation_from_outside() -> None:
    """The failure leaves as itself: a cancellation is nothing that the body raised."""
    error = ValueError("task")

    async def fail_anyway() -> None:
        with trio.CancelScope(shield=True):
            await fail(error)

    with pytest.raises(ValueError, match="task") as caught, trio.CancelScope() as scope:
        async with TCPSocket() as sock, trio.open_nursery():
            sock.start_soon(fail_anyway)
            scope.cancel()
            await trio.sleep_forever()
    assert caught.value is error


async def test_a_handler_failing_at_the_end_of_the_block() -> None:
    """What ``aclose`` itself sets off counts as well."""
    error = ValueError("late")
    recorder = EventRecorder(reactions={"on_send_complete": raiser(error)})
    with pytest.raises(ValueError, match="late") as caught:
        async with linked(handler=recorder) as (sock, _):
            sock.write(b"x")
    assert caught.value is error


async def test_a_failing_handler_is_the_last_one_to_be_called() -> None:
    """What was due after it is dropped, channels still see everything."""
    recorder = EventRecorder(reactions={"on_send_progress": raiser(ValueError())})
    with pytest.raises(ValueError):
        async with linked(small=True, handler=recorder) as (sock, _):
            events = sock.events
            sock.write(bytes(10_000_000))
            await trio.sleep_forever()
    assert recorder.names == ["on_connected", "on_send_progress"]
    kinds = [type(event) for event in drain(events)]
    assert kinds == [Connected, SendProgress, SendComplete]


async def test_a_body_that_stumbles_over_the_failure() -> None:
    """It had no time to be cancelled, and found the socket closed: that is no error of its own."""
    error = ValueError("mine")
    recorder = EventRecorder(reactions={"on_send_complete": raiser(error)})
    with pytest.raises(ValueError, match="mine") as caught:
        async with linked(handler=recorder) as (sock, _):
            while True:
                sock.write(b"x")
                await trio.lowlevel.cancel_shielded_checkpoint()
    assert caught.value is error
    with pytest.raises(SocketClosedError) as later:
        sock.write(b"x")
    assert later.value.__cause__ is None


async def test_a_failure_cancels_what_waits_for_the_socket() -> None:
    """It is cancelled and not told of a closed socket, in the body and in the socket's tasks."""
    error = ValueError("mine")
    recorder = EventRecorder(reactions={"on_send_complete": raiser(error)})
    seen: list[type[BaseException]] = []

    async def note(call: Callable[[], Awaitable[object]]) -> None:
        try:
            await call()
        except BaseException as exc:
            seen.append(type(exc))
            raise

    with pytest.raises(ValueError, match="mine") as caught:
        async with linked(handler=recorder) as (sock, _):
            sock.start_soon(note, sock.receive_some)
            await trio.testing.wait_all_tasks_blocked()
            sock.write(b"x")
            await note(trio.sleep_forever)
    assert caught.value is error
    assert seen == [trio.Cancelled, trio.Cancelled]


async def test_a_failure_while_the_body_connects() -> None:
    """``connect`` is cancelled; nobody closed the socket but the failure."""
    error = ValueError("mine")
    resolver = GatedResolver()

    async def fail_later() -> None:
        await resolver.called.wait()
        raise error

    with pytest.raises(ValueError, match="mine") as caught:
        async with TCPSocket("some.host", 80) as sock:
            sock.start_soon(fail_later)
            try:
                await sock.connect()
            except BaseException as exc:
                assert type(exc) is trio.Cancelled
                raise
    assert caught.value is error


async def test_what_the_body_itself_makes_of_the_failure() -> None:
    """Its own exception leaves with the other, even if it comes of the closed socket."""
    error = ValueError("mine")
    recorder = EventRecorder(reactions={"on_send_complete": raiser(error)})
    with pytest.RaisesGroup(KeyError, ValueError) as caught:
        async with linked(handler=recorder) as (sock, _):
            try:
                while True:
                    sock.write(b"x")
                    await trio.lowlevel.cancel_shielded_checkpoint()
            except SocketClosedError as closed:
                assert closed.__cause__ is error
                raise KeyError from closed
    assert [type(each) for each in caught.value.exceptions] == [KeyError, ValueError]


async def test_handlers_hear_of_what_leaving_by_an_exception_drops() -> None:
    """They have run when the exception leaves."""
    recorder = EventRecorder()
    with pytest.raises(KeyError):
        async with linked(small=True, handler=recorder) as (sock, _):
            sock.write(bytes(5_000_000))
            raise KeyError
    assert recorder.calls[-1] == ("on_send_complete", True)


async def test_a_socket_from_a_server_is_entered_after_its_task_failed() -> None:
    """Its own block lets the failure out, and its body is cancelled."""
    error = ValueError("mine")
    caught: list[BaseException] = []

    async def handle(sock: TCPSocket) -> None:
        with trio.CancelScope(shield=True):
            sock.start_soon(fail, error)
            await trio.testing.wait_all_tasks_blocked()
            try:
                async with sock:
                    await trio.sleep_forever()
            except ValueError as exc:
                caught.append(exc)
        server.stop_listening()

    async with ServerSocket(address="127.0.0.1") as server, trio.open_nursery() as nursery:
        port = await nursery.start(server.serve, handle)
        (await RawPeer.connect(port)).close()
    assert caught == [error]


async def test_a_socket_from_a_server_fails_without_a_block() -> None:
    """It is closed; the server reports it."""
    async with ServerSocket(address="127.0.0.1") as server:
        events = server.events
        await server.listen()
        with await RawPeer.connect(server.port) as peer:
            sock = await server.accept()
            sock.start_soon(fail, ValueError("mine"))
            assert await peer.recv_some() == b""
            event = await events.receive()
    assert "mine" in str(event)
    assert sock.state is SocketState.CLOSED


async def test_user_tasks_end_with_the_block() -> None:
    """After aclose, by cancellation; those started too late do not even begin."""
    ended: list[str] = []

    async def task(name: str) -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append(f"{name} {sock.state.value}")

    class Handler:
        def on_send_complete(self, socket: TCPSocket, _: bool) -> None:
            socket.start_soon(task, "late")

    async with linked(handler=Handler()) as (sock, _):
        sock.start_soon(task, "early")
        await trio.testing.wait_all_tasks_blocked()
        sock.write(b"x")
    assert sorted(ended) == ["early closed", "late closed"]


@pytest.mark.parametrize("way", ["block", "run", "serve", "server"])
async def test_user_tasks_that_find_the_socket_closed_at_the_end(way: str) -> None:
    """A reader is woken by the closing, before it would have been cancelled: it has not failed."""
    woken: list[type[BaseException]] = []

    async def read(sock: TCPSocket) -> None:
        try:
            await sock.receive_some()
        except BaseException as error:
            woken.append(type(error))
            raise

    async def handle(sock: TCPSocket) -> None:
        sock.start_soon(read, sock)
        await trio.testing.wait_all_tasks_blocked()
        server.stop_listening()

    if way == "block":
        async with linked() as (sock, _):
            sock.start_soon(read, sock)
            await trio.testing.wait_all_tasks_blocked()
    elif way == "run":
        with raw_listener() as listener:
            async with trio.open_nursery() as nursery:
                sock = await nursery.start(TCPSocket("127.0.0.1", listener.getsockname()[1]).run)
                await sock.connect()
                sock.start_soon(read, sock)
                await trio.testing.wait_all_tasks_blocked()
                sock.close()
    else:
        async with ServerSocket(address="127.0.0.1", raise_handler_errors=True) as server:
            await server.listen()
            peer = await RawPeer.connect(server.port)
            if way == "serve":
                await server.serve(handle)
            else:
                sock = await server.accept()
                sock.start_soon(read, sock)
                await trio.testing.wait_all_tasks_blocked()
        peer.close()
    assert woken == [SocketClosedError]


async def test_a_user_task_fails_if_the_body_closes() -> None:
    """The block is not being left: whoever does not expect it has failed."""

    async def read() -> None:
        await sock.receive_some()

    with pytest.raises(SocketClosedError):
        async with linked() as (sock, _):
            sock.start_soon(read)
            await trio.testing.wait_all_tasks_blocked()
            sock.close()
            await trio.sleep_forever()


async def test_a_user_task_that_returns_is_just_over() -> None:
    """Its end means nothing to the socket."""
    done: list[int] = []

    async def task(number: int) -> None:
        await trio.lowlevel.checkpoint()
        done.append(number)

    async with TCPSocket() as sock:
        for number in range(3):
            sock.start_soon(task, number)
        await trio.testing.wait_all_tasks_blocked()
        assert sorted(done) == [0, 1, 2]


# run()


async def test_run_reports_the_socket_and_ends_with_it() -> None:
    """``close`` ends the task, whoever calls it."""
    with raw_listener() as listener:
        async with trio.open_nursery() as nursery:
            sock = TCPSocket("127.0.0.1", listener.getsockname()[1])
            assert await nursery.start(sock.run) is sock
            await sock.connect()
            assert sock.is_connected
            sock.close()
    with pytest.raises(InvalidStateError, match="been left"):
        sock.start_soon(trio.sleep_forever)


async def test_run_without_a_nursery() -> None:
    """It needs no task status."""
    sock = TCPSocket()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sock.run)
        await trio.testing.wait_all_tasks_blocked()
        sock.close()


@pytest.mark.parametrize("how", ["close", "aclose", "disconnect"])
async def test_a_socket_that_is_closed_before_it_connects(how: str) -> None:
    """Always legal, and it may connect then."""
    with raw_listener() as listener:
        async with TCPSocket("127.0.0.1", listener.getsockname()[1]) as sock:
            if how == "close":
                sock.close()
            else:
                await getattr(sock, how)()
            await sock.connect()
            with await accept(listener) as peer:
                await sock.send_all(b"to the peer")
                assert await peer.recv_exactly(11) == b"to the peer"
                await peer.send(b"from it")
                assert await sock.receive_some() == b"from it"


async def test_run_survives_a_failed_connect() -> None:
    """It may be tried again."""
    with raw_listener() as listener:
        port = listener.getsockname()[1]
        async with trio.open_nursery() as nursery:
            sock = await nursery.start(TCPSocket("no-such-host.invalid\0", port).run)
            with pytest.raises(OSError):
                await sock.connect()
            sock.address = "127.0.0.1"
            await sock.connect()
            sock.close()


async def test_run_ends_with_the_connection_and_leaves_its_data() -> None:
    """Its own closing is not the user's: the reader gets the rest, and the end."""
    with raw_listener() as listener:
        async with trio.open_nursery() as nursery:
            sock = await nursery.start(TCPSocket("127.0.0.1", listener.getsockname()[1]).run)
            await sock.connect()
            with await accept(listener) as peer:
                await sock.send_eof()
                peer.send_nowait(b"the rest")
                peer.fin()
        assert sock.state is SocketState.CLOSED
    assert await sock.receive_some() == b"the rest"
    assert await sock.receive_some() == b""


async def test_run_ends_with_a_lost_connection() -> None:
    """The loss is what later calls raise, until the user closes."""
    with raw_listener() as listener:
        async with trio.open_nursery() as nursery:
            sock = await nursery.start(TCPSocket("127.0.0.1", listener.getsockname()[1]).run)
            await sock.connect()
            (await accept(listener)).reset()
    for _ in range(2):
        with pytest.raises(LostConnectionError) as caught:
            sock.write(b"x")
        assert caught.value.reason is LossReason.RESET
    sock.close()
    with pytest.raises(SocketClosedError):
        sock.write(b"x")


async def test_run_in_a_cancelled_scope_does_not_hang() -> None:
    """``nursery.start`` under a cancelled scope is cancelled, and leaves nothing."""
    sock = TCPSocket()
    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:
            scope.cancel()
            await nursery.start(sock.run)
    assert scope.cancelled_caught
    assert sock.state is SocketState.CLOSED


async def test_run_cancelled_right_after_it_started() -> None:
    """The scope around ``nursery.start`` is cancelled as it reports: the task still ends."""
    sock = TCPSocket()
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:

            async def started_late(  # noqa: ASYNC128 - run() does
                *, task_status: trio.TaskStatus[Any]
            ) -> None:
                scope.cancel()
                await sock.run(task_status=task_status)

            await nursery.start(started_late)
    assert scope.cancelled_caught


async def test_run_is_cancelled_with_its_nursery() -> None:
    """The connection is closed at once."""
    with raw_listener() as listener:
        async with trio.open_nursery() as nursery:
            sock = await nursery.start(TCPSocket("127.0.0.1", listener.getsockname()[1]).run)
            await sock.connect()
            nursery.cancel_scope.cancel()
    assert sock.state is SocketState.CLOSED
    assert sock.handle == -1


async def test_run_lets_failures_out() -> None:
    """As the block does."""
    sock = TCPSocket()
    with pytest.RaisesGroup(pytest.RaisesExc(ValueError, match="mine")):
        async with trio.open_nursery() as nursery:
            await nursery.start(sock.run)
            sock.start_soon(fail, ValueError("mine"))


# Ctrl-C


@pytest.mark.parametrize("method", ["on_connected", "on_send_progress", "on_data_available"])
def test_ctrl_c_interrupts_a_handler(method: str) -> None:
    """Whoever runs it, the keeper, a step or an awaited call; it leaves the block as itself."""
    interrupted: list[bool] = []

    def interrupt(_: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        interrupted.append(False)

    async def main() -> None:
        recorder = EventRecorder(reactions={method: interrupt})
        async with linked(handler=recorder) as (sock, peer):
            peer.send_nowait(b"x")
            await sock.send_all(b"x")
            await trio.sleep_forever()

    with pytest.raises(KeyboardInterrupt):
        trio.run(main)
    assert interrupted == []


def test_ctrl_c_in_the_body() -> None:
    """It leaves as itself."""

    async def main() -> None:
        async with linked() as (sock, _):
            sock.write(b"x")
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        trio.run(main)


def test_ctrl_c_while_the_body_waits() -> None:
    """Trio delivers it to the main task, which is in ``receive_some``; nothing is torn."""
    sock: TCPSocket

    async def main() -> None:
        nonlocal sock
        async with linked() as (sock, _), trio.open_nursery() as nursery:

            async def interrupt() -> None:
                await trio.testing.wait_all_tasks_blocked()
                signal.raise_signal(signal.SIGINT)

            nursery.start_soon(interrupt)
            await sock.receive_some()

    with pytest.RaisesGroup(KeyboardInterrupt, allow_unwrapped=True, flatten_subgroups=True):
        trio.run(main)
    assert sock.state is SocketState.CLOSED


def test_ctrl_c_while_the_block_is_left() -> None:
    """It closes at once, and goes on as itself."""

    async def main() -> None:
        with raw_listener(small=True) as listener:
            async with TCPSocket("127.0.0.1", listener.getsockname()[1]) as sock:
                await sock.connect()
                sock.write(bytes(10_000_000))
                sock.start_soon(interrupt_later)

    async def interrupt_later() -> None:
        await trio.testing.wait_all_tasks_blocked()
        trio.lowlevel.current_trio_token().run_sync_soon(signal.raise_signal, signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        trio.run(main)


# Handlers


async def test_handlers_are_called_in_order_and_never_nested() -> None:
    """What a handler sets off is delivered after it has returned."""

    def write_twice(socket: TCPSocket) -> None:
        before = len(recorder.calls)
        socket.write(b"a")
        socket.write(b"b")
        socket.abort_send()
        socket.write(b"c")
        assert len(recorder.calls) == before

    recorder = EventRecorder(reactions={"on_connected": write_twice})
    async with linked(handler=recorder) as (sock, peer):
        await sock.flush()
        assert recorder.calls == [
            ("on_connected",),
            ("on_send_complete", True),  # a and b were still queued
            ("on_send_progress", 1, 0),
            ("on_send_complete", False),
        ]
        assert await peer.recv_some() == b"c"
    assert recorder.depth == 1


async def test_handlers_never_nest() -> None:
    """Whatever would run those that are due, inside a handler it does not."""
    recorder = EventRecorder(reactions={"on_data_available": lambda sock: sock._run_handlers()})
    async with linked(handler=recorder) as (sock, peer):
        sock.write(b"x")
        peer.send_nowait(b"x")
        await recorder.wait_for(DataAvailable)
    assert recorder.depth == 1


async def test_true_from_on_send_progress_aborts() -> None:
    """The one answer that means something."""
    recorder = EventRecorder(abort_after=1)
    async with linked(small=True, handler=recorder) as (sock, _):
        sock.write(bytes(5_000_000))
        await recorder.wait_for(SendComplete)
    assert recorder.names == ["on_connected", "on_send_progress", "on_send_complete"]


async def test_a_plain_call_runs_no_handler() -> None:
    """It is called soon after, by the socket's own task."""
    recorder = EventRecorder()
    async with linked(handler=recorder) as (sock, _):
        del recorder.calls[:]
        sock.write(b"x")
        sock.write(b"y")
        assert recorder.calls == []
        await recorder.wait_for(SendComplete, 2)
        sock.close()
        assert recorder.names == ["on_send_progress", "on_send_complete"] * 2


@pytest.mark.parametrize("call", ["send_all", "flush", "send_eof", "aclose", "disconnect"])
async def test_awaited_calls_return_after_their_handlers(call: str) -> None:
    """``connect`` too; nothing of what they caused is still due."""
    recorder = EventRecorder()
    async with linked(handler=recorder) as (sock, _):
        assert recorder.names == ["on_connected"]
        expected = ["on_connected", "on_send_progress", "on_send_complete"]
        if call == "send_all":
            await sock.send_all(b"x")
        else:
            sock.write(b"x")
            await getattr(sock, call)()
        if call == "disconnect":
            expected.append("on_error")
        assert recorder.names == expected


async def test_awaited_calls_that_fail_return_after_their_handlers() -> None:
    """The refused connect, and the send that finds the connection dead."""
    recorder = EventRecorder()
    with raw_listener() as listener:
        port = listener.getsockname()[1]
    async with TCPSocket("127.0.0.1", port, handler=recorder) as sock:
        with pytest.raises(OSError):
            await sock.connect()
        assert recorder.names == ["on_error"]
    recorder = EventRecorder()
    async with linked(handler=recorder) as (sock, peer):
        peer.reset()
        with pytest.raises(LostConnectionError):
            await sock.send_all(b"x")
        assert recorder.names == ["on_connected", "on_send_complete", "on_error"]


async def test_the_block_returns_after_all_handlers() -> None:
    """However many are due: a bounded number runs in one go, other tasks in between."""
    recorder = EventRecorder()
    async with linked(handler=recorder) as (sock, _):
        for _ in range(500):
            sock.write(b"x")
        del recorder.calls[:]
    assert recorder.names.count("on_send_complete") == 500


async def test_handlers_run_in_the_context_of_the_block() -> None:
    """Also when a task with another context makes the call."""
    seen: list[str] = []

    class Handler:
        def on_connected(self, _: TCPSocket) -> None:
            seen.append(VARIABLE.get())
            VARIABLE.set("changed by the handler")

        def on_send_complete(self, _: TCPSocket, __: bool) -> None:
            seen.append(VARIABLE.get())

    VARIABLE.set("block")
    with raw_listener() as listener:
        async with TCPSocket("127.0.0.1", listener.getsockname()[1], handler=Handler()) as sock:
            VARIABLE.set("later")
            await sock.connect()
            async with trio.open_nursery() as nursery:  # noqa: ASYNC112 - for its context
                nursery.start_soon(sock.send_all, b"x")
            assert VARIABLE.get() == "later"
    assert seen == ["block", "changed by the handler"]


async def test_a_handler_that_never_stops_writing_starves_nobody() -> None:
    """F21: 100,000 writes from on_send_complete, no recursion, others wait less than 20 ms.

    Of our own time: how long the machine is busy with something else is not our doing.
    """
    count = 100_000
    left = count

    def again(socket: TCPSocket) -> None:
        nonlocal left
        left -= 1
        if left:
            socket.write(b"x")

    class Handler:
        def on_send_complete(self, socket: TCPSocket, _: bool) -> None:
            again(socket)

    async def drain_peer() -> None:
        assert len(await peer.recv_exactly(count)) == count

    latencies: list[float] = []
    async with linked(handler=Handler()) as (sock, peer):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(drain_peer)
            sock.write(b"x")
            while left:
                before = time.process_time()
                await trio.lowlevel.checkpoint()
                latencies.append(time.process_time() - before)
    assert sock.bytes_sent == count
    latencies.sort()
    assert latencies[len(latencies) * 99 // 100] < 0.02
    assert len(latencies) > count / 100


async def test_a_handler_can_be_exchanged() -> None:
    """The new one hears what happens from now on."""
    first, second = EventRecorder(), EventRecorder()
    async with linked(handler=first) as (sock, _):
        assert sock.handler is first
        sock.handler = second
        await sock.send_all(b"x")
        sock.handler = None
        await sock.send_all(b"x")
    assert first.names == ["on_connected"]
    assert second.names == ["on_send_progress", "on_send_complete"]


def test_async_handlers_are_refused_when_given() -> None:
    """At construction and at assignment; the handler there was stays."""

    class Async(SocketHandler):
        async def on_error(self, *_: Any) -> None:  # type: ignore[override]
            """Never runs."""

    with pytest.raises(TypeError, match=r"on_error is an async function.*start_soon"):
        TCPSocket(handler=Async())
    sock = TCPSocket(handler=(recorder := EventRecorder()))
    with pytest.raises(TypeError):
        sock.handler = Async()
    assert sock.handler is recorder


# Events


def drain(channel: EventChannel) -> list[Any]:
    events = []
    while True:
        try:
            events.append(channel.receive_nowait())
        except (trio.WouldBlock, trio.EndOfChannel):
            return events


async def test_events_are_one_channel_and_subscriptions_others() -> None:
    """Each sees everything; who asks late is told how things stand."""
    async with linked() as (sock, peer):
        first, second = sock.events, sock.subscribe()
        assert sock.events is first
        assert second is not first
        peer.send_nowait(b"x")
        await trio.testing.wait_all_tasks_blocked()
        expected = [Connected(sock), DataAvailable(sock)]
        assert drain(first) == drain(second) == drain(sock.subscribe()) == expected
        first.close()
        assert sock.events is not first


async def test_a_channel_of_one_s_own() -> None:
    """It is ``sock.events``, and may be shared."""
    channel = EventChannel()
    one, other = TCPSocket(events=channel), TCPSocket(events=channel)
    assert one.events is other.events is channel
    with pytest.raises(TypeError, match="events must be an EventChannel, not list"):
        TCPSocket(events=[])  # type: ignore[arg-type]


# Lifetimes


@pytest.fixture
def no_gc() -> Iterator[None]:
    """Let reference counting do the work alone."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_gc")
@pytest.mark.parametrize("fate", ["unused", "clean", "lost", "lost while sending", "refused"])
@pytest.mark.parametrize("consumer", ["caller", "handler", "channel"])
async def test_a_socket_dies_with_its_last_reference(fate: str, consumer: str) -> None:
    """O4: no cycle keeps it, however it ended and whoever listened."""
    with raw_listener() as listener:
        port = listener.getsockname()[1]
        if fate == "refused":
            listener.close()
        sock = TCPSocket(
            "127.0.0.1", port, handler=SocketHandler() if consumer == "handler" else None
        )
        if consumer == "channel":
            channel = sock.events
        async with sock:
            if fate == "refused":
                with pytest.raises(OSError):
                    await sock.connect()
            elif fate != "unused":
                await sock.connect()
                with await accept(listener) as peer:
                    await live(sock, peer, fate)
        if consumer == "channel":
            drain(channel)
            del channel
        reference = weakref.ref(sock)
        del sock
        assert reference() is None


async def live(sock: TCPSocket, peer: RawPeer, fate: str) -> None:
    peer.send_nowait(b"x")
    assert await sock.receive_some() == b"x"
    await sock.send_all(b"x")
    assert await peer.recv_some() == b"x"
    if fate == "clean":
        peer.fin()
        assert await sock.receive_some() == b""
        return
    peer.reset()
    for _ in range(2):
        with pytest.raises(LostConnectionError):
            if fate == "lost":
                await sock.receive_some()
            else:
                await sock.send_all(b"x")


# A loss is told once


def unused_port() -> int:
    """A port that nobody listens on."""
    with raw_listener() as listener:
        port: int = listener.getsockname()[1]
        return port


async def test_a_task_whose_connect_fails_has_told_the_handler() -> None:
    """So it just ends, and the socket may be used on."""
    told = Told()
    async with TCPSocket("127.0.0.1", unused_port(), handler=told) as sock:
        sock.start_soon(sock.connect)
        while not told.errors:
            await trio.testing.wait_all_tasks_blocked(0.01)
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert sock.last_error is told.errors[0]
        with raw_listener() as listener:
            sock.port = listener.getsockname()[1]
            await sock.connect()
    assert [type(error) for error in told.errors] == [ConnectError]


async def test_a_task_whose_connect_fails_has_told_a_channel() -> None:
    """Also one that somebody else has."""
    for fan_in in False, True:
        channel = EventChannel() if fan_in else None
        async with TCPSocket("127.0.0.1", unused_port(), events=channel) as sock:
            events = sock.events
            sock.start_soon(sock.connect)
            event = await events.receive()
            assert isinstance(event, ErrorOccurred)
            assert isinstance(event.error, ConnectError)
            await trio.testing.wait_all_tasks_blocked(0.01)


@pytest.mark.parametrize("handler", [None, SocketHandler()])
async def test_a_failed_connect_that_nobody_hears_of_leaves_the_block(handler: object) -> None:
    """Without a channel, or a handler that has ``on_error``."""
    with pytest.raises(ConnectError):
        async with TCPSocket("127.0.0.1", unused_port(), handler=handler) as sock:
            sock.start_soon(sock.connect)
            await trio.sleep_forever()


@pytest.mark.parametrize("call", ["send_all", "send_file", "in a group"])
async def test_a_task_that_sends_has_told_of_the_loss(call: str, tmp_path: Path) -> None:
    """The very error that ``on_error`` was given; also where it comes in a group."""
    told = Told()
    path = tmp_path / "large"
    path.write_bytes(bytes(2**24))
    with raw_listener() as listener:
        async with TCPSocket("127.0.0.1", listener.getsockname()[1], handler=told) as sock:

            async def send_both() -> None:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(sock.send_all, bytes(2**24))

            await sock.connect()
            peer = await accept(listener)
            if call == "send_all":
                sock.start_soon(sock.send_all, bytes(2**24))
            elif call == "send_file":
                sock.start_soon(sock.send_file, path)
            else:
                sock.start_soon(send_both)
            await trio.testing.wait_all_tasks_blocked(0.01)
            peer.reset()
            while not told.errors:
                await trio.testing.wait_all_tasks_blocked(0.01)
            await trio.testing.wait_all_tasks_blocked(0.01)
    assert [type(error) for error in told.errors] == [LostConnectionError]


async def test_another_error_of_a_task_is_a_failure() -> None:
    """Though an error was posted before, and though somebody listens."""
    error = LostConnectionError("somebody else's", reason=LossReason.RESET)
    with pytest.raises(LostConnectionError) as caught:
        async with TCPSocket("127.0.0.1", unused_port(), handler=Told()) as sock:
            with pytest.raises(ConnectError):
                await sock.connect()
            sock.start_soon(fail, error)
            await trio.sleep_forever()
    assert caught.value is error


async def test_a_block_that_was_not_entered_cannot_be_left() -> None:
    """There is nothing to close and no task to end; the socket stays usable."""
    sock = TCPSocket()
    with pytest.raises(InvalidStateError, match="was not entered"):
        await sock.__aexit__(None, None, None)
    async with sock:
        assert sock.state is SocketState.CLOSED


def test_no_transport_outside_a_block() -> None:
    """Nothing could start the tasks of its watch."""
    ours, theirs = socket.socketpair()
    with theirs, PlainTransport.of(ours) as transport:
        with pytest.raises(InvalidStateError, match="was not entered"):
            TCPSocket()._connection.open(transport, ("", 0))

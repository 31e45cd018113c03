"""``serve``: which handlers run where, when it returns, and what it raises."""

from __future__ import annotations

import contextvars
import signal
from typing import Any

import pytest
import trio
import trio.testing

from tests.support import until
from tests.support.serving import client, connect, echo, ended, listening, running_handlers, serving
from trio_xsock import (
    AddressInUseError,
    InvalidStateError,
    ServerSocket,
    TCPSocket,
)

VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("VARIABLE", default="unset")


async def test_serve_takes_what_waits_already() -> None:
    """Connections that were accepted ahead come first."""
    ports = []

    async def note(sock: TCPSocket) -> None:
        ports.append(sock.remote_port)

    async with listening() as server, trio.open_nursery() as nursery:
        peer_ports = []
        peers = [await connect(server) for _ in range(4)]
        await until(lambda: len(server.active_connections()) == 2)
        nursery.start_soon(server.serve, note)
        for peer in peers:
            peer_ports.append(peer.port)
            assert await ended(peer)
            peer.close()
        assert sorted(ports) == sorted(peer_ports)
        nursery.cancel_scope.cancel()


async def test_serve_returns_when_stopped_and_the_handlers_have_ended() -> None:
    """Connections live on until their handlers are done."""
    async with ServerSocket(address="127.0.0.1") as server:
        returned = False

        async def serve(**options: Any) -> None:
            nonlocal returned
            await server.serve(echo, **options)
            returned = True

        async with trio.open_nursery() as nursery:
            await nursery.start(serve)
            with await connect(server) as peer:
                await until(server.active_connections)
                server.stop_listening()
                peer.send_nowait(b"still here?")
                assert await peer.recv_exactly(11) == b"still here?"
                assert not returned
                peer.fin()
                assert await ended(peer)
        assert returned
        assert not server.is_listening


async def test_serve_may_be_called_again() -> None:
    """After stop_listening it listens anew."""
    async with ServerSocket(address="127.0.0.1") as server:
        for _ in range(2):
            async with trio.open_nursery() as nursery:
                await nursery.start(server.serve, echo)
                with await connect(server) as peer:
                    peer.send_nowait(b"x")
                    assert await peer.recv_exactly(1) == b"x"
                server.stop_listening()


async def test_a_cancelled_serve_ends_its_handlers() -> None:
    """Their connections are closed at once; the server listens on, for others to accept."""
    started = []

    async def handler(sock: TCPSocket) -> None:
        started.append(sock)
        await trio.sleep_forever()

    async with listening() as server:
        async with trio.open_nursery() as nursery:
            await nursery.start(server.serve, handler)
            with await connect(server) as peer:
                await until(lambda: started)
                nursery.cancel_scope.cancel()
                with trio.CancelScope(shield=True):
                    await ended(peer)
        assert server.active_connections() == []
        assert server.is_listening
        with await connect(server) as peer:
            assert (await server.accept()).remote_port == peer.port


async def test_two_servings_share_the_connections() -> None:
    """In turns; who calls accept() as well is served first."""
    counts = [0, 0]

    async def first(sock: TCPSocket) -> None:
        counts[0] += 1

    async def second(sock: TCPSocket) -> None:
        counts[1] += 1

    async with listening() as server, trio.open_nursery() as nursery:
        await nursery.start(server.serve, first)
        await nursery.start(server.serve, second)
        for _ in range(6):
            with await connect(server) as peer:
                assert await ended(peer)
        assert counts == [3, 3]
        accepted = []

        async def accept() -> None:
            accepted.append(await server.accept())

        nursery.start_soon(accept)
        await trio.testing.wait_all_tasks_blocked()
        with await connect(server):
            await until(lambda: accepted)
        assert counts == [3, 3]
        nursery.cancel_scope.cancel()


async def test_serve_that_cannot_listen_raises_before_it_has_started() -> None:
    """The error of listen() comes out of nursery.start as itself."""
    async with listening() as taken:
        async with ServerSocket(taken.port, address="127.0.0.1") as server:
            with pytest.raises(AddressInUseError):
                await server.serve(echo)
            async with trio.open_nursery() as nursery:
                with pytest.raises(AddressInUseError):
                    await nursery.start(server.serve, echo)
    with pytest.raises(InvalidStateError, match="async with"):
        await ServerSocket().serve(echo)


async def test_serve_raises_what_stopped_the_listening() -> None:
    """After the handlers have ended."""
    made = 0

    def add_socket() -> TCPSocket:
        nonlocal made
        made += 1
        if made > 3:
            raise ValueError("no more")
        return TCPSocket()

    async with ServerSocket(address="127.0.0.1", add_socket=add_socket) as server:
        async with trio.open_nursery() as nursery:

            async def serve(**options: Any) -> None:
                with pytest.raises(InvalidStateError, match="add_socket") as caught:
                    await server.serve(echo, **options)
                assert isinstance(caught.value.__cause__, ValueError)
                assert not running_handlers(server)

            await nursery.start(serve)
            with await connect(server) as first, await connect(server) as second:
                await until(lambda: not server.is_listening)
                for peer in (first, second):
                    peer.send_nowait(b"x")
                    assert await peer.recv_exactly(1) == b"x"


async def test_handlers_run_in_the_context_of_serve() -> None:
    """Context variables are those of who called serve; handler objects see the block's."""
    seen: list[str] = []

    async def handler(sock: TCPSocket) -> None:
        seen.append(VARIABLE.get())

    class Object:
        def on_connected(self, socket: Any) -> None:
            seen.append(VARIABLE.get())
            socket.start_soon(task)

    async def task() -> None:
        await trio.lowlevel.checkpoint()
        seen.append(VARIABLE.get())

    VARIABLE.set("block")
    async with listening() as server, trio.open_nursery() as nursery:
        VARIABLE.set("serve")
        await nursery.start(server.serve, handler)
        VARIABLE.set("other")
        with await connect(server) as peer:
            assert await ended(peer)
        nursery.cancel_scope.cancel()
    assert seen == ["serve"]
    seen.clear()
    VARIABLE.set("block")
    async with listening(add_socket=lambda: TCPSocket(handler=Object())) as server:
        VARIABLE.set("other")
        with await connect(server):
            await until(lambda: len(seen) == 2)
    assert seen == ["block", "block"]


async def test_a_handlers_task_has_its_name() -> None:
    """Who looks at the tasks of a program sees whose they are."""
    names = []

    async def my_handler(sock: TCPSocket) -> None:
        names.append(trio.lowlevel.current_task().name)

    async with serving(my_handler) as server:
        with await connect(server) as peer:
            assert await ended(peer)
    assert names[0].endswith("my_handler")


async def test_ctrl_c_reaches_handlers() -> None:
    """The users' code is not protected, though it is called from code that is."""
    seen: list[bool] = []

    async def handler(sock: TCPSocket) -> None:
        seen.append(trio.lowlevel.currently_ki_protected())
        await trio.lowlevel.checkpoint()
        seen.append(trio.lowlevel.currently_ki_protected())
        sock.start_soon(handler_task)
        await sock.receive_some()

    async def handler_task() -> None:
        await trio.lowlevel.checkpoint()
        seen.append(trio.lowlevel.currently_ki_protected())

    async with serving(handler) as server:
        with await connect(server):
            await until(lambda: len(seen) == 3)
    assert seen == [False, False, False]


# What leaves it


async def test_errors_may_be_let_out() -> None:
    """With raise_handler_errors it leaves serve() as itself; the other handlers are cancelled."""
    error = ValueError("handler")

    async def handler(sock: TCPSocket) -> None:
        if await sock.receive_some() == b"fail":
            raise error

    async with ServerSocket(address="127.0.0.1", raise_handler_errors=True) as server:
        with pytest.raises(ValueError, match="handler") as caught:
            async with client(server), client(server) as bad:
                bad.send_nowait(b"fail")
                await server.serve(handler)
        assert caught.value is error
        assert server.active_connections() == []
        assert server.is_listening


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
async def test_ctrl_c_out_of_a_handler_leaves_serve(kind: type[BaseException]) -> None:
    """What is no Exception is never swallowed, whatever raise_handler_errors says."""
    error = kind()

    async def handler(sock: TCPSocket) -> None:
        raise error

    async with ServerSocket(address="127.0.0.1") as server:
        with pytest.raises(kind) as caught:
            async with client(server):
                await server.serve(handler)
        assert caught.value is error


async def test_several_errors_leave_as_a_group() -> None:
    """If others fail while they are being cancelled, all of them are told of."""

    async def handler(sock: TCPSocket) -> None:
        received = b""
        try:
            received = await sock.receive_some()
        finally:
            raise ValueError("first") if received else KeyError("second")

    async with ServerSocket(address="127.0.0.1", raise_handler_errors=True) as server:
        with pytest.RaisesGroup(ValueError, KeyError):
            async with client(server), client(server) as bad:
                bad.send_nowait(b"fail")
                await server.serve(handler)


async def test_an_error_is_not_lost_in_a_cancellation() -> None:
    """If serve is cancelled while an error is on its way out, the error wins."""
    error = ValueError("handler")
    async with ServerSocket(address="127.0.0.1", raise_handler_errors=True) as server:
        with trio.CancelScope() as scope:

            async def handler(sock: TCPSocket) -> None:
                scope.cancel()
                raise error

            with pytest.raises(ValueError, match="handler") as caught:
                async with client(server):
                    await server.serve(handler)
            assert caught.value is error


def test_ctrl_c_leaves_serve_as_itself() -> None:
    """Not in a group, although serve has a nursery."""

    async def main() -> None:
        async with ServerSocket(address="127.0.0.1") as server:
            async with trio.open_nursery() as nursery:

                @trio.lowlevel.enable_ki_protection  # so that it hits the main task
                async def interrupt() -> None:
                    await trio.testing.wait_all_tasks_blocked()
                    signal.raise_signal(signal.SIGINT)

                nursery.start_soon(interrupt)
                with pytest.raises(KeyboardInterrupt):
                    await server.serve(echo)
            assert server.is_listening

    trio.run(main)

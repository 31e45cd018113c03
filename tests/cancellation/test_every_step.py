"""Each public coroutine, cancelled at each scheduling step of its life, one step after the other.

An instrument counts the steps of all tasks, the peer's too, and cancels the call at the k-th, for
all k until it gets through. After each the books have to be right: what the peer received is
what was counted as sent, what it sent is in the buffer or was returned, and the oracles of
``conftest`` find no descriptor, task or thread left.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio

from tests.support import EventRecorder, RawPeer, accept, check_grammar, raw_listener
from tests.support.pairs import shrink_send_buffer
from trio_xsock import ServerSocket, SocketError, SocketState, TCPSocket

LOOPBACK = "127.0.0.1"
SENT = bytes(range(256)) * 1000
GREETING = b"one\ntwo\n" + b"x" * 5000 + b"\nlast"
MOST_STEPS = 2000


class CancelAtStep(trio.abc.Instrument):
    """Cancels a scope when Trio is about to run a task for the k-th time.

    Attributes:
        scope: what is cancelled; the call under test runs in it.
        reached: the call had not ended by then.
    """

    def __init__(self, step: int) -> None:
        self.scope = trio.CancelScope()
        self.reached = False
        self._step = step

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        """Part of Trio's interface."""
        self._step -= 1
        if not self._step:
            self.reached = True
            self.scope.cancel("the step has come")

    async def run(self, call: Callable[[], Awaitable[object]]) -> None:
        """Run ``call`` in the scope, and count the steps meanwhile."""
        if not self._step:
            self.reached = True
            self.scope.cancel("before the first step")
        trio.lowlevel.add_instrument(self)
        try:
            with self.scope:
                await call()
        finally:
            trio.lowlevel.remove_instrument(self)


async def at_every_step(life: Callable[[CancelAtStep], Awaitable[None]]) -> None:
    """Live the life again and again, cancelled one step later each time, until it gets through."""
    for step in range(MOST_STEPS):
        cancel = CancelAtStep(step)
        await life(cancel)
        if not cancel.reached:
            assert step > 0
            return
    raise AssertionError(f"still not through after {MOST_STEPS} steps")


class Conversation:
    """A connection whose peer greets, reads at its own pace, and counts.

    Attributes:
        sock: ours, connected.
        peer: a raw socket.
        received: how many bytes the peer got, once it saw the end.
    """

    def __init__(self, sock: TCPSocket, peer: RawPeer) -> None:
        self.sock = sock
        self.peer = peer
        self.received: int | None = None

    async def peer_reads(self) -> None:
        self.received = len(await self.peer.recv_all_to_eof())


async def converse(
    cancel: CancelAtStep, call: Callable[[TCPSocket], Awaitable[object]], greeting: bytes = b""
) -> None:
    """Connect, have ``call`` cancelled, and check that the connection is as good as before."""
    handler = EventRecorder()
    with raw_listener(small=True) as listener:
        port = listener.getsockname()[1]
        async with TCPSocket(LOOPBACK, port, handler=handler, allow_half_close=True) as sock:
            await sock.connect()
            shrink_send_buffer(sock)
            with await accept(listener) as peer:
                conversation = Conversation(sock, peer)
                if greeting:
                    await peer.send(greeting)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(conversation.peer_reads)
                    await cancel.run(lambda: call(sock))
                    if sock.is_connected:
                        await sock.flush()
                        sock.write("tail")  # it is still good for something
                    sent_before = sock.bytes_sent
                    await sock.aclose()
                    assert sock.bytes_sent >= sent_before
                assert conversation.received == sock.bytes_sent
            check_grammar(handler.events, peer_received=conversation.received)


async def send_all(sock: TCPSocket) -> None:
    """More than the kernel holds."""
    await sock.send_all(SENT)


async def flush(sock: TCPSocket) -> None:
    """What was written before; nothing of it may be lost by the cancellation."""
    sock.write(SENT)
    try:
        await sock.flush()
    finally:
        assert sock.bytes_sent + sock.bytes_left_to_send == len(SENT)


async def send_eof(sock: TCPSocket) -> None:
    """Our direction ends after what is queued."""
    sock.write(SENT)
    await sock.send_eof()


async def aclose(sock: TCPSocket) -> None:
    """Cancelled it is a close at once."""
    sock.write(SENT)
    await sock.aclose()


async def disconnect(sock: TCPSocket) -> None:
    """The same, told to our own consumers."""
    sock.write(SENT)
    await sock.disconnect()


async def wait_to_send(sock: TCPSocket) -> None:
    """A wait that changes nothing."""
    await sock.wait_send_all_might_not_block()


async def poll(sock: TCPSocket) -> None:
    """A step by hand."""
    await sock.poll()


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "call", [send_all, flush, send_eof, aclose, disconnect, wait_to_send, poll]
)
async def test_sending(call: Callable[[TCPSocket], Awaitable[object]]) -> None:
    """The peer gets exactly what was counted as sent, wherever the call was cancelled."""
    await at_every_step(lambda cancel: converse(cancel, call))


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", ["path", "pipe"])
async def test_sending_a_file(kind: str, tmp_path: Path) -> None:
    """The same for files, sent by the kernel and read by us."""
    (tmp_path / "file").write_bytes(SENT)

    class Unknown:
        """A file that the kernel cannot send."""

        def __init__(self) -> None:
            self.left = SENT

        def read(self, count: int) -> bytes:
            data, self.left = self.left[:count], self.left[count:]
            return data

    async def send_file(sock: TCPSocket) -> None:
        await sock.send_file(tmp_path / "file" if kind == "path" else Unknown())  # type: ignore[arg-type]

    await at_every_step(lambda cancel: converse(cancel, send_file))


class Reader:
    """Collects what a cancelled reader was given, and what it left in the buffer."""

    def __init__(self) -> None:
        self.taken = b""

    async def some(self, sock: TCPSocket) -> None:
        while len(self.taken) < len(GREETING):
            self.taken += await sock.receive_some(1000)

    async def exactly(self, sock: TCPSocket) -> None:
        while len(self.taken) < len(GREETING):
            self.taken += await sock.receive_exactly(min(900, len(GREETING) - len(self.taken)))

    async def until(self, sock: TCPSocket) -> None:
        for _ in range(3):
            self.taken += await sock.receive_until(b"\n") + b"\n"

    async def lines(self, sock: TCPSocket) -> None:
        async for line in sock.lines(None):
            self.taken += line + b"\n"
            if len(self.taken) > 5000:
                return

    async def chunks(self, sock: TCPSocket) -> None:
        async for chunk in sock:
            self.taken += chunk
            if len(self.taken) == len(GREETING):
                return


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", ["some", "exactly", "until", "lines", "chunks"])
async def test_receiving(name: str) -> None:
    """Not a byte is lost: what the reader did not get is in the buffer."""

    async def life(cancel: CancelAtStep) -> None:
        reader = Reader()
        with raw_listener() as listener:
            port = listener.getsockname()[1]
            async with TCPSocket(LOOPBACK, port, receive_buffer_limit=700) as sock:
                await sock.connect()
                with await accept(listener) as peer:
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(peer.send, GREETING)
                        await cancel.run(lambda: getattr(reader, name)(sock))
                        rest = len(GREETING) - len(reader.taken)
                        reader.taken += await sock.receive_exactly(rest)
                    assert reader.taken == GREETING
                    assert sock.bytes_available == 0
                    assert sock.statistics().bytes_in == len(GREETING)

    await at_every_step(life)


async def test_connecting() -> None:
    """A cancelled ``connect`` leaves nothing; the socket connects the next time."""

    async def life(cancel: CancelAtStep) -> None:
        with raw_listener() as listener:
            async with TCPSocket(LOOPBACK, listener.getsockname()[1]) as sock:
                await cancel.run(sock.connect)
                if sock.state is SocketState.CLOSED:
                    assert sock.handle == -1
                    await sock.connect()
                assert sock.is_connected
                (await accept(listener)).close()

    await at_every_step(life)


async def test_listening() -> None:
    """A cancelled ``listen`` leaves nothing; the socket listens the next time."""

    async def life(cancel: CancelAtStep) -> None:
        async with TCPSocket() as sock:
            await cancel.run(sock.listen)
            if sock.state is SocketState.CLOSED:
                assert sock.handle == -1
                await sock.listen()
            assert sock.port > 0

    await at_every_step(life)


async def test_a_whole_life_in_a_nursery() -> None:
    """``run``, with all that happens in it: what is cancelled closes and is gone."""

    async def life(cancel: CancelAtStep) -> None:
        with raw_listener() as listener:
            sock = TCPSocket(LOOPBACK, listener.getsockname()[1])

            async def whole() -> None:
                async with trio.open_nursery() as nursery:
                    await nursery.start(sock.run)
                    await sock.connect()
                    with await accept(listener) as peer:
                        await sock.send_all(b"hello")
                        assert await peer.recv_exactly(5) == b"hello"
                        await peer.send(b"bye")
                        assert await sock.receive_exactly(3) == b"bye"
                        await sock.aclose()

            await cancel.run(whole)
            assert sock.state is SocketState.CLOSED
            assert sock.handle == -1

    await at_every_step(life)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("call", ["listen", "accept", "serve", "aclose"])
async def test_serving(call: str) -> None:
    """A server's calls: no connection is lost, none is left."""

    async def echo(sock: TCPSocket) -> None:
        async for chunk in sock:
            await sock.send_all(chunk)

    async def life(cancel: CancelAtStep) -> None:
        async with ServerSocket(address=LOOPBACK) as server:
            if call == "listen":
                await cancel.run(server.listen)
                assert server.is_listening or server.handle == -1
                return
            await server.listen()
            async with TCPSocket(LOOPBACK, server.port) as client:
                await client.connect()
                if call == "accept":
                    await cancel.run(server.accept)
                    if not server.active_connections():
                        await server.accept()
                elif call == "serve":
                    await cancel.run(lambda: end_served(server, client))
                else:
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(server.serve, echo)
                        await talk(client)
                        await cancel.run(server.aclose)
                        assert not server.is_listening

    async def talk(client: TCPSocket) -> None:
        await client.send_all(b"hello")
        assert await client.receive_exactly(5) == b"hello"
        await client.send_eof()

    async def end_served(server: ServerSocket, client: TCPSocket) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.serve, echo)
            try:
                await talk(client)
            except SocketError:  # the server was cancelled before us
                await trio.lowlevel.checkpoint()
            server.stop_listening()

    await at_every_step(life)

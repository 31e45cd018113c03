"""The order of events from end to end, for each kind of socket and each style; and Ctrl-C.

What ``TCPSocket`` alone does with handlers is in ``tests/engine/test_scoped.py``.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import trio
import trio.testing

from tests.support import EventRecorder, check_grammar, settle, until
from tests.support.pairs import linked, shrink_send_buffer
from tests.support.serving import connect, listening
from tests.support.tls import TLSPeer, tls_linked
from trio_xsock import (
    Connected,
    DataAvailable,
    EasyTCPSocket,
    ErrorOccurred,
    LossReason,
    Message,
    ReceivedMessage,
    SendComplete,
    SendProgress,
    ServerSocket,
    SocketState,
    TCPSocket,
    encode_message,
)

KINDS = ("TCPSocket", "SSLSocket", "EasyTCPSocket")
BLOCKED = 200_000
"""More than a small connection's buffers take, by far."""


class Listener(EventRecorder):
    """A recorder that also takes messages, as data."""

    def on_received_message(self, socket: Any, command: int, data: bytes) -> None:
        self.received += data
        self._note("on_received_message", DataAvailable(socket), data)


@contextlib.asynccontextmanager
async def connected(kind: str, **options: Any) -> AsyncIterator[tuple[Any, Any]]:
    """A connection of a kind that can hold little."""
    socket_class: Any = EasyTCPSocket if kind == "EasyTCPSocket" else TCPSocket
    tls = kind == "SSLSocket"
    async with (
        tls_linked(small=True, **options)
        if tls
        else linked(small=True, socket_class=socket_class, **options)
    ) as (sock, peer):
        shrink_send_buffer(sock)
        yield sock, peer


def raw(peer: Any) -> Any:
    """What carries a peer."""
    return peer.raw if isinstance(peer, TLSPeer) else peer


async def tell(kind: str, peer: Any, data: bytes, end: str = "") -> None:
    """Let the peer send something, and end right after it: ``FIN`` or ``RST``."""
    await peer.send(encode_message(1, data) if kind == "EasyTCPSocket" else data)
    if end == "FIN":
        if isinstance(peer, TLSPeer):
            await peer.end()
        raw(peer).fin()
    elif end:
        raw(peer).reset()


def send(kind: str, sock: Any, data: bytes) -> int:
    """Queue something; how many bytes that are."""
    if kind == "EasyTCPSocket":
        sock.send_message(1, data)
        return len(encode_message(1, data))
    sock.write(data)
    return len(data)


# One life


@pytest.mark.parametrize("style", ["handler", "channel"])
@pytest.mark.parametrize("kind", KINDS)
async def test_a_life_in_its_order(kind: str, style: str) -> None:
    """Connected, data, a send with its progress and its end, the peer's end."""
    recorder = Listener()
    handler = recorder if style == "handler" else None
    async with connected(kind, handler=handler, allow_half_close=True) as (sock, peer):
        channel = None if handler else sock.events
        await tell(kind, peer, b"first")
        arrived = (lambda: recorder.of(DataAvailable)) if handler else lambda: sock.bytes_available
        await until(arrived)
        events = [] if channel is None else [await channel.receive() for _ in range(2)]
        queued = send(kind, sock, bytes(BLOCKED))
        assert sock.bytes_left_to_send
        await peer.recv_exactly(queued)
        await until(lambda: not sock.bytes_left_to_send)
        await tell(kind, peer, b"last", "FIN")
        if channel is None:
            await recorder.wait_for(ErrorOccurred)
            events = list(recorder.events)
            check_grammar(events, queued=queued)
            assert recorder.depth == 1
        else:
            events += [event async for event in channel]
    data: type = ReceivedMessage if kind == "EasyTCPSocket" and channel else DataAvailable
    order = [type(event) for event in events]
    progress = [event for event in events if isinstance(event, SendProgress)]
    assert [each for each in order if each is not SendProgress] == [
        Connected,
        data,
        SendComplete,
        data,
        ErrorOccurred,
    ]
    assert order.index(SendComplete) - 1 == len(order) - 1 - order[::-1].index(SendProgress)
    assert [event.bytes_left for event in progress] == sorted(
        (event.bytes_left for event in progress), reverse=True
    )
    assert progress[-1].bytes_left == 0
    assert sum(event.bytes_sent for event in progress) == queued


@pytest.mark.parametrize("end", ["FIN", "RST"])
@pytest.mark.parametrize("style", ["calls", "handler", "channel"])
@pytest.mark.parametrize("kind", KINDS)
async def test_data_comes_before_the_loss(kind: str, style: str, end: str) -> None:
    """Also where both were there when somebody looked."""
    recorder = Listener(read=kind != "EasyTCPSocket")
    handler = recorder if style == "handler" else None
    async with connected(kind, handler=handler) as (sock, peer):
        channel = sock.events if style == "channel" else None
        await settle()
        data = encode_message(1, b"last") if kind == "EasyTCPSocket" else b"last"
        if isinstance(peer, TLSPeer):
            peer.tls.write(data)
            if end == "FIN":
                with contextlib.suppress(Exception):  # it wants our close_notify
                    peer.tls.unwrap()
            data = peer.outgoing.read()
        raw(peer).send_nowait(data)  # no checkpoint from here: both are found in one go
        if end == "FIN":
            raw(peer).fin()
        else:
            await until(lambda: sock.statistics().bytes_in)  # a reset destroys what is unread
            raw(peer).reset()
        reason = LossReason.REMOTE_CLOSED if end == "FIN" else LossReason.RESET
        if style == "calls":
            assert await receive(kind, sock) == b"last"
            try:
                assert await receive(kind, sock) == b""
            except Exception as exc:
                assert exc is sock.last_error
            assert sock.last_error.reason is reason
        elif channel is not None:
            events = [event async for event in channel]
            assert isinstance(events[1], DataAvailable | ReceivedMessage)
            assert events[2].error.reason is reason
        else:
            await recorder.wait_for(ErrorOccurred)
            assert recorder.received == b"last"
            assert [type(event) for event in recorder.events] == [
                Connected,
                DataAvailable,
                ErrorOccurred,
            ]


async def receive(kind: str, sock: Any) -> bytes:
    """A call of the caller style; ``b""`` for the clean end."""
    if kind != "EasyTCPSocket":
        return bytes(await sock.receive_some())
    try:
        return bytes((await sock.receive()).data)
    except trio.EndOfChannel:
        return b""


# Handlers


@pytest.mark.parametrize("kind", KINDS)
async def test_no_handler_is_entered_while_one_runs(kind: str) -> None:
    """Whatever plain call it makes; what that causes is told afterwards, in order."""

    def answer(sock: Any) -> None:
        send(kind, sock, b"answer")

    def goodbye(sock: Any) -> None:
        if len(recorder.of(SendComplete)) == 2:
            sock.close()

    reactions: dict[str, Callable[[Any], object]] = {
        "on_connected": answer,
        "on_data_available": answer,
        "on_received_message": answer,
        "on_send_complete": goodbye,
    }
    recorder = Listener(reactions=reactions)
    async with connected(kind, handler=recorder) as (sock, peer):
        await tell(kind, peer, b"question")
        await until(lambda: sock.state is SocketState.CLOSED)
        await settle()
    assert recorder.depth == 1
    order = [type(event) for event in recorder.events]
    assert [each for each in order if each is not SendProgress] == [
        Connected,
        SendComplete,
        DataAvailable,
        SendComplete,
    ]
    check_grammar(recorder.events)


@pytest.mark.parametrize("kind", KINDS)
async def test_properties_show_the_new_state(kind: str) -> None:
    """When an event is delivered."""
    states: list[tuple[str, object]] = []
    reactions: dict[str, Callable[[Any], object]] = {
        "on_connected": lambda sock: states.append(("connected", sock.state)),
        "on_send_complete": lambda sock: states.append(("left", sock.bytes_left_to_send)),
        "on_error": lambda sock: states.append(("lost", (sock.state, sock.handle))),
    }
    async with connected(kind, handler=Listener(reactions=reactions)) as (sock, peer):
        send(kind, sock, bytes(BLOCKED))
        raw(peer).reset()
        await until(lambda: len(states) == 3)
    assert states == [
        ("connected", SocketState.CONNECTED),
        ("left", 0),
        ("lost", (SocketState.CLOSED, -1)),
    ]


@pytest.mark.parametrize("call", ["send", "flush", "aclose", "disconnect"])
@pytest.mark.parametrize("kind", KINDS[1:])
async def test_awaited_calls_return_after_the_handlers(kind: str, call: str) -> None:
    """Those of the events that they caused."""
    recorder = Listener()
    async with connected(kind, handler=recorder) as (sock, peer):
        assert recorder.names == ["on_connected"]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.count_to_eof)
            if call == "send" and kind == "EasyTCPSocket":
                await sock.send(Message(1, bytes(BLOCKED)))
            elif call == "send":
                await sock.send_all(bytes(BLOCKED))
            else:
                send(kind, sock, bytes(BLOCKED))
                await getattr(sock, call)()
            last = "on_error" if call == "disconnect" else "on_send_complete"
            assert recorder.names[-1] == last
            await sock.aclose()
    assert recorder.depth == 1


# Ctrl-C


def interrupt(*_: Any) -> None:
    """As if somebody had pressed it just now."""
    signal.raise_signal(signal.SIGINT)
    raise AssertionError("it was held back")  # pragma: no cover


@pytest.mark.parametrize(
    ("kind", "method"),
    [
        ("EasyTCPSocket", "on_connected"),
        *((kind, method) for kind in KINDS for method in ("on_send_complete", "on_error")),
    ],
)
def test_ctrl_c_in_a_handler(kind: str, method: str) -> None:
    """It leaves the block as itself, and the socket is closed."""
    sockets: list[Any] = []

    def note_and_interrupt(sock: Any) -> None:
        sockets.append(sock)
        interrupt()

    async def main() -> None:
        recorder = Listener(reactions={method: note_and_interrupt})
        async with connected(kind, handler=recorder) as (sock, peer):
            send(kind, sock, b"x")
            await settle()
            raw(peer).reset()
            await trio.sleep_forever()

    with pytest.raises(KeyboardInterrupt):
        trio.run(main)
    assert sockets[0].state is SocketState.CLOSED


@pytest.mark.parametrize("kind", KINDS)
def test_ctrl_c_in_a_task_of_the_socket(kind: str) -> None:
    """It cancels the body, and leaves the block as itself."""
    sockets: list[Any] = []
    cancelled: list[bool] = []

    async def task() -> None:
        await settle()
        interrupt()

    async def main() -> None:
        async with connected(kind) as (sock, _):
            sockets.append(sock)
            sock.start_soon(task)
            try:
                await trio.sleep_forever()
            finally:
                cancelled.append(True)

    with pytest.raises(KeyboardInterrupt):
        trio.run(main)
    assert cancelled == [True]
    assert sockets[0].state is SocketState.CLOSED


@pytest.mark.parametrize("where", ["serve", "handler object", "task"])
def test_ctrl_c_while_a_server_serves(where: str) -> None:
    """In a function given to serve(), in the handler object of a connection, in a task of one."""
    recorder = Listener(reactions={"on_data_available": interrupt})
    servers: list[ServerSocket[TCPSocket]] = []

    async def interrupted_soon() -> None:
        await settle()
        interrupt()

    async def handler(sock: TCPSocket) -> None:
        if where == "task":
            sock.start_soon(interrupted_soon)
        elif where == "serve":
            interrupt()
        await trio.sleep_forever()

    def made() -> TCPSocket:
        return TCPSocket(handler=recorder if where == "handler object" else None)

    async def main() -> None:
        async with listening(add_socket=made) as server:
            servers.append(server)
            with await connect(server) as peer:
                peer.send_nowait(b"x")
                await server.serve(handler)

    with pytest.raises(KeyboardInterrupt):
        trio.run(main)
    assert not servers[0].is_listening

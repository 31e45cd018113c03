"""The walks through the code in CONTRIBUTING are what happens, and they are short."""

from __future__ import annotations

import importlib
import re
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest
import trio
import trio.testing

from tests.support import RawPeer, accept, raw_listener, raw_pair, until
from tests.support.datagrams import RawUDP, bound
from tests.support.serving import running_handlers
from trio_xsock import (
    EasyTCPSocket,
    LostConnectionError,
    ServerSocket,
    SocketHandler,
    TCPSocket,
    UDPSocket,
)
from trio_xsock._engine.connection import Connection
from trio_xsock._machines.framing import encode_message
from trio_xsock.testing import is_compiled

_DESCRIPTORS = ("socket", "epoll", "PlainTransport")
_SYSTEM = ("fcntl", "posix", "_socket")
_ASK_NOBODY = ("fileno", "strerror")
pytestmark = pytest.mark.skipif(is_compiled(), reason="compiled functions have no frames to follow")
CONTRIBUTING = Path(__file__).resolve().parents[1] / "CONTRIBUTING.md"


def walk(name: str) -> list[str]:
    """The places that a walk names, ``module:qualified.name``."""
    text = CONTRIBUTING.read_text(encoding="utf-8")
    part = text.split(f"<!-- walk: {name} -->")[1].split("<!--")[0]
    steps = re.findall(r"^\d+\. `([\w.:]+)`", part, flags=re.MULTILINE)
    assert 3 < len(steps) <= 10
    return steps


def code_of(place: str) -> CodeType:
    """The code of the function that is meant."""
    module, _, name = place.partition(":")
    found: object = importlib.import_module(f"trio_xsock.{module}")
    for part in name.split("."):
        found = getattr(found, part)
    code: CodeType = getattr(found, "__wrapped__", found).__code__  # type: ignore[attr-defined]
    return code


@contextmanager
def recorded(codes: list[CodeType]) -> Iterator[list[CodeType]]:
    """Record which of these functions are entered, in order."""
    entered: list[CodeType] = []

    def trace(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code in codes:
            entered.append(frame.f_code)

    before = sys.getprofile()
    sys.setprofile(trace)
    try:
        yield entered
    finally:
        sys.setprofile(before)


class Step:
    """What happens in one call of a connection's ``on_readable``.

    Attributes:
        ours: the functions of the library that were entered, in order.
        asked: what the OS was asked, in order.
    """

    def __init__(self) -> None:
        self.ours: list[str] = []
        self.asked: list[str] = []


@contextmanager
def step() -> Iterator[Step]:
    """Record the steps that are taken inside."""
    found, inside = Step(), 0
    begin = Connection.on_readable.__code__

    def trace(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal inside
        code = frame.f_code
        inside += (event == "call") - (event == "return") if code is begin or inside else 0
        if inside and event == "call" and "trio_xsock" in code.co_filename:
            found.ours.append(code.co_qualname)
        elif inside and event == "c_call":
            owner, _, name = argument.__qualname__.rpartition(".")
            asks = owner in _DESCRIPTORS or argument.__module__ in _SYSTEM
            if asks and name not in _ASK_NOBODY:
                found.asked.append(name)

    before = sys.getprofile()
    sys.setprofile(trace)
    try:
        yield found
    finally:
        sys.setprofile(before)


def check(steps: list[str], entered: list[CodeType]) -> None:
    """All steps were taken, in this order; others may lie between."""
    rest = iter(entered)
    for step in steps:
        assert code_of(step) in rest, f"{step} was not called in its turn"


async def test_a_chunk() -> None:
    """From the hub to the handler, and its answer back to the OS."""

    class Echo(SocketHandler):
        def on_data_available(self, socket: TCPSocket) -> None:
            socket.write(socket.read_all())

    steps = walk("chunk")
    async with ServerSocket(
        address="127.0.0.1", add_socket=lambda: TCPSocket(handler=Echo())
    ) as server:
        await server.listen()
        with await RawPeer.connect(server.port) as peer:
            await peer.send(b"x")
            assert await peer.recv_exactly(1) == b"x"
            with recorded([code_of(step) for step in steps]) as entered:
                await peer.send(b"y")
                assert await peer.recv_exactly(1) == b"y"
    if sys.platform != "linux" or not any(each is code_of(steps[0]) for each in entered):
        steps = steps[1:]  # the portable readiness has no hub
    check(steps, entered)


async def test_a_cancelled_send() -> None:
    """From the call to the books."""
    steps = walk("cancelled")
    ours, theirs = raw_pair()
    with theirs:
        async with TCPSocket.from_socket(ours) as sock:
            with recorded([code_of(step) for step in steps]) as entered:
                with trio.CancelScope() as scope:
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(sock.send_all, bytes(30_000_000))
                        await trio.testing.wait_all_tasks_blocked()
                        scope.cancel()
    check(steps, entered)


async def test_a_reset() -> None:
    """From the descriptor to the end of iteration."""
    steps = walk("reset")
    with raw_listener() as listener:
        async with TCPSocket("127.0.0.1", listener.getsockname()[1]) as sock:
            events = sock.events
            await sock.connect()
            with await accept(listener) as peer:
                async with trio.open_nursery() as nursery:
                    sock.write(bytes(30_000_000))
                    nursery.start_soon(_read_to_the_end, sock)
                    await trio.testing.wait_all_tasks_blocked()
                    with recorded([code_of(step) for step in steps]) as entered:
                        peer.reset()
                        async for _ in events:
                            pass
    check(steps, entered)


async def test_an_accepted_connection() -> None:
    """From the listening socket to the end of the handler."""

    async def handler(sock: TCPSocket) -> None:
        await sock.send_all(b"x")

    steps = walk("accepted")
    async with ServerSocket(address="127.0.0.1") as server, trio.open_nursery() as nursery:
        await nursery.start(server.serve, handler)
        with recorded([code_of(step) for step in steps]) as entered:
            with await RawPeer.connect(server.port) as peer:
                assert await peer.recv_all_to_eof() == b"x"
            await until(lambda: not running_handlers(server))
        server.stop_listening()
    check(steps, entered)


async def test_a_message_takes_few_calls() -> None:
    """From the descriptor to the handler and back."""
    received: list[bytes] = []

    class Handler(SocketHandler):
        def on_received_message(self, socket: EasyTCPSocket, command: int, data: bytes) -> None:
            received.append(data)

    async with ServerSocket(
        address="127.0.0.1", add_socket=lambda: EasyTCPSocket(handler=Handler())
    ) as server:
        await server.listen()
        with await RawPeer.connect(server.port) as peer:
            await peer.send(encode_message(1, b"first"))
            await until(lambda: received)
            with step() as taken:
                await peer.send(encode_message(1, b"second"))
                await until(lambda: len(received) == 2)
    assert len(taken.ours) + 1 <= 27, taken.ours  # with the handler


async def test_a_reset_with_a_queue_does_nothing_twice() -> None:
    """Nor is the OS asked for anything that is not needed any more."""
    ours, theirs = raw_pair()
    async with TCPSocket.from_socket(ours, handler=SocketHandler()) as sock:
        events = sock.events
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_send_in_vain, sock)
            nursery.start_soon(_read_to_the_end, sock)
            await trio.testing.wait_all_tasks_blocked()
            with step() as taken:
                theirs.reset()
                async for _ in events:
                    pass
    counts = Counter(taken.ours)
    once = [
        *("Intake.take_in", "lose", "Ends.happens", "carry_out", "_release", "Link.close"),
        *(
            "why_not_sending",
            "drop_queue",
            "Outlet.drop",
            "SendLedger.abort",
            "SendWaits.interrupt",
        ),
        *("Outlet.end_batch", "ByteInbox.end", "Delivery.post_error", "Delivery.close"),
    ]
    assert {name: counts[name] for name in once} == dict.fromkeys(once, 1)
    assert [name for name in taken.asked if name != "unregister"] == ["recv", "close"]


async def _send_in_vain(sock: TCPSocket) -> None:
    with pytest.raises(LostConnectionError):
        await sock.send_all(bytes(30_000_000))


async def test_a_datagram() -> None:
    """From the hub to the handler, and its answer back to the OS."""

    class Echo(SocketHandler):
        def on_data_available(self, socket: UDPSocket) -> None:
            while (datagram := socket.read()) is not None:
                socket.write(datagram)

    steps = walk("datagram")
    with RawUDP() as peer:
        async with bound(handler=Echo()) as sock:
            peer.send(b"x", sock.port)
            assert (await peer.receive())[0] == b"x"
            with recorded([code_of(step) for step in steps]) as entered:
                peer.send(b"y", sock.port)
                assert (await peer.receive())[0] == b"y"
    if sys.platform != "linux" or not any(each is code_of(steps[0]) for each in entered):
        steps = steps[1:]  # the portable readiness has no hub
    check(steps, entered)


async def _read_to_the_end(sock: TCPSocket) -> None:
    with pytest.raises(LostConnectionError):
        await sock.receive_exactly(1)


@pytest.mark.parametrize("name", ["chunk", "cancelled", "reset", "datagram", "accepted"])
def test_every_name_is_there(name: str) -> None:
    """Also those that are reached through a bound method."""
    for step in walk(name):
        assert code_of(step)

"""No reference cycle is left of a socket, however its life ended; the lifetimes page says so."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest
import trio

from tests.support import accept, raw_listener, until
from tests.support.tls import TLSPeer, credentials
from trio_xsock import (
    EasyTCPSocket,
    SocketHandler,
    SocketState,
    SSLSocket,
    TCPSocket,
    encode_message,
)

Stream = TCPSocket | EasyTCPSocket


class OopsError(Exception):
    """What a user's code raises."""


class Failing(SocketHandler):
    """A handler that fails at the first thing that comes."""

    def on_data_available(self, socket: object) -> None:
        raise OopsError

    def on_received_message(self, socket: object, command: int, data: bytes) -> None:
        raise OopsError


async def fail() -> None:
    raise OopsError


@pytest.fixture(autouse=True)
def no_collector() -> Iterator[None]:
    """What is freed here is freed by counting references."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def make(kind: str, port: int, handler: object) -> Stream:
    if kind == "easy":
        return EasyTCPSocket("127.0.0.1", port, handler=handler)
    if kind == "ssl":
        context = credentials().client_context()
        return SSLSocket("localhost", port, ssl_context=context, handler=handler)
    return TCPSocket("127.0.0.1", port, handler=handler)


async def live(kind: str, how: str) -> weakref.ref[Stream]:
    """One life of a socket; what it raises is not ours."""
    with raw_listener(host="127.0.0.1") as listener:
        sock = make(kind, listener.getsockname()[1], Failing() if how == "handler" else None)
        try:
            async with trio.open_nursery() as nursery, sock:
                nursery.start_soon(sock.connect)
                with await accept(listener) as raw:
                    peer = raw
                    if kind == "ssl":
                        tls = TLSPeer(raw, credentials().server_context())
                        await tls.handshake()
                    await until(lambda: sock.state is SocketState.CONNECTED)
                    if how == "task":
                        sock.start_soon(fail)
                        await trio.sleep_forever()
                    elif how == "body":
                        raise OopsError
                    elif how == "reset":
                        peer.reset()
                        await until(lambda: sock.state is SocketState.CLOSED)
                    else:
                        if how == "channel":
                            assert sock.events
                        data = encode_message(1, b"x") if kind == "easy" else b"x"
                        await (tls.send(data) if kind == "ssl" else peer.send(data))
                        if how == "handler":
                            await trio.sleep_forever()
                        await until(lambda: sock.bytes_available)
        except* OopsError:
            pass
        return weakref.ref(sock)


@pytest.mark.parametrize("how", ["handler", "task", "body", "reset", "channel"])
@pytest.mark.parametrize("kind", ["tcp", "ssl", "easy"])
async def test_nothing_is_left(kind: str, how: str) -> None:
    """Not after a failure, and not of events that nobody took."""
    reference = await live(kind, how)
    await trio.lowlevel.checkpoint()
    assert reference() is None

"""``TCPSocket`` as a whole: its options, and the contracts of Trio's streams."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
import trio.abc
import trio.testing

from tests.support import EventRecorder, accept, raw_listener
from tests.support.pairs import clogged_pairs, linked, pairs, turned
from trio_xsock import EventChannel, NetworkInterface, TCPSocket

DEFAULTS: dict[str, Any] = {
    "receive_buffer_limit": 2**20,
    "send_buffer_limit": 2**26,
    "progress_interval": 65536,
    "allow_half_close": None,
    "network_interface": None,
    "handler": None,
}


# Options


def test_the_defaults() -> None:
    """SPEC 3.7; each option is an attribute, and address and port are positional."""
    sock = TCPSocket()
    assert (sock.address, sock.port) == ("", 0)
    for name, value in DEFAULTS.items():
        assert getattr(sock, name) == value
    parameters = inspect.signature(TCPSocket).parameters
    assert list(parameters)[:2] == ["address", "port"]
    for name in (*DEFAULTS, "events"):
        assert parameters[name].kind is inspect.Parameter.KEYWORD_ONLY
        assert hasattr(sock, name)


def test_all_options_at_once() -> None:
    """What is given is kept, and may be changed."""
    given: dict[str, Any] = {
        "receive_buffer_limit": 1,
        "send_buffer_limit": 2,
        "progress_interval": 3,
        "allow_half_close": True,
        "network_interface": NetworkInterface.loopback(),
        "handler": EventRecorder(),
        "events": EventChannel(),
    }
    sock = TCPSocket("::1", 80, **given)
    for name, value in given.items():
        assert getattr(sock, name) is value
    for name, value in DEFAULTS.items():
        setattr(sock, name, value)
        assert getattr(sock, name) == value


def test_it_is_what_trio_calls_a_stream() -> None:
    """And none of what it is not."""
    assert issubclass(TCPSocket, trio.abc.HalfCloseableStream)
    assert not inspect.isabstract(TCPSocket)


async def test_it_can_be_derived_from() -> None:
    """Xojo's users do; own attributes are no problem."""

    class Mine(TCPSocket):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            self.mine = "mine"

    async with linked(socket_class=Mine) as (sock, _):
        pass
    with raw_listener() as listener:
        async with Mine("127.0.0.1", listener.getsockname()[1]) as mine:
            await mine.connect()
            assert mine.mine == "mine"
    assert isinstance(sock, Mine)


# The contracts of Trio's streams


@pytest.mark.slow
async def test_trio_s_check_of_half_closeable_streams() -> None:
    """Sending, receiving, closing, cancelling and blocking, as Trio wants them."""
    async with (
        pairs(TCPSocket, TCPSocket) as make,
        clogged_pairs(TCPSocket, TCPSocket) as make_clogged,
    ):
        await trio.testing.check_half_closeable_stream(make, make_clogged)


@pytest.mark.slow
async def test_trio_s_check_of_two_way_streams() -> None:
    """Seen from the server's side."""
    async with (
        pairs(TCPSocket, TCPSocket) as make,
        clogged_pairs(TCPSocket, TCPSocket) as make_clogged,
    ):
        await trio.testing.check_two_way_stream(turned(make), turned(make_clogged))


async def test_an_ssl_stream_of_trio_s_may_sit_on_top() -> None:
    """Or any other that wants a stream: here two stapled ones."""
    async with linked() as (sock, peer):
        stapled = trio.StapledStream(sock, sock)
        await stapled.send_all(b"x")
        assert await peer.recv_some() == b"x"
        await peer.send(b"y")
        assert await stapled.receive_some() == b"y"
        await stapled.send_eof()
        assert await peer.recv_some() == b""


async def test_aclose_forcefully() -> None:
    """Trio's way to close at once."""
    async with linked(small=True) as (sock, peer):
        sock.write(bytes(3_000_000))
        await trio.aclose_forcefully(sock)
        assert sock.handle == -1
        assert await peer.count_to_eof() == sock.bytes_sent


async def test_every_public_coroutine_is_a_checkpoint() -> None:
    """On its fastest way through, too."""
    with raw_listener() as listener:
        sock = TCPSocket("127.0.0.1", listener.getsockname()[1])
        calls: list[Callable[[], Awaitable[object]]] = [
            sock.__aenter__,
            sock.connect,
            sock.poll,
            lambda: sock.send_all(b"x"),
            lambda: sock.send_all(b""),
            sock.flush,
            sock.wait_send_all_might_not_block,
            lambda: sock.receive_exactly(0),
            lambda: sock.receive_some(1),
            lambda: sock.receive_exactly(1),
            lambda: sock.receive_until(b"\n"),
            lambda: anext(sock.lines()),
            lambda: sock.__anext__(),
            sock.send_eof,
            sock.send_eof,
            sock.disconnect,
            sock.disconnect,
            sock.aclose,
            sock.poll,
            lambda: sock.__aexit__(None, None, None),
            sock.aclose,
        ]
        for call in calls:
            with trio.testing.assert_checkpoints():
                await call()
            if call == sock.connect:
                peer = await accept(listener)
                await peer.send(b"abcd\nline\nrest")
                await trio.testing.wait_all_tasks_blocked()
                peer.fin()
        peer.close()

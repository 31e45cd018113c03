"""``TCPSocket`` as a whole: its options, and the contracts of Trio's streams."""

from __future__ import annotations

import inspect
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.abc
import trio.testing

from tests.support import EventRecorder, accept, raw_listener
from tests.support.pairs import clog, descriptor_of, linked, shrink_send_buffer
from tests.support.peers import SMALL
from trio_xsock import EventChannel, NetworkInterface, ServerSocket, TCPSocket

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


@pytest.mark.parametrize("name", ["receive_buffer_limit", "send_buffer_limit", "progress_interval"])
def test_amounts_are_whole_numbers_above_zero(name: str) -> None:
    """The text names the option; the value there was stays."""
    sock = TCPSocket()
    for wrong in ("1", 1.0, None, True):
        with pytest.raises(TypeError, match=f"{name} must be an int"):
            TCPSocket(**{name: wrong})
        with pytest.raises(TypeError, match=f"{name} must be an int"):
            setattr(sock, name, wrong)
    for wrong in (0, -1):
        with pytest.raises(ValueError, match=f"{name} must be at least"):
            TCPSocket(**{name: wrong})
        with pytest.raises(ValueError, match=f"{name} must be at least"):
            setattr(sock, name, wrong)
    assert getattr(sock, name) == DEFAULTS[name]


def test_allow_half_close_is_a_bool_or_none() -> None:
    """Nothing that merely looks like one."""
    sock = TCPSocket(allow_half_close=False)
    for wrong in (0, 1, "no"):
        with pytest.raises(TypeError, match="allow_half_close must be True, False or None"):
            TCPSocket(allow_half_close=wrong)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="allow_half_close must be"):
            sock.allow_half_close = wrong  # type: ignore[assignment]
    assert sock.allow_half_close is False


async def test_a_larger_receive_buffer_takes_effect_at_once() -> None:
    """Reading goes on without a read."""
    async with linked(receive_buffer_limit=10) as (sock, peer):
        await peer.send(bytes(1000))
        await trio.testing.wait_all_tasks_blocked()
        assert sock.bytes_available == 10
        sock.receive_buffer_limit = 300
        await trio.testing.wait_all_tasks_blocked()
        assert sock.bytes_available == 300
        sock.receive_buffer_limit = 1
        await trio.testing.wait_all_tasks_blocked()
        assert sock.bytes_available == 300


async def test_allow_half_close_counts_when_the_peer_ends() -> None:
    """It may be decided late."""
    async with linked(allow_half_close=True) as (sock, peer):
        sock.allow_half_close = False
        peer.fin()
        await trio.testing.wait_all_tasks_blocked()
        assert sock.handle == -1


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


Maker = Callable[[], Awaitable[tuple[TCPSocket, TCPSocket]]]


@asynccontextmanager
async def pairs(*, small: bool = False) -> AsyncIterator[Maker]:
    """A function that makes a connected client and what the server accepted for it."""
    options = {"receive_buffer_limit": 16} if small else {}

    async def make() -> tuple[TCPSocket, TCPSocket]:
        client = await nursery.start(TCPSocket("127.0.0.1", server.port, **options).run)
        await client.connect()
        return client, await server.accept()

    async with (
        ServerSocket(address="127.0.0.1", add_socket=lambda: TCPSocket(**options)) as server,
        trio.open_nursery() as nursery,
    ):
        await server.listen()
        if small:  # what is accepted inherits it
            with descriptor_of(server) as raw:  # type: ignore[arg-type]
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
        yield make


@asynccontextmanager
async def clogged_pairs() -> AsyncIterator[Maker]:
    """The same, with both directions full to the last byte."""

    async def make() -> tuple[TCPSocket, TCPSocket]:
        both = await make_small()
        for each in both:
            shrink_send_buffer(each)
            with descriptor_of(each) as raw:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
        await clog(both[0])
        await clog(both[1], for_good=True)
        await clog(both[0])
        return both

    async with pairs(small=True) as make_small:
        yield make


@pytest.mark.slow
async def test_trio_s_check_of_half_closeable_streams() -> None:
    """Sending, receiving, closing, cancelling and blocking, as Trio wants them."""
    async with pairs() as make, clogged_pairs() as make_clogged:
        await trio.testing.check_half_closeable_stream(make, make_clogged)


@pytest.mark.slow
async def test_trio_s_check_of_two_way_streams() -> None:
    """Seen from the server's side."""

    def turn(make: Maker) -> Maker:
        async def make_turned() -> tuple[TCPSocket, TCPSocket]:
            client, accepted = await make()
            return accepted, client

        return make_turned

    async with pairs() as make, clogged_pairs() as make_clogged:
        await trio.testing.check_two_way_stream(turn(make), turn(make_clogged))


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

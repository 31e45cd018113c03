"""Connecting by one route; what is common to all attempts is in ``test_dial``."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator

import pytest
import trio

from tests.support import raw_listener
from tests.support.programs import free_port
from trio_xsock._network import one_route
from trio_xsock._network.dial import dial
from trio_xsock._network.interface import NetworkInterface
from trio_xsock._network.one_route import begin
from trio_xsock._network.routes import Origin
from trio_xsock._values.errors import ConnectError, InvalidPortError, NameResolutionError

ANYWHERE = Origin()


@pytest.fixture
def listener(opened: list[socket.socket]) -> Iterator[socket.socket]:
    """A peer on this machine."""
    with raw_listener() as listener:
        yield listener


@pytest.fixture(name="free_port")
def any_free_port() -> int:
    """A port that nobody listens on."""
    return free_port()


def test_a_peer_of_this_machine_is_connected_at_once(listener: socket.socket) -> None:
    """There is nothing to wait for, and the socket is as ``dial`` makes it."""
    begun = begin(*listener.getsockname(), ANYWHERE)
    assert begun is not None
    sock = begun.connected()
    assert sock is not None
    with sock:
        assert sock.getpeername() == begun.route.target.address == listener.getsockname()
        assert not sock.getblocking()
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_it_connects_from_where_it_should(listener: socket.socket) -> None:
    """The origin counts, as it does for ``dial``."""
    begun = begin(*listener.getsockname(), Origin("127.0.0.2"))
    assert begun is not None
    sock = begun.connected()
    assert sock is not None
    with sock:
        assert sock.getsockname()[0] == "127.0.0.2"


async def test_what_is_not_connected_yet_is_continued(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a distant peer is; no second socket is opened for it."""
    address = listener.getsockname()
    monkeypatch.setattr(one_route, "_is_up", lambda _: False)
    begun = begin(*address, ANYWHERE)
    assert begun is not None
    assert begun.connected() is None
    monkeypatch.delattr(socket, "socket")
    with await dial(*address, begun=begun) as sock:
        assert sock is begun.started
        assert sock.getpeername() == address


async def test_what_has_failed_at_once_is_told_by_dial(free_port: int) -> None:
    """Or a moment later: nobody listens there."""
    begun = begin("127.0.0.1", free_port, ANYWHERE)
    assert begun is not None
    assert begun.connected() is None
    with pytest.raises(ConnectError) as caught:
        await dial("127.0.0.1", free_port, begun=begun)
    assert caught.value.errno == errno.ECONNREFUSED


async def test_no_socket_is_an_outcome_too(
    monkeypatch: pytest.MonkeyPatch, listener: socket.socket
) -> None:
    """It was tried once, and is not tried again."""
    tries: list[OSError] = []

    def refuse(*_: object) -> None:
        tries.append(OSError(errno.EACCES, "not here"))
        raise tries[-1]

    monkeypatch.setattr(socket, "socket", refuse)
    begun = begin(*listener.getsockname(), ANYWHERE)
    assert begun is not None
    assert begun.connected() is None
    with pytest.raises(ConnectError, match="Permission denied"):
        await dial(*listener.getsockname(), begun=begun)
    assert len(tries) == 1


async def test_a_connection_to_itself_is_none(free_port: int) -> None:
    """It is up, and nobody listens there."""
    begun = begin("127.0.0.1", free_port, Origin("127.0.0.1", free_port))
    assert begun is not None
    assert isinstance(begun.started, socket.socket)
    assert begun.started.getpeername() == begun.started.getsockname()
    assert begun.connected() is None
    with pytest.raises(ConnectError) as caught:
        await dial("127.0.0.1", free_port, begun=begun)
    assert caught.value.errno == errno.ECONNREFUSED


def test_a_connection_reset_meanwhile_is_no_connection_to_itself(
    opened: list[socket.socket],
) -> None:
    """The first read will tell of the reset; there is no peer to compare with any more."""
    sock = socket.socket()
    opened.append(sock)
    sock.bind(("127.0.0.1", 0))
    assert not one_route._is_self_connected(sock, sock.getsockname())


def test_an_error_of_the_os_is_left_to_dial(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``dial`` makes the same call, and knows what to raise."""

    def fail(*_: object) -> bool:
        raise OSError(errno.EIO, "broken")

    begun = begin(*listener.getsockname(), ANYWHERE)
    assert begun is not None
    assert isinstance(begun.started, socket.socket)
    with begun.started:
        monkeypatch.setattr(one_route, "_is_self_connected", fail)
        assert begun.connected() is None


@pytest.mark.parametrize("host", ["localhost", "", "no.such.host.invalid"])
def test_a_name_cannot_begin(host: str) -> None:
    """It has to be resolved first, or refused; ``dial`` does both."""
    assert begin(host, 80, ANYWHERE) is None


def test_an_address_without_a_route_cannot_begin() -> None:
    """``dial`` says why."""
    assert begin("fe80::1", 9, ANYWHERE) is None
    nowhere = NetworkInterface("none0", "", "", "", (), True, False, 1500)
    assert begin("127.0.0.1", 9, Origin(interface=nowhere)) is None


def test_bad_input_is_refused_before_anything_is_opened(opened: list[socket.socket]) -> None:
    """With the errors of ``dial``."""
    with pytest.raises(InvalidPortError):
        begin("127.0.0.1", 0, ANYWHERE)
    with pytest.raises(NameResolutionError):
        begin("fe80::1%nowhere0", 80, ANYWHERE)


async def test_cancellation_closes_what_has_begun(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once, as for any attempt."""
    monkeypatch.setattr(one_route, "_is_up", lambda _: False)
    begun = begin(*listener.getsockname(), ANYWHERE)
    assert begun is not None
    assert isinstance(begun.started, socket.socket)
    with trio.CancelScope() as scope:
        scope.cancel()
        await dial(*listener.getsockname(), begun=begun)
    assert scope.cancelled_caught
    assert begun.started.fileno() == -1

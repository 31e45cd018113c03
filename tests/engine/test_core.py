"""What every socket has: port, states, interface, and the refusals that go with them."""

from __future__ import annotations

import inspect
import math
import socket
from decimal import Decimal
from typing import Any

import pytest
import trio
import trio.testing

from tests.support import raw_listener
from tests.support.pairs import GatedResolver, linked
from trio_xsock import (
    AutoDiscovery,
    EasyTCPSocket,
    EasyUDPSocket,
    InvalidPortError,
    InvalidStateError,
    NetworkInterface,
    ServerSocket,
    SocketCore,
    SocketState,
    SocketStatistics,
    SSLSocket,
    TCPSocket,
    UDPSocket,
    network_interfaces,
)
from trio_xsock._engine.core import check_interface
from trio_xsock._machines.state import Move
from trio_xsock._runtime.scoped import finish

LOOPBACK = NetworkInterface.loopback()


def test_the_base_cannot_be_instantiated() -> None:
    """``SocketCore`` is what the others share."""
    with pytest.raises(TypeError, match="abstract"):
        SocketCore(0, None, None, None)  # type: ignore[abstract]
    assert inspect.isabstract(SocketCore)
    assert issubclass(TCPSocket, SocketCore)


# Ports


@pytest.mark.parametrize("port", [-1, 65536, 2**16 + 80, -(2**70)])
def test_a_bad_port_is_refused_at_once(port: int) -> None:
    """At construction and at assignment; the text names port, range and host."""
    with pytest.raises(InvalidPortError, match=rf"0\.\.65535, not {port} \(of 'example\.org'\)"):
        TCPSocket("example.org", port)
    sock = TCPSocket("example.org", 80)
    with pytest.raises(ValueError, match=rf"0\.\.65535, not {port}") as caught:
        sock.port = port
    assert isinstance(caught.value, InvalidPortError)
    assert caught.value.error_number == 107
    assert sock.port == 80


@pytest.mark.parametrize("port", ["80", 80.0, None, True])
def test_a_port_is_an_int(port: Any) -> None:
    """Nothing else is taken for one."""
    with pytest.raises(TypeError, match="port must be an int"):
        TCPSocket("example.org", port)
    sock = TCPSocket()
    with pytest.raises(TypeError, match="port must be an int"):
        sock.port = port


EVERY_KIND = [
    TCPSocket,
    SSLSocket,
    EasyTCPSocket,
    ServerSocket,
    UDPSocket,
    EasyUDPSocket,
    AutoDiscovery,
]


@pytest.mark.parametrize("kind", EVERY_KIND)
@pytest.mark.parametrize("port", [80.0, Decimal(80), 80 + 0j, True, "80", None])
def test_a_port_is_an_int_everywhere(kind: Any, port: Any) -> None:
    """Also where it equals one; what was set before stays."""
    with pytest.raises(TypeError, match="port must be an int, not"):
        kind(port=port)
    sock = kind(port=7)
    with pytest.raises(TypeError, match="port must be an int, not"):
        sock.port = port
    assert (sock.port, type(sock.port)) == (7, int)


@pytest.mark.parametrize("kind", EVERY_KIND)
@pytest.mark.parametrize("address", [b"127.0.0.1", 1.0, Decimal(1), 1j, True, None])
def test_an_address_is_a_str_everywhere(kind: Any, address: Any) -> None:
    """At construction, where that takes one, and at assignment."""
    if "address" in inspect.signature(kind).parameters:
        with pytest.raises(TypeError, match="address must be a str, not"):
            kind(port=7, address=address)
    if hasattr(kind, "address"):
        with pytest.raises(TypeError, match="address must be a str, not"):
            kind(port=7).address = address


@pytest.mark.parametrize("port", [0, 1, 80, 65535])
def test_a_good_port_is_kept(port: int) -> None:
    """Until another one is set."""
    sock = TCPSocket("example.org", port)
    assert sock.port == port
    sock.port = 65535
    assert sock.port == 65535


async def test_port_is_the_local_one_while_open() -> None:
    """Asked from the OS, and the set one again afterwards."""
    async with linked() as (sock, peer):
        remote = peer.sock.getsockname()[1]
        assert sock.port == sock.local_port == peer.sock.getpeername()[1]
        assert sock.remote_port == remote != sock.port
        await sock.aclose()
        assert sock.port == remote
        assert (sock.local_port, sock.remote_port) == (0, remote)


async def test_port_is_asked_from_the_os_on_every_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a change under our feet shows."""
    async with linked() as (sock, _):
        monkeypatch.setattr(socket.socket, "getsockname", lambda _: ("127.0.0.1", 4711))
        assert (sock.port, sock.local_port) == (4711, 4711)


async def test_address_and_port_can_be_set_only_while_closed() -> None:
    """While connecting too; the text names the socket and the cure."""

    def check(state: str) -> None:
        for name, value in (("port", 1), ("address", "::1")):
            with pytest.raises(
                InvalidStateError, match=rf"{state}.*: {name} can be set.*close\(\) it"
            ) as caught:
                setattr(sock, name, value)
            assert caught.value.error_number == 106

    resolver = GatedResolver()
    with raw_listener() as listener:
        port = listener.getsockname()[1]
        async with TCPSocket("some.host", port) as sock:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(sock.connect)
                await resolver.called.wait()
                assert sock.state is SocketState.CONNECTING
                check("connecting")
                resolver.answer.set()
            check(f"connected to 127.0.0.1:{port}")
        sock.port, sock.address = 1, "::1"


# Addresses


async def test_local_address() -> None:
    """The bound one while connected; otherwise a guess that never fails."""
    async with linked() as (sock, _):
        assert sock.local_address == "127.0.0.1"
        sock.close()
        socket.inet_pton(
            socket.AF_INET6 if ":" in sock.local_address else socket.AF_INET, sock.local_address
        )


def test_local_address_of_the_chosen_interface() -> None:
    """Before anything is bound."""
    for interface in network_interfaces():
        if interface.ip_address:
            assert TCPSocket(network_interface=interface).local_address == interface.ip_address


@pytest.mark.parametrize("wildcard", ["0.0.0.0", "::"])
async def test_a_wildcard_is_no_local_address(
    wildcard: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The interface's is shown instead."""
    async with linked(network_interface=LOOPBACK) as (sock, _):
        monkeypatch.setattr(socket.socket, "getsockname", lambda _: (wildcard, 1))
        assert sock.local_address == LOOPBACK.ip_address


async def test_a_mapped_local_address_is_shown_as_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    """Like all addresses."""
    async with linked() as (sock, _):
        monkeypatch.setattr(socket.socket, "getsockname", lambda _: ("::ffff:192.0.2.1", 1, 0, 0))
        assert sock.local_address == "192.0.2.1"


# Interfaces


def test_an_interface_can_be_set_at_any_time() -> None:
    """It must be one, or ``None``."""
    sock = TCPSocket(network_interface=LOOPBACK)
    assert sock.network_interface is LOOPBACK
    sock.network_interface = None
    assert sock.network_interface is None
    assert check_interface(LOOPBACK) is LOOPBACK
    for wrong in ("lo", 1):
        with pytest.raises(TypeError, match="network_interface must be a NetworkInterface or None"):
            sock.network_interface = wrong  # type: ignore[assignment]
        with pytest.raises(TypeError, match="network_interface must be"):
            TCPSocket(network_interface=wrong)  # type: ignore[arg-type]


async def test_an_interface_takes_effect_at_the_next_connect() -> None:
    """An assignment while connected changes nothing yet."""
    far = NetworkInterface("far", "192.0.2.1", "", "", ("192.0.2.1",), True, False, 1500)
    async with linked() as (sock, _):
        sock.network_interface = far
        await sock.send_all(b"x")
        sock.close()
        with pytest.raises(OSError, match="assign requested address"):
            await sock.connect()
        sock.network_interface = LOOPBACK


# The last error


async def test_last_error_is_the_one_posted_last() -> None:
    """Until the next ``connect``, which also forgets it if it is cancelled."""
    with raw_listener() as listener:
        port = listener.getsockname()[1]
    async with TCPSocket("127.0.0.1", port) as sock:
        assert sock.last_error is None
        with pytest.raises(OSError) as caught:
            await sock.connect()
        assert sock.last_error is caught.value
        with pytest.raises(InvalidPortError):
            sock.port = -1
        assert sock.last_error is caught.value
        with trio.CancelScope() as scope:
            scope.cancel()
            await sock.connect()
        assert sock.last_error is None
    assert sock.last_error is None


# The base on its own


class Bare(SocketCore):
    """The least that a socket can be."""

    is_connected = False
    handle = -1
    state = SocketState.CLOSED

    def _local_endpoint(self) -> None:
        return None

    def _descriptor(self) -> None:
        return None

    def _events_now(self) -> list[Any]:
        return []

    def _send_some(self) -> bool:
        return False

    def _abort_from_handler(self) -> None:
        """Nothing is sent."""

    def _next_deadline(self) -> float:
        return math.inf

    def _contain(self, error: Exception) -> bool:
        return False

    async def _end_scope(self) -> None:
        self.close()
        await finish(self._delivery, self)

    def statistics(self) -> SocketStatistics:
        return SocketStatistics()

    async def connect(self) -> None:
        self.state = self._after(Move.BIND)

    def purge(self) -> None:
        """Nothing is received."""

    def close(self) -> None:
        self.state = SocketState.CLOSED
        if self._keeper is not None:
            self._keeper.note_closed()

    async def aclose(self, grace: float = 5.0) -> None:
        self.close()


def test_the_base_checks_ports() -> None:
    """Of whichever socket."""
    assert Bare(80, None, None, None).port == 80
    with pytest.raises(InvalidPortError, match=r"not 65536$"):
        Bare(65536, None, None, None)


async def test_the_base_knows_states() -> None:
    """A move that is illegal is refused with the socket's name; ``run`` ends with the socket."""
    sock = Bare(80, None, None, None)
    async with trio.open_nursery() as nursery:
        await nursery.start(sock.run)
        await sock.connect()
        assert sock.state is SocketState.BOUND
        with pytest.raises(InvalidStateError, match=r"Bare.*: bind\(\) is not possible while"):
            await sock.connect()
        sock.close()
    assert sock.state is SocketState.CLOSED

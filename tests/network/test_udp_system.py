"""UDP ports of the OS, where what matters is not to be seen from a socket."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.support.datagrams import RawUDP
from trio_xsock import NetworkInterface
from trio_xsock._machines.endpoint import literal_address
from trio_xsock._machines.udp_groups import Memberships, multicast_group
from trio_xsock._network import udp_options as options
from trio_xsock._network.udp_port import Sharing
from trio_xsock._network.udp_system import SystemPort, open_port
from trio_xsock._platform import sockets

LO = NetworkInterface.loopback()
GROUP = "239.77.7.7"


@contextmanager
def port_at(
    host: str = "", *, interface: NetworkInterface | None = None
) -> Iterator[tuple[SystemPort, Memberships]]:
    memberships = Memberships()
    local = literal_address(host, 0) if host else None
    port = open_port(local, 0, interface, memberships, sharing=Sharing.IN_A_GROUP)
    try:
        yield port, memberships
    finally:
        port.close()


def join(port: SystemPort, memberships: Memberships, text: str) -> Any:
    group = multicast_group(text)
    assert group is not None
    extra = port.join(group)
    memberships.add(group)
    port.set_send_to_self(False)
    return extra


def send(port: SystemPort, host: str, data: bytes, number: int = 0) -> None:
    address = literal_address(host, number or port.getsockname()[1])
    assert address is not None
    route = port.route(address)
    assert route.send(data, route.address) == len(data)


def received(port: SystemPort) -> list[bytes]:
    return [data for data, *_ in port.receive()]


@pytest.mark.parametrize(
    ("host", "family"),
    [("", socket.AF_UNSPEC), ("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)],
)
def test_the_family_says_what_can_be_reached(host: str, family: int) -> None:
    """For looking up names."""
    with port_at(host) as (port, _):
        assert port.family == family


def test_so_many_at_once_and_no_more() -> None:
    """64, with and without a look at where they were sent to; then it is empty."""
    for interface in (None, LO):
        with port_at(interface=interface) as (port, _), RawUDP() as peer:
            for number in range(100):
                peer.send(b"%d" % number, port.getsockname()[1])
            expected = [b"%d" % number for number in range(100)]
            assert received(port) == expected[:64]
            assert received(port) == expected[64:]
            assert received(port) == []


def test_only_what_comes_back_is_taken_for_our_own() -> None:
    """Also after the OS has dropped some of it."""
    with port_at(interface=LO) as (port, memberships):
        assert join(port, memberships, GROUP) is None
        port._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        for number in range(100):
            send(port, GROUP, b"%d" % number + bytes(100))
        assert port.dropped() > 0 or not sockets.SO_MEMINFO
        assert received(port) == []
        for number in range(5):
            send(port, GROUP, b"later %d" % number)
            assert received(port) == []
        assert not memberships.echoes_expected


def test_what_was_sent_to_be_heard_is_heard() -> None:
    """Whatever is wanted when it comes back."""
    with port_at(interface=LO) as (port, memberships):
        join(port, memberships, GROUP)
        send(port, GROUP, b"not heard")
        port.set_send_to_self(True)
        send(port, GROUP, b"heard")
        assert received(port) == [b"heard"]
        send(port, GROUP, b"heard")
        port.set_send_to_self(False)
        assert received(port) == [b"heard"]


def test_a_group_that_the_os_refuses_leaves_nothing() -> None:
    """Neither of a port for all addresses nor of one for one."""
    with port_at("127.0.0.1") as (port, memberships):
        group = multicast_group(f"{GROUP}")
        assert group is not None
        port._scope.source = "192.0.2.99"  # no interface has it
        with pytest.raises(OSError) as caught:
            port.join(group)
        assert caught.value.errno == errno.ENODEV
        assert len(memberships) == 0


def test_an_interface_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking for it again finds nothing; leaving a group that went with it is no error."""
    with port_at(interface=LO) as (port, memberships):
        join(port, memberships, GROUP)
        with monkeypatch.context() as patch:

            def gone(_: str) -> int:
                raise OSError(errno.ENODEV, "gone")

            patch.setattr(socket, "if_nametoindex", gone)
            assert port.refresh() is False
        group = memberships.joined()[0]
        port.leave(group)
        port.leave(group)


@pytest.mark.parametrize("sharing", Sharing)
def test_two_programs_that_begin_at_the_same_moment(sharing: Sharing) -> None:
    """None of them is in a group yet: they share the port only if that was said before."""
    with port_at() as (port, _):
        number = port.getsockname()[1]
        with pytest.raises(OSError) as info:
            open_port(None, number, None, Memberships(), sharing=sharing)
    assert info.value.errno == errno.EADDRINUSE
    first = open_port(None, number, None, Memberships(), sharing=Sharing.AT_ONCE)
    try:
        if sharing is Sharing.NEVER:
            with pytest.raises(OSError):
                open_port(None, number, None, Memberships(), sharing=sharing)
        else:
            open_port(None, number, None, Memberships(), sharing=sharing).close()
    finally:
        first.close()


def test_a_port_that_cannot_be_set_up_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing stays open."""

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOMEM, "no memory")

    monkeypatch.setattr(options, "tell_arrivals", fail)
    with pytest.raises(OSError, match="no memory"):
        open_port(None, 0, LO, Memberships(), sharing=Sharing.IN_A_GROUP)


def test_an_ipv6_address_of_no_interface(monkeypatch: pytest.MonkeyPatch) -> None:
    """Multicasts then go where the routes say."""
    monkeypatch.setattr("trio_xsock._network.joined_groups.interface_of", lambda _: None)
    with port_at("::1") as (port, _):
        assert port._scope.index == 0

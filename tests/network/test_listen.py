"""Listening: one port for all families, restarts, refusals, and no way to hijack a port."""

from __future__ import annotations

import errno
import os
import socket
from typing import Any

import pytest
import trio
import trio.testing

from trio_xsock._machines.endpoint import ResolvedAddress, literal_address
from trio_xsock._network import listen as _listen
from trio_xsock._network.interface import NetworkInterface
from trio_xsock._network.listen import check_backlog, listen_addresses, open_listeners
from trio_xsock._platform import sockets
from trio_xsock._values.errors import (
    AddressInUseError,
    ErrorCode,
    InvalidPortError,
    NameResolutionError,
    OpenDriverError,
    SocketError,
)

WILDCARDS = [
    ResolvedAddress(socket.AF_INET, ("0.0.0.0", 0)),
    ResolvedAddress(socket.AF_INET6, ("::", 0)),
]
REAL_SOCKET = socket.socket


def at(host: str, port: int = 0) -> ResolvedAddress:
    address = literal_address(host, port)
    assert address is not None
    return address


def interface(*addresses: str, loopback: bool = False) -> NetworkInterface:
    first = addresses[0] if addresses else ""
    return NetworkInterface("eth7", first, "", "", addresses, True, loopback, 1500)


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, int], list[int]]:
    """Have ``socket.socket`` methods fail: (method, family) -> the errnos of the next calls."""
    failures: dict[tuple[str, int], list[int]] = {}

    def check(method: str, family: int) -> None:
        numbers = failures.get((method, family))
        if numbers:
            number = numbers.pop(0)
            raise OSError(number, os.strerror(number))

    class Failing(REAL_SOCKET):
        def __init__(self, family: int, *args: Any) -> None:
            check("socket", family)
            super().__init__(family, *args)

        def bind(self, address: Any) -> None:
            check("bind", self.family)
            super().bind(address)

        def listen(self, backlog: int = 0) -> None:
            check("listen", self.family)
            super().listen(backlog)

    monkeypatch.setattr(socket, "socket", Failing)
    return failures


# Where to listen


async def test_an_empty_address_means_all() -> None:
    """Both families, IPv4 first."""
    with trio.testing.assert_checkpoints():
        assert await listen_addresses("", 0) == WILDCARDS


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "127.0.0.1", "::1"])
async def test_an_address_means_itself(host: str) -> None:
    """The wildcard of one family means that family only."""
    with trio.testing.assert_checkpoints():
        assert await listen_addresses(host, 80) == [at(host, 80)]


async def test_a_name_is_looked_up() -> None:
    """All its addresses are listened on."""
    found = await listen_addresses("localhost", 80)
    assert {each.address[0] for each in found} <= {"127.0.0.1", "::1"}


async def test_bad_arguments_are_refused() -> None:
    """Ports, hosts and their types."""
    with pytest.raises(InvalidPortError, match=r"0\.\.65535, not 65536"):
        await listen_addresses("no such name\0", 65536)
    with pytest.raises(TypeError, match="port must be an int"):
        await listen_addresses("", None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="address must be a str"):
        await listen_addresses(None, 80)  # type: ignore[arg-type]
    with pytest.raises(NameResolutionError, match="malformed"):
        await listen_addresses("no such name\0", 80)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("", ["192.0.2.1", "192.0.2.9", "2001:db8::1", "fe80::1%1"]),
        ("0.0.0.0", ["192.0.2.1", "192.0.2.9"]),
        ("::", ["2001:db8::1", "fe80::1%1"]),
        ("192.0.2.9", ["192.0.2.9"]),
    ],
)
async def test_an_interface_narrows_it_down(host: str, expected: list[str]) -> None:
    """Wildcards become its addresses, an address of its own stays."""
    eth7 = interface("192.0.2.1", "192.0.2.9", "2001:db8::1", "fe80::1%1")
    found = await listen_addresses(host, 80, interface=eth7)
    assert found == [at(each, 80) for each in expected]


async def test_all_of_127_belongs_to_loopback() -> None:
    """The kernel lists one address, and answers to sixteen million."""
    lo = interface("127.0.0.1", loopback=True)
    assert await listen_addresses("127.0.0.2", 80, interface=lo) == [at("127.0.0.2", 80)]


@pytest.mark.parametrize(
    ("host", "shown"), [("192.0.2.2", "192.0.2.2:80"), ("::", r"\[::\]:80"), ("127.0.0.2", "127")]
)
async def test_an_address_of_another_interface_is_refused(host: str, shown: str) -> None:
    """Rather than opening a door on an interface that nobody chose."""
    with pytest.raises(SocketError, match=f"{shown}.*interface eth7 has no such") as caught:
        await listen_addresses(host, 80, interface=interface("192.0.2.1"))
    assert caught.value.errno == errno.EADDRNOTAVAIL


# Opening


def test_all_families_listen_on_one_port(opened: list[socket.socket]) -> None:
    """Also when the system picks it; both take connections."""
    opened += open_listeners(WILDCARDS)
    four, six = opened
    port = four.getsockname()[1]
    assert port == six.getsockname()[1] != 0
    assert (four.family, six.family) == (socket.AF_INET, socket.AF_INET6)
    for listener, host in ((four, "127.0.0.1"), (six, "::1")):
        with socket.create_connection((host, port)):
            accepted, address = listener.accept()
            accepted.close()
            assert address[0] == host


def test_listeners_are_ready_for_trio(opened: list[socket.socket]) -> None:
    """Non-blocking, and not inherited by children."""
    opened += open_listeners(WILDCARDS)
    for listener in opened:
        assert listener.getblocking() is False
        assert listener.get_inheritable() is False
        assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
        assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT) == 0
    assert opened[1].getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1


def test_an_address_given_twice_is_opened_once(opened: list[socket.socket]) -> None:
    """Resolvers repeat themselves."""
    opened += open_listeners([at("127.0.0.1"), at("127.0.0.1")])
    assert len(opened) == 1


def test_several_addresses_of_one_family_share_the_port(opened: list[socket.socket]) -> None:
    """An interface may have several."""
    opened += open_listeners([at("127.0.0.1"), at("127.0.0.2"), at("::1")])
    assert len({listener.getsockname()[1] for listener in opened}) == 1


def test_a_port_that_is_taken_in_the_other_family_is_given_up(
    opened: list[socket.socket], failing: dict[tuple[str, int], list[int]]
) -> None:
    """Another free port is tried, and the sockets of the earlier ones are closed."""
    failing["bind", socket.AF_INET6] = [errno.EADDRINUSE] * 5
    failing["listen", socket.AF_INET6] = [errno.EADDRINUSE]
    opened += open_listeners(WILDCARDS)
    assert failing == {("bind", socket.AF_INET6): [], ("listen", socket.AF_INET6): []}
    assert opened[0].getsockname()[1] == opened[1].getsockname()[1]


@pytest.mark.usefixtures("opened")
def test_looking_for_a_free_port_ends(failing: dict[tuple[str, int], list[int]]) -> None:
    """If there is none for so long, the error says so, and nothing stays open."""
    failing["bind", socket.AF_INET6] = [errno.EADDRINUSE] * _listen._PORT_ATTEMPTS
    with pytest.raises(AddressInUseError):
        open_listeners(WILDCARDS)
    assert failing == {("bind", socket.AF_INET6): []}


@pytest.mark.parametrize("method", ["socket", "bind"])
@pytest.mark.parametrize("number", [errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL])
def test_a_machine_without_ipv6(
    method: str, number: int, opened: list[socket.socket], failing: dict[Any, list[int]]
) -> None:
    """One family is enough."""
    failing[method, socket.AF_INET6] = [number]
    opened += open_listeners(WILDCARDS)
    assert [listener.family for listener in opened] == [socket.AF_INET]


def test_a_machine_without_ipv4(
    opened: list[socket.socket], failing: dict[tuple[str, int], list[int]]
) -> None:
    """It need not be the first one."""
    failing["socket", socket.AF_INET] = [errno.EAFNOSUPPORT]
    opened += open_listeners(WILDCARDS)
    assert [listener.family for listener in opened] == [socket.AF_INET6]


@pytest.mark.usefixtures("opened")
def test_a_machine_without_any_family(failing: dict[tuple[str, int], list[int]]) -> None:
    """None at all is an error."""
    failing["socket", socket.AF_INET] = [errno.EAFNOSUPPORT]
    failing["socket", socket.AF_INET6] = [errno.EAFNOSUPPORT]
    with pytest.raises(OpenDriverError, match=r"cannot listen on \[::\]:0: Address family"):
        open_listeners(WILDCARDS)


@pytest.mark.usefixtures("opened")
def test_an_address_of_another_machine() -> None:
    """The text says that it is none of ours."""
    with pytest.raises(SocketError, match=r"203\.0\.113\.1:0 \(no interface of this") as caught:
        open_listeners([at("203.0.113.1")])
    assert type(caught.value) is SocketError
    assert caught.value.errno == errno.EADDRNOTAVAIL


# Ports that are taken, privileged, or lingering


@pytest.mark.parametrize("other", ["127.0.0.1", "0.0.0.0"])
def test_a_taken_port_is_refused(other: str, opened: list[socket.socket]) -> None:
    """As error 105, naming endpoint and cure; what was opened so far is closed."""
    opened += open_listeners([at(other)])
    port = opened[0].getsockname()[1]
    with pytest.raises(AddressInUseError, match=f":{port} .*choose another one") as caught:
        open_listeners([at("::", port), at("127.0.0.1", port)])
    assert caught.value.error_number == ErrorCode.ADDRESS_IN_USE_ERROR
    assert caught.value.errno == errno.EADDRINUSE
    assert isinstance(caught.value, OSError)


@pytest.mark.usefixtures("opened")
def test_a_privileged_port_is_refused(failing: dict[tuple[str, int], list[int]]) -> None:
    """As error 107; the text says which privilege is wanting."""
    failing["bind", socket.AF_INET] = [errno.EACCES]
    with pytest.raises(InvalidPortError, match=r"0\.0\.0\.0:80 \(ports below 1024") as caught:
        open_listeners([at("0.0.0.0", 80)])
    assert caught.value.error_number == ErrorCode.INVALID_PORT_ERROR
    assert caught.value.errno == errno.EACCES


@pytest.mark.usefixtures("opened")
def test_other_errors_are_mapped_without_advice(
    failing: dict[tuple[str, int], list[int]],
) -> None:
    """Where there is no cure to name, the system's words stand alone."""
    failing["socket", socket.AF_INET] = [errno.EMFILE]
    with pytest.raises(OpenDriverError, match=r"127\.0\.0\.1:0: Too many open files") as caught:
        open_listeners([at("127.0.0.1")])
    assert caught.value.errno == errno.EMFILE


def test_a_server_restarts_while_old_connections_linger(opened: list[socket.socket]) -> None:
    """The side that closes first keeps the port in TIME_WAIT; that does not matter."""
    (listener,) = open_listeners([at("127.0.0.1")])
    port = listener.getsockname()[1]
    with socket.create_connection(("127.0.0.1", port)) as client:
        listener.accept()[0].close()
        listener.close()
        assert client.recv(1) == b""
    opened += open_listeners([at("127.0.0.1", port)])
    assert opened[0].getsockname()[1] == port


@pytest.mark.parametrize("reuse_port", [False, True])
@pytest.mark.parametrize("mine", ["0.0.0.0", "::", ""])
def test_a_more_specific_bind_cannot_take_the_port_away(
    mine: str, reuse_port: bool, opened: list[socket.socket]
) -> None:
    """Whatever options the other program sets."""
    opened += open_listeners([at(mine)] if mine else WILDCARDS)
    port = opened[0].getsockname()[1]
    for sock in list(opened):
        thief = socket.socket(sock.family)
        opened.append(thief)
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, reuse_port)
        with pytest.raises(OSError, match="Address already in use"):
            thief.bind(("127.0.0.1" if sock.family == socket.AF_INET else "::1", port))


@pytest.mark.skipif(not sockets.REUSE_PORT, reason="no SO_REUSEPORT")
def test_a_port_is_shared_on_request_only(opened: list[socket.socket]) -> None:
    """Both sides have to ask for it."""
    opened += open_listeners([at("127.0.0.1")], reuse_port=True)
    port = opened[0].getsockname()[1]
    with pytest.raises(AddressInUseError):
        open_listeners([at("127.0.0.1", port)])
    opened += open_listeners([at("127.0.0.1", port)], reuse_port=True)
    assert opened[1].getsockname()[1] == port


@pytest.mark.usefixtures("opened")
def test_a_system_that_cannot_share_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows has nothing of the kind."""
    monkeypatch.setattr(sockets, "REUSE_PORT", 0)
    with pytest.raises(SocketError) as caught:
        open_listeners([at("127.0.0.1")], reuse_port=True)
    assert caught.value.errno == errno.ENOPROTOOPT


# The backlog


@pytest.mark.parametrize(
    ("backlog", "expected"), [(None, 65535), (0, 0), (7, 7), (65536, 65535), (2**40, 65535)]
)
def test_the_backlog_never_overflows(backlog: int | None, expected: int) -> None:
    """Some systems would take it modulo 65536."""
    assert check_backlog(backlog) == expected


@pytest.mark.parametrize("backlog", ["5", 1.0, True])
def test_a_backlog_of_another_type_is_a_type_error(backlog: object) -> None:
    """Only integers count connections."""
    with pytest.raises(TypeError, match="backlog must be an int or None"):
        check_backlog(backlog)


def test_a_negative_backlog_is_refused() -> None:
    """Some systems would take it for the largest."""
    with pytest.raises(ValueError, match="not -1"):
        open_listeners([at("127.0.0.1")], backlog=-1)


def test_the_backlog_reaches_the_system(
    opened: list[socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is what ``listen`` is called with."""
    asked: list[int] = []

    class Asking(REAL_SOCKET):
        def listen(self, backlog: int = 0) -> None:
            asked.append(backlog)
            super().listen(backlog)

    monkeypatch.setattr(socket, "socket", Asking)
    opened += open_listeners([at("127.0.0.1")], backlog=3)
    opened += open_listeners([at("127.0.0.1")])
    assert asked == [3, 65535]

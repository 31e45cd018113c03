"""Connecting: who is tried, in which order, who wins, and that nothing is left over."""

from __future__ import annotations

import errno
import math
import os
import socket
from collections.abc import Callable
from typing import Any

import pytest
import trio
import trio.testing

from trio_xsock._network import dial as _dial
from trio_xsock._network import one_route
from trio_xsock._network.dial import dial
from trio_xsock._network.interface import NetworkInterface
from trio_xsock._network.routes import Origin
from trio_xsock._platform import sockets
from trio_xsock._values.errors import (
    ConnectError,
    ErrorCode,
    InvalidPortError,
    NameResolutionError,
    OpenDriverError,
    OutOfMemoryError,
    SocketError,
)

Endpoint = tuple[str, int]
Listen = Callable[..., socket.socket]


class Resolver(trio.abc.HostnameResolver):
    """Every name has these addresses, in this order."""

    def __init__(self, endpoints: tuple[Endpoint, ...]) -> None:
        self.endpoints = endpoints

    async def getaddrinfo(self, *_: object, **__: object) -> Any:
        return [
            (socket.AF_INET6 if ":" in host else socket.AF_INET, 1, 6, "", (host, port))
            for host, port in self.endpoints
        ]

    async def getnameinfo(self, sockaddr: Any, flags: int) -> Any:
        raise NotImplementedError


def known_as(*endpoints: Endpoint) -> None:
    """Have every name of this run stand for ``endpoints``."""
    trio.socket.set_custom_hostname_resolver(Resolver(endpoints))


@pytest.fixture
def listen(opened: list[socket.socket]) -> Listen:
    """Open a listening peer; its address is ``getsockname()``."""

    def open_listener(host: str = "127.0.0.1", backlog: int = 5) -> socket.socket:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.socket(family)
        opened.append(listener)
        listener.bind((host, 0))
        listener.listen(backlog)
        return listener

    return open_listener


@pytest.fixture
def silent(listen: Listen, opened: list[socket.socket]) -> Callable[[], Endpoint]:
    """An address that does not answer: its backlog is full, so SYNs are dropped."""

    def make() -> Endpoint:
        endpoint: Endpoint = listen(backlog=0).getsockname()
        opened.append(socket.create_connection(endpoint))
        return endpoint

    return make


@pytest.fixture
def refusing(opened: list[socket.socket]) -> Callable[..., Endpoint]:
    """An address that refuses: the port is taken, and nobody listens there."""

    def make(host: str = "127.0.0.1") -> Endpoint:
        holder = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        opened.append(holder)
        holder.bind((host, 0))
        host, port = holder.getsockname()[:2]
        return host, port

    return make


class Tries:
    """A ``prepare`` that remembers the sockets it saw."""

    def __init__(self) -> None:
        self.sockets: list[socket.socket] = []
        self.families: list[int] = []

    def __call__(self, sock: socket.socket) -> None:
        self.sockets.append(sock)
        self.families.append(sock.family)

    @property
    def open(self) -> int:
        return sum(sock.fileno() != -1 for sock in self.sockets)


def only(address: str, *more: str) -> NetworkInterface:
    return NetworkInterface("eth7", address, "", "", (address, *more), True, False, 1500)


def from_only(*addresses: str) -> Origin:
    """An origin: the interface that has these addresses."""
    return Origin(interface=only(*addresses))


# One address


async def test_connecting_to_an_address(listen: Listen) -> None:
    """The socket is connected, non-blocking, not inherited by children, and sends at once."""
    listener = listen()
    host, port = listener.getsockname()
    with trio.testing.assert_checkpoints():
        sock = await dial(host, port)
    with sock:
        peer, address = listener.accept()
        peer.close()
        assert sock.getpeername() == (host, port)
        assert sock.getsockname() == address
        assert sock.getblocking() is False
        assert sock.get_inheritable() is False
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


async def test_connecting_over_ipv6(listen: Listen) -> None:
    """An IPv6 address needs no other call."""
    port = listen("::1").getsockname()[1]
    with await dial("::1", port) as sock:
        assert sock.family == socket.AF_INET6
        assert sock.getpeername()[:2] == ("::1", port)


async def test_connecting_to_a_mapped_address(listen: Listen) -> None:
    """``::ffff:127.0.0.1`` is an IPv4 peer."""
    port = listen().getsockname()[1]
    with await dial("::ffff:127.0.0.1", port) as sock:
        assert sock.family == socket.AF_INET


async def test_connecting_to_a_name(listen: Listen) -> None:
    """A name with one address makes no difference to an address."""
    endpoint = listen().getsockname()
    known_as(endpoint)
    with trio.testing.assert_checkpoints():
        sock = await dial("example", 1)
    with sock:
        assert sock.getpeername() == endpoint


async def test_options_are_set_before_connecting(listen: Listen) -> None:
    """``prepare`` sees a socket that is not connected yet."""
    host, port = listen().getsockname()

    def prepare(sock: socket.socket) -> None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        with pytest.raises(OSError, match="not connected"):
            sock.getpeername()

    with await dial(host, port, prepare=prepare) as sock:
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1


@pytest.mark.parametrize("port", [0, -1, 65536, 65536 + 80])
async def test_a_bad_port_is_refused(port: int) -> None:
    """Before the name is looked at."""
    with pytest.raises(InvalidPortError, match=r"must be in 1\.\.65535"):
        await dial("no such name\0", port)


async def test_wrong_types_are_type_errors() -> None:
    """Of port and host."""
    with pytest.raises(TypeError, match="port must be an int"):
        await dial("localhost", "80")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="address must be a str"):
        await dial(b"localhost", 80)  # type: ignore[arg-type]


async def test_a_bad_name_is_a_resolution_error() -> None:
    """Errors of resolving come through as they are."""
    with pytest.raises(NameResolutionError, match="host name is empty"):
        await dial("", 80)


async def test_a_refused_connection(refusing: Callable[[], Endpoint]) -> None:
    """The error names the endpoint, the reason and what to check, and holds the attempt."""
    host, port = refusing()
    with pytest.raises(ConnectError) as caught:
        await dial(host, port)
    error = caught.value
    assert str(error) == (
        f"cannot connect to {host}:{port} (check that a server listens on that port): "
        f"{host}:{port}: Connection refused"
    )
    (attempt,) = error.errors
    assert isinstance(attempt, ConnectionRefusedError)
    assert attempt.errno == error.errno == errno.ECONNREFUSED
    assert error.__cause__ is attempt
    assert error.error_number is None
    assert isinstance(error, OSError)


async def test_an_error_at_once() -> None:
    """What the system refuses without trying is a failed attempt as well."""
    with pytest.raises(ConnectError, match=r"255\.255\.255\.255:9: ") as caught:
        await dial("255.255.255.255", 9)
    assert caught.value.errno in {errno.ENETUNREACH, errno.EACCES, errno.EINVAL}


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.EHOSTUNREACH, "check that the host is up"),
        (errno.ENETUNREACH, "check that the host is up"),
        (errno.ETIMEDOUT, "check that the host is up"),
        (errno.EADDRNOTAVAIL, "check the address and the interface"),
    ],
)
async def test_the_text_says_what_to_check(number: int, advice: str) -> None:
    """It depends on how the attempts failed; ``prepare`` may fail one too."""

    def prepare(sock: socket.socket) -> None:
        raise OSError(number, os.strerror(number))

    with pytest.raises(ConnectError, match=advice) as caught:
        await dial("127.0.0.1", 9, prepare=prepare)
    assert caught.value.errno == number


async def test_an_error_without_a_number(opened: list[socket.socket]) -> None:
    """An ``OSError`` made by hand still is a failed attempt."""
    tries = Tries()

    def prepare(sock: socket.socket) -> None:
        tries(sock)
        raise OSError("no luck")

    with pytest.raises(ConnectError, match=r"127\.0\.0\.1:9: no luck"):
        await dial("127.0.0.1", 9, prepare=prepare)
    assert tries.open == 0


async def test_a_mistake_in_prepare_is_not_hidden() -> None:
    """Other exceptions pass untouched, and the socket is closed."""
    mistake, tries = ValueError("mine"), Tries()

    def prepare(sock: socket.socket) -> None:
        tries(sock)
        raise mistake

    with pytest.raises(ValueError, match="mine") as caught:
        await dial("127.0.0.1", 9, prepare=prepare)
    assert caught.value is mistake
    assert tries.open == 0


async def test_a_connection_to_itself_counts_as_refused(
    refusing: Callable[[], Endpoint], opened: list[socket.socket]
) -> None:
    """Nobody is there when a socket has got its own target as its port."""
    host, port = refusing()
    opened.pop().close()
    with pytest.raises(ConnectError) as caught:
        await dial(host, port, prepare=lambda sock: sock.bind((host, port)))
    assert caught.value.errno == errno.ECONNREFUSED


async def test_the_same_port_on_another_address_is_no_connection_to_itself(
    listen: Listen,
) -> None:
    """Only the whole address tells."""
    host, port = listen().getsockname()
    with await dial(host, port, prepare=lambda sock: sock.bind(("127.0.0.2", port))) as sock:
        assert sock.getsockname() == ("127.0.0.2", port)


async def test_a_link_local_address_needs_its_zone() -> None:
    """The text shows how to write one."""
    with pytest.raises(ConnectError, match=r"\[fe80::1\]:9: .* as in fe80::1%eth0") as caught:
        await dial("fe80::1", 9)
    assert caught.value.errno == errno.EINVAL


@pytest.mark.parametrize(
    ("number", "expected", "code"),
    [
        (errno.EMFILE, OpenDriverError, ErrorCode.OPEN_DRIVER_ERROR),
        (errno.ENFILE, OpenDriverError, ErrorCode.OPEN_DRIVER_ERROR),
        (errno.EAFNOSUPPORT, OpenDriverError, ErrorCode.OPEN_DRIVER_ERROR),
        (errno.ENOBUFS, OutOfMemoryError, ErrorCode.OUT_OF_MEMORY_ERROR),
        (errno.ENOMEM, OutOfMemoryError, ErrorCode.OUT_OF_MEMORY_ERROR),
    ],
)
async def test_a_shortage_of_ours_is_not_the_peers_fault(
    number: int, expected: type[SocketError], code: ErrorCode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a socket nobody was asked, whether there is one address or several."""

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    known_as(("127.0.0.1", 9), ("127.0.0.2", 9))
    monkeypatch.setattr(socket, "socket", refuse)
    for host in ("127.0.0.1", "example"):
        with pytest.raises(expected, match=f"cannot connect to {host}:9") as caught:
            await dial(host, 9)
        assert caught.value.errno == number
        assert caught.value.error_number == code


async def test_waiting_can_fail_too(monkeypatch: pytest.MonkeyPatch, listen: Listen) -> None:
    """The system may be out of what it needs to watch one more socket."""

    async def refuse(sock: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(trio.lowlevel, "wait_writable", refuse)
    monkeypatch.setattr(one_route, "_is_up", lambda _: False)  # as with all but this machine
    tries = Tries()
    host, port = listen().getsockname()
    with pytest.raises(ConnectError, match="No space left on device"):
        await dial(host, port, prepare=tries)
    assert tries.open == 0


async def test_cancelling_a_silent_connection(silent: Callable[[], Endpoint]) -> None:
    """It ends at once, and the socket is closed."""
    tries = Tries()
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            host, port = silent()
            nursery.start_soon(lambda: dial(host, port, prepare=tries))
            await trio.testing.wait_all_tasks_blocked()
            assert tries.open == 1
            scope.cancel()
    assert scope.cancelled_caught
    assert tries.open == 0


async def test_dialling_under_cancellation(listen: Listen) -> None:
    """Nothing is left of it, with one address and with several."""
    endpoint = listen().getsockname()
    known_as(endpoint, endpoint)
    tries = Tries()
    for host in ("127.0.0.1", "example"):
        with trio.CancelScope() as scope:
            scope.cancel()
            await dial(host, endpoint[1], prepare=tries)
        assert scope.cancelled_caught
    assert tries.open == 0


# Several addresses


async def test_families_take_turns(
    refusing: Callable[..., Endpoint], mock_clock: trio.testing.MockClock
) -> None:
    """Beginning with the resolver's favourite; each failure lets the next start at once."""
    endpoints = [refusing("::1"), refusing("::1"), refusing(), refusing(), refusing()]
    known_as(*endpoints)
    tries = Tries()
    with pytest.raises(ConnectError) as caught:
        await dial("example", 80, prepare=tries)
    six, four = socket.AF_INET6, socket.AF_INET
    assert tries.families == [six, four, six, four, four]
    assert tries.open == 0
    attempts = [str(each) for each in caught.value.errors]
    expected = [endpoints[place][1] for place in (0, 2, 1, 3, 4)]
    assert all(f":{port}: " in text for port, text in zip(expected, attempts, strict=True))
    for host, port in endpoints:
        shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        assert f"{shown}: Connection refused" in str(caught.value)
    assert "cannot connect to example:80 (" in str(caught.value)
    assert mock_clock.current_time() == 0


async def test_the_next_address_starts_after_the_delay(
    silent: Callable[[], Endpoint], listen: Listen, mock_clock: trio.testing.MockClock
) -> None:
    """An address that does not answer has its head start, then loses, and is closed."""
    good = listen().getsockname()
    known_as(silent(), silent(), good)
    tries = Tries()
    winners: list[socket.socket] = []

    async def connect() -> None:
        winners.append(await dial("example", 80, prepare=tries))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(connect)
        for expected in (1, 2):
            await trio.testing.wait_all_tasks_blocked()
            mock_clock.jump(0.2499)
            await trio.testing.wait_all_tasks_blocked()
            assert len(tries.sockets) == tries.open == expected
            mock_clock.jump(0.0002)
    with winners[0] as winner:
        assert winner.getpeername() == good
        assert tries.open == 1


async def test_any_failure_starts_the_next_at_once(
    silent: Callable[[], Endpoint],
    refusing: Callable[[], Endpoint],
    listen: Listen,
    mock_clock: trio.testing.MockClock,
) -> None:
    """While the first one is still waiting, a refusal of the second starts the third."""
    good = listen().getsockname()
    known_as(silent(), refusing(), good)
    tries = Tries()

    async def connect() -> None:
        with await dial("example", 80, prepare=tries, happy_eyeballs_delay=7) as sock:
            assert sock.getpeername() == good

    async with trio.open_nursery() as nursery:
        nursery.start_soon(connect)
        await trio.testing.wait_all_tasks_blocked()
        assert len(tries.sockets) == 1
        mock_clock.jump(7)
    assert len(tries.sockets) == 3
    assert tries.open == 0


async def test_an_infinite_delay_tries_one_after_the_other(
    silent: Callable[[], Endpoint],
    refusing: Callable[[], Endpoint],
    mock_clock: trio.testing.MockClock,
) -> None:
    """Only failure brings the next one on."""
    known_as(refusing(), silent(), refusing())
    tries = Tries()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(
            lambda: dial("example", 80, prepare=tries, happy_eyeballs_delay=math.inf)
        )
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(1_000_000)
        await trio.testing.wait_all_tasks_blocked()
        assert (len(tries.sockets), tries.open) == (2, 1)
        nursery.cancel_scope.cancel()
    assert tries.open == 0


async def test_the_last_ones_are_waited_for(
    silent: Callable[[], Endpoint], mock_clock: trio.testing.MockClock
) -> None:
    """When all have started, nothing but an answer or cancellation ends it."""
    known_as(silent(), silent())
    tries = Tries()
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: dial("example", 80, prepare=tries))
            for _ in range(5):
                await trio.testing.wait_all_tasks_blocked()
                mock_clock.jump(0.25)
            assert tries.open == 2
            scope.cancel()
    assert scope.cancelled_caught
    assert tries.open == 0


async def test_one_address_given_twice_is_tried_once(refusing: Callable[[], Endpoint]) -> None:
    """Resolvers repeat themselves."""
    endpoint = refusing()
    known_as(endpoint, endpoint)
    with pytest.raises(ConnectError) as caught:
        await dial("example", 80)
    assert len(caught.value.errors) == 1


async def test_a_shortage_at_one_address_does_not_hide_the_others(
    refusing: Callable[[], Endpoint],
) -> None:
    """If somebody refused, the outcome is a failed connection that holds both reasons."""
    known_as(("127.0.0.1", 9), refusing())
    failures = [OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS))]

    def prepare(sock: socket.socket) -> None:
        if failures:
            raise failures.pop()

    with pytest.raises(ConnectError) as caught:
        await dial("example", 80, prepare=prepare)
    assert [each.errno for each in caught.value.errors] == [errno.ENOBUFS, errno.ECONNREFUSED]
    assert caught.value.errno == errno.ECONNREFUSED
    assert "check that a server listens" in str(caught.value)


@pytest.mark.parametrize("mistake", [ValueError("mine"), KeyboardInterrupt(), SystemExit(3)])
async def test_mistakes_in_prepare_leave_a_race_as_themselves(
    mistake: BaseException, silent: Callable[[], Endpoint], mock_clock: trio.testing.MockClock
) -> None:
    """No exception group is wrapped around them, and all sockets are closed."""
    known_as(silent(), silent(), silent())
    tries = Tries()

    def prepare(sock: socket.socket) -> None:
        tries(sock)
        if len(tries.sockets) == 2:
            raise mistake

    async def connect() -> None:
        with pytest.raises(type(mistake)) as caught:
            await dial("example", 80, prepare=prepare)
        assert caught.value is mistake
        assert caught.value.__context__ is None

    async with trio.open_nursery() as nursery:
        nursery.start_soon(connect)
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(0.25)
    assert tries.open == 0


async def test_two_that_connect_at_once(
    monkeypatch: pytest.MonkeyPatch, opened: list[socket.socket]
) -> None:
    """One of them is handed out, the other one closed."""
    answer = trio.Event()
    pair = list(socket.socketpair())
    opened += pair

    async def attempt(*_: object) -> socket.socket:
        await answer.wait()
        return pair.pop()

    monkeypatch.setattr(_dial, "connect_by", attempt)
    known_as(("127.0.0.1", 1), ("127.0.0.1", 2))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: dial("example", 80, happy_eyeballs_delay=0))
        await trio.testing.wait_all_tasks_blocked()
        answer.set()
    assert sorted(sock.fileno() == -1 for sock in opened) == [False, True]


@pytest.mark.parametrize("mistake", [None, ValueError("mine")])
async def test_a_winner_that_nobody_gets_is_closed(
    mistake: Exception | None, monkeypatch: pytest.MonkeyPatch, opened: list[socket.socket]
) -> None:
    """Cancellation, or another failure, may come between winning and returning."""
    winner = socket.socket()
    opened.append(winner)
    scope = trio.CancelScope()
    start = trio.Event()

    async def attempt(route: Any, _: object) -> socket.socket:
        if route.target.address[1] == 2:
            start.set()
            await trio.sleep_forever()
        await start.wait()
        if mistake is None:
            scope.cancel()
        return winner

    async def fail_late(route: Any, prepare: object) -> socket.socket:
        try:
            return await attempt(route, prepare)
        finally:
            if mistake is not None and route.target.address[1] == 2:
                raise mistake

    monkeypatch.setattr(_dial, "connect_by", fail_late)
    known_as(("127.0.0.1", 1), ("127.0.0.1", 2))
    with scope:
        if mistake is None:
            await dial("example", 80, happy_eyeballs_delay=0)
        else:
            with pytest.raises(ValueError, match="mine"):
                await dial("example", 80, happy_eyeballs_delay=0)
    assert scope.cancelled_caught == (mistake is None)
    assert winner.fileno() == -1


async def test_ctrl_c_after_the_race_closes_the_winner(
    monkeypatch: pytest.MonkeyPatch, opened: list[socket.socket]
) -> None:
    """It may come between any two instructions, not only while somebody waits."""
    winner = socket.socket()
    opened.append(winner)

    async def interrupted(race: Any) -> None:
        race._winner = winner
        raise KeyboardInterrupt

    monkeypatch.setattr(_dial._Race, "_start_all", interrupted)
    known_as(("127.0.0.1", 1), ("127.0.0.1", 2))
    with pytest.raises(KeyboardInterrupt):
        await dial("example", 80)
    assert winner.fileno() == -1


# Interfaces


async def test_connecting_from_an_interface(listen: Listen) -> None:
    """The socket has the interface's address, and shares ports with other destinations."""
    listener = listen()
    host, port = listener.getsockname()
    with await dial(host, port, origin=from_only("127.0.0.2")) as sock:
        peer, address = listener.accept()
        peer.close()
        assert address[0] == sock.getsockname()[0] == "127.0.0.2"


async def test_connecting_from_an_interface_without_linuxs_option(
    listen: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other systems choose the port at once."""
    monkeypatch.setattr(sockets, "BIND_ADDRESS_NO_PORT", 0)
    host, port = listen().getsockname()
    with await dial(host, port, origin=from_only("127.0.0.2")) as sock:
        assert sock.getsockname()[0] == "127.0.0.2"


async def test_families_that_the_interface_lacks_are_passed_over(listen: Listen) -> None:
    """An IPv4 interface does not try IPv6 targets at all."""
    good = listen().getsockname()
    known_as(("::1", 9), good)
    tries = Tries()
    with await dial("example", 80, origin=from_only("127.0.0.1"), prepare=tries) as sock:
        assert sock.getpeername() == good
    assert tries.families == [socket.AF_INET]


async def test_an_interface_that_can_reach_no_address() -> None:
    """The text names the interface and what it cannot reach."""
    with pytest.raises(ConnectError) as caught:
        await dial("::1", 9, origin=from_only("127.0.0.1", "fe80::1%1"))
    assert "[::1]:9: interface eth7 has no address to reach it from" in str(caught.value)
    assert caught.value.errno == errno.EADDRNOTAVAIL


async def test_an_interface_supplies_the_zone() -> None:
    """With an interface a link-local address is complete; this one is nobody's."""
    with pytest.raises(ConnectError, match=r"\[fe80::2%lo\]:9: ") as caught:
        await dial("fe80::2", 9, origin=from_only("127.0.0.1", "2001:db8::1", "fe80::1%lo"))
    assert caught.value.errno == errno.EADDRNOTAVAIL

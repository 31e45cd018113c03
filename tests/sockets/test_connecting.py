"""``connect_tcp``, ``connect_ssl``, and where clients connect from."""

from __future__ import annotations

import contextlib
import errno
import functools
import socket
from collections.abc import Callable
from typing import Any

import pytest
import trio

from tests.support import accept, raw_listener
from tests.support.peers import LOOPBACK
from tests.support.tls import credentials
from trio_xsock import (
    AddressInUseError,
    ConnectError,
    EasyTCPSocket,
    InvalidPortError,
    InvalidStateError,
    NetworkInterface,
    SocketState,
    SSLSocket,
    TCPSocket,
    TLSError,
    connect_ssl,
    connect_tcp,
)

CLIENTS = [TCPSocket, SSLSocket, EasyTCPSocket]


class TroubleError(Exception):
    """The body's own."""


def free_port() -> int:
    """A port that nobody has now."""
    with socket.socket() as sock:
        sock.bind((LOOPBACK, 0))
        port: int = sock.getsockname()[1]
        return port


# Two steps in one


@pytest.mark.trio
async def test_a_block_with_a_connected_socket() -> None:
    """Options reach the constructor; what was written is sent when the block is left."""
    with raw_listener() as listener:
        port = listener.getsockname()[1]
        async with connect_tcp(LOOPBACK, port, progress_interval=7) as sock:
            assert sock.is_connected
            assert sock.progress_interval == 7
            sock.write(b"hello")
            with await accept(listener) as peer:
                assert await peer.recv_exactly(5) == b"hello"
        assert sock.state is SocketState.CLOSED


@pytest.mark.trio
@pytest.mark.parametrize("kind", [TroubleError, StopAsyncIteration, StopIteration, GeneratorExit])
async def test_the_exception_of_the_body(kind: type[BaseException]) -> None:
    """It leaves as itself, in no group, and the socket is closed."""
    error = kind("mine")
    with raw_listener() as listener, pytest.raises(kind) as caught:
        async with connect_tcp(LOOPBACK, listener.getsockname()[1]) as sock:
            raise error
    assert caught.value is error
    assert sock.handle == -1


@pytest.mark.trio
async def test_nobody_listens() -> None:
    """The body does not begin."""
    with pytest.raises(ConnectError, match="check that a server listens"):
        async with connect_tcp(LOOPBACK, free_port()):
            raise AssertionError("never")


@pytest.mark.trio
async def test_cancelled_while_connecting() -> None:
    """Nothing is left over, which ``conftest`` checks."""

    class Stuck(trio.abc.HostnameResolver):
        async def getaddrinfo(self, *_: object, **__: object) -> Any:
            scope.cancel()
            await trio.sleep_forever()

        async def getnameinfo(self, sockaddr: Any, flags: int) -> Any:
            raise NotImplementedError

    trio.socket.set_custom_hostname_resolver(Stuck())
    with trio.CancelScope() as scope:
        async with connect_tcp("example.org", 7):
            raise AssertionError("never")
    assert scope.cancelled_caught


@pytest.mark.trio
async def test_cancelled_in_the_body() -> None:
    """The cancellation is the caller's to catch."""
    with raw_listener() as listener, trio.CancelScope() as scope:
        async with connect_tcp(LOOPBACK, listener.getsockname()[1]) as sock:
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert sock.handle == -1


@pytest.mark.trio
async def test_wrong_options() -> None:
    """What the constructor refuses is refused before any I/O."""
    wrong: dict[str, Any] = {"no_such_option": 1}
    with pytest.raises(TypeError, match="no_such_option"):
        async with connect_tcp(LOOPBACK, 1, **wrong):
            pass
    with pytest.raises(InvalidPortError):
        async with connect_ssl(LOOPBACK, 0, verify=False):
            pass


@pytest.mark.trio
async def test_an_encrypted_one() -> None:
    """The server is verified, and the handshake is done."""

    async def greet(stream: trio.abc.Stream) -> None:
        with contextlib.suppress(trio.BrokenResourceError):
            await stream.send_all(b"hello")
            await stream.aclose()

    context = credentials().server_context()
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(
            functools.partial(trio.serve_ssl_over_tcp, host=LOOPBACK), greet, 0, context
        )
        port = listeners[0].transport_listener.socket.getsockname()[1]
        async with connect_ssl(LOOPBACK, port, ca_file=credentials().ca) as sock:
            assert sock.ssl_connected
            assert await sock.receive_exactly(5) == b"hello"
        with pytest.raises(TLSError):
            async with connect_ssl(LOOPBACK, port, ca_file=credentials().elsewhere):
                raise AssertionError("never")
        nursery.cancel_scope.cancel()


# Where from


@pytest.mark.parametrize("make", CLIENTS)
def test_where_from_is_an_option(make: Callable[..., TCPSocket]) -> None:
    """Checked when it is given; an attribute of a closed socket."""
    sock = make(LOOPBACK, 7, bind_address="127.0.0.2", bind_port=4711)
    assert (sock.bind_address, sock.bind_port) == ("127.0.0.2", 4711)
    sock.bind_address, sock.bind_port = "", 0
    assert (make().bind_address, make().bind_port) == ("", 0)
    for value, refusal in ((1, TypeError), (None, TypeError), ("localhost", ValueError)):
        with pytest.raises(refusal, match="bind_address"):
            make(bind_address=value)
        with pytest.raises(refusal, match="bind_address"):
            sock.bind_address = value  # type: ignore[assignment]
    for number, refused in ((-1, InvalidPortError), (65536, InvalidPortError), ("1", TypeError)):
        with pytest.raises(refused, match="bind_port"):
            make(bind_port=number)
        with pytest.raises(refused, match="bind_port"):
            sock.bind_port = number  # type: ignore[assignment]
    assert (sock.bind_address, sock.bind_port) == ("", 0)


@pytest.mark.trio
@pytest.mark.parametrize("twice", [1, 2])
async def test_it_connects_from_there(twice: int) -> None:
    """The peer sees the address and the port; what an earlier connection left is no obstacle."""
    port = free_port()
    with raw_listener() as listener:
        async with TCPSocket(
            LOOPBACK, listener.getsockname()[1], bind_address="127.0.0.2", bind_port=port
        ) as sock:
            for _ in range(twice):
                await sock.connect()
                assert (sock.local_address, sock.local_port) == ("127.0.0.2", port)
                with pytest.raises(InvalidStateError, match="bind_port"):
                    sock.bind_port = 0
                with pytest.raises(InvalidStateError, match="bind_address"):
                    sock.bind_address = ""
                with await accept(listener) as peer:
                    assert peer.sock.getpeername() == ("127.0.0.2", port)
                    await sock.aclose()


@pytest.mark.trio
async def test_only_a_port_and_only_an_address() -> None:
    """Either is enough; IPv6 too."""
    with raw_listener() as listener:
        target = listener.getsockname()[1]
        async with connect_tcp(LOOPBACK, target, bind_address="127.0.0.3") as sock:
            assert sock.local_address == "127.0.0.3"
        port = free_port()
        async with connect_tcp(LOOPBACK, target, bind_port=port) as sock:
            assert sock.local_port == port
    with raw_listener(host="::1") as listener:
        target = listener.getsockname()[1]
        async with connect_tcp("::1", target, bind_address="::1", bind_port=port) as sock:
            assert (sock.local_address, sock.local_port) == ("::1", port)


@pytest.mark.trio
async def test_the_port_is_taken() -> None:
    """105, before anything was sent."""
    with raw_listener() as taken, raw_listener() as listener:
        sock = TCPSocket(LOOPBACK, listener.getsockname()[1])
        sock.bind_port = taken.getsockname()[1]
        async with sock:
            with pytest.raises(AddressInUseError, match=f"from bind_port={sock.bind_port}"):
                await sock.connect()
            assert isinstance(sock.last_error, AddressInUseError)
            sock.bind_port = 0
            await sock.connect()


@pytest.mark.trio
async def test_another_family() -> None:
    """The text names both addresses."""
    with raw_listener() as listener:
        target = listener.getsockname()[1]
        with pytest.raises(ConnectError, match="bind_address ::1, of another family") as caught:
            async with connect_tcp(LOOPBACK, target, bind_address="::1"):
                pass
    assert [each.errno for each in caught.value.errors] == [errno.EADDRNOTAVAIL]


@pytest.mark.trio
async def test_not_an_address_of_this_machine() -> None:
    """192.0.2.1 is nobody's (RFC 5737)."""
    with raw_listener() as listener:
        target = listener.getsockname()[1]
        with pytest.raises(ConnectError, match=r"cannot connect from 192\.0\.2\.1") as caught:
            async with connect_tcp(LOOPBACK, target, bind_address="192.0.2.1"):
                pass
    assert [each.errno for each in caught.value.errors] == [errno.EADDRNOTAVAIL]


@pytest.mark.trio
async def test_not_an_address_of_the_interface() -> None:
    """Where both are given they have to agree; all of 127.0.0.0/8 is the loopback's."""
    loopback = NetworkInterface.loopback()
    with raw_listener() as listener:
        target = listener.getsockname()[1]
        async with connect_tcp(
            LOOPBACK, target, network_interface=loopback, bind_address="127.0.0.5"
        ) as sock:
            assert sock.local_address == "127.0.0.5"
        with pytest.raises(ConnectError, match=r"has no bind_address 192\.0\.2\.1"):
            async with connect_tcp(
                LOOPBACK, target, network_interface=loopback, bind_address="192.0.2.1"
            ):
                pass


@pytest.mark.trio
async def test_a_port_that_needs_privileges(monkeypatch: pytest.MonkeyPatch) -> None:
    """107, and not the network's fault."""

    def bind(_: object, address: tuple[str, int]) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    with raw_listener() as listener:
        monkeypatch.setattr(socket.socket, "bind", bind)
        with pytest.raises(InvalidPortError, match="ports below 1024 need privileges"):
            async with connect_tcp(LOOPBACK, listener.getsockname()[1], bind_port=80):
                pass


@pytest.mark.trio
async def test_the_peer_is_remembered() -> None:
    """``remote_address`` and ``remote_port`` are kept after the end, in every way of ending."""
    with raw_listener() as listener:
        target = listener.getsockname()[1]
        async with TCPSocket(LOOPBACK, target) as sock:
            assert (sock.remote_address, sock.remote_port) == ("", 0)
            for end in ("close", "reset"):
                await sock.connect()
                with await accept(listener) as peer:
                    if end == "reset":
                        peer.reset()
                        with pytest.raises(trio.BrokenResourceError):
                            await sock.receive_some()
                    else:
                        sock.close()
                    assert (sock.remote_address, sock.remote_port) == (LOOPBACK, target)
        assert (sock.remote_address, sock.remote_port) == (LOOPBACK, target)

"""Newcomers: handshakes beside accepting, waiting for a place, proxies, idle ones."""

from __future__ import annotations

import logging
import math
import ssl
import time
from typing import Any

import pytest
import trio
import trio.testing

from tests.machines.test_proxy_protocol import TCP4, block
from tests.support import EventRecorder, RawPeer, until
from tests.support.serving import connect, echo, listening, serving, waiting_for_a_place
from tests.support.tls import TLSPeer, credentials
from trio_xsock import (
    Connected,
    InvalidStateError,
    LossReason,
    LostConnectionError,
    ServerSocket,
    SocketClosedError,
    SocketError,
    SSLSocket,
    TCPSocket,
)
from trio_xsock._engine import ending
from trio_xsock._engine.connection import Connection
from trio_xsock._engine.upgrade import Over

LINE = b"PROXY TCP4 192.0.2.1 192.0.2.2 1025 443\r\n"


class Guarded(TCPSocket):
    """Has a handshake: the peer says a letter, ``y`` to come in."""

    def _wants_tls(self) -> bool:
        return True  # so a connection that comes is held until its handshake is done

    def _check_service(self) -> None:
        pass

    def _begin_handshake(self, over: Over) -> float:
        Letter(self._connection, over).begin()
        return 60.0


class Letter:
    """The handshake of a ``Guarded``."""

    def __init__(self, connection: Connection, over: Over) -> None:
        assert connection.keeper is not None
        assert connection.transport is not None
        self.connection = connection
        self.transport = connection.transport
        self.over = over
        connection.link.take(self.transport, self)  # type: ignore[arg-type]
        self.watch = self.transport.make_watch(connection.keeper, self.hear, self.hear)

    def begin(self) -> None:
        self.watch.reading(True)

    def look(self) -> None:
        try:
            self.hear()
        except BlockingIOError:
            pass

    def close(self) -> None:
        self.watch.close()

    def hear(self) -> None:
        answer = self.transport.recv(1)
        self.watch.close()
        if answer == b"c":
            ending.close(self.connection)
        if answer == b"!":
            self.over(ValueError("a mistake of ours"))
        elif answer in (b"y", b"c"):
            if answer == b"y":
                self.connection.go_on(self.transport)
            self.over(None)
        else:
            self.over(SocketError(f"wrong answer {answer!r}"))


def guarded(**options: Any) -> Any:
    """A listening server of such sockets."""
    return listening(add_socket=Guarded, **options)


# Handshakes


async def test_a_connection_is_announced_after_its_handshake() -> None:
    """Until then it is nobody's, and counts nowhere but in ``handshaking``."""
    async with guarded() as server:
        with await connect(server) as peer:
            await until(lambda: server.statistics().handshaking)
            assert server.active_connections() == []
            assert server.statistics().accepted == 0
            peer.send_nowait(b"yhello")
            sock = await server.accept()
            assert sock.is_connected
            assert sock.remote_port == peer.port
            assert await sock.receive_some() == b"hello"
            assert server.statistics().handshaking == 0
            assert server.statistics().accepted == 1


async def test_live_sockets_learn_of_it_after_the_handshake() -> None:
    """``on_connected`` comes then, and only then."""
    recorder = EventRecorder(read=True)
    async with listening(add_socket=lambda: Guarded(handler=recorder)) as server:
        with await connect(server) as refused, await connect(server) as peer:
            refused.send_nowait(b"n")
            assert await refused.recv_some() == b""
            assert recorder.calls == []
            peer.send_nowait(b"y")
            await recorder.wait_for(Connected)
            assert server.active_connections()[0].remote_port == peer.port


async def test_silent_and_failing_handshakes_hold_nobody_up() -> None:
    """At a ceiling of one, ten silent ones and ten that fail, and the rest are served."""
    async with serving(echo, add_socket=Guarded, maximum_sockets_connected=1) as server:
        silent = [await connect(server) for _ in range(10)]
        for _ in range(10):
            with await connect(server) as failing, await connect(server) as peer:
                failing.send_nowait(b"n")
                peer.send_nowait(b"yx")
                assert await peer.recv_exactly(1) == b"x"
                assert await failing.recv_some() == b""
        statistics = server.statistics()
        assert (statistics.accepted, statistics.refused, statistics.failed) == (10, 10, 0)
        assert statistics.handshaking == 10
        for peer in silent:
            peer.close()
        await until(lambda: server.statistics().refused == 20)


async def test_so_many_handshakes_at_a_time() -> None:
    """The others wait in the backlog; the limit may change."""
    async with guarded(maximum_handshakes=2) as server:
        peers = [await connect(server) for _ in range(5)]
        await until(lambda: server.statistics().handshaking == 2)
        await trio.testing.wait_all_tasks_blocked()
        assert server.statistics().handshaking == 2
        server.maximum_handshakes = 3
        await until(lambda: server.statistics().handshaking == 3)
        peers[0].send_nowait(b"n")
        await until(lambda: server.statistics().refused == 1)
        await until(lambda: server.statistics().handshaking == 3)
        for peer in peers[1:]:
            peer.send_nowait(b"y")
        for _ in range(4):
            assert (await server.accept()).is_connected
        for peer in peers:
            peer.close()


async def test_a_handshake_may_take_so_long(mock_clock: trio.testing.MockClock) -> None:
    """Counted from accept; who is too slow is refused."""
    async with guarded(handshake_timeout=3) as server:
        with await connect(server) as peer:
            await until(lambda: server.statistics().handshaking)
            server.handshake_timeout = 1
            await trio.testing.wait_all_tasks_blocked()
            mock_clock.jump(2.9)
            await trio.testing.wait_all_tasks_blocked()
            assert server.statistics().handshaking == 1
            mock_clock.jump(0.2)
            assert await peer.recv_some() == b""
            assert server.statistics().refused == 1


async def test_who_is_done_waits_for_a_place() -> None:
    """Unannounced, in order, and not counted; a place that is free lets the next one in."""
    async with guarded(maximum_sockets_connected=1) as server:
        peers = [await connect(server) for _ in range(3)]
        await until(lambda: server.statistics().handshaking == 3)
        for peer in peers:
            peer.send_nowait(b"y")
        first = await server.accept()
        await trio.testing.wait_all_tasks_blocked()
        assert server.active_connections() == [first]
        assert server.statistics().handshaking == 2
        first.close()
        second = await server.accept()
        assert server.active_connections() == [second]
        server.maximum_sockets_connected = 2
        third = await server.accept()
        assert {second.remote_port, third.remote_port} < {peer.port for peer in peers}
        for peer in peers:
            peer.close()


async def test_who_waits_ready_is_limited_as_ever() -> None:
    """Nobody accepts: two are ready, the others wait behind them."""
    async with guarded(minimum_sockets_available=2) as server:
        peers = [await connect(server) for _ in range(4)]
        for peer in peers:
            peer.send_nowait(b"y")
        await until(lambda: server.statistics().ready == 2)
        await trio.testing.wait_all_tasks_blocked()
        assert len(server.active_connections()) == 2
        for _ in range(4):
            assert (await server.accept()).is_connected
        for peer in peers:
            peer.close()


async def test_live_ones_pass_those_that_nobody_accepts() -> None:
    """They need nobody who asks for them, only a place below the ceiling."""
    recorder = EventRecorder()
    kinds: list[Any] = [None, None, recorder, None]
    async with listening(
        add_socket=lambda: Guarded(handler=kinds.pop(0) if kinds else None),
        minimum_sockets_available=1,
    ) as server:
        peers = [await connect(server) for _ in range(3)]
        await until(lambda: server.statistics().handshaking == 3)
        peers[0].send_nowait(b"y")
        await until(lambda: server.statistics().ready == 1)
        peers[1].send_nowait(b"y")
        await trio.testing.wait_all_tasks_blocked()
        peers[2].send_nowait(b"y")
        await recorder.wait_for(Connected)
        assert server.statistics().handshaking == 1
        for peer in peers:
            peer.close()


async def test_stopping_refuses_newcomers() -> None:
    """Those in a handshake, and those who wait for a place; connections live on."""
    async with guarded(maximum_sockets_connected=1) as server:
        peers = [await connect(server) for _ in range(3)]
        await until(lambda: server.statistics().handshaking == 3)
        peers[0].send_nowait(b"y")
        sock = await server.accept()
        peers[1].send_nowait(b"y")
        await until(lambda: waiting_for_a_place(server))
        server.stop_listening()
        for peer in peers[1:]:
            assert await peer.recv_some() == b""
        assert sock.is_connected
        assert server.statistics().refused == 2
        await server.aclose()
        for peer in peers:
            peer.close()


async def test_aclose_and_close_end_handshakes() -> None:
    """Nothing of them is left when aclose() returns, or when the block is left."""
    for close in (ServerSocket.aclose, None):
        async with guarded() as server:
            with await connect(server) as peer:
                await until(lambda server=server: server.statistics().handshaking)
                if close is not None:
                    await close(server)
                    assert server.statistics().handshaking == 0
                    assert await peer.recv_some() == b""


async def test_a_socket_that_closes_in_its_handshake_is_refused() -> None:
    """Whatever the handshake returns; and one that ends while it waits gives up its turn."""
    async with guarded(maximum_sockets_connected=1) as server:
        with await connect(server) as peer:
            peer.send_nowait(b"c")
            assert await peer.recv_some() == b""
            await until(lambda: server.statistics().refused == 1)
        with await connect(server) as first, await connect(server) as second:
            await until(lambda: server.statistics().handshaking == 2)
            first.send_nowait(b"y")
            await server.accept()
            second.send_nowait(b"y")
            await until(lambda: waiting_for_a_place(server))
            waiting_for_a_place(server)[0].close()
            assert server.statistics().refused == 2
            assert server.statistics().handshaking == 0


async def test_a_mistake_in_a_handshake_ends_one_peer(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged with its traceback, and the server serves the next."""
    async with guarded() as server:
        with await connect(server) as peer, await connect(server) as other:
            peer.send_nowait(b"!")
            assert await peer.recv_some() == b""
            other.send_nowait(b"y")
            assert (await server.accept()).remote_port == other.port
        assert server.statistics().handshaking == 0
        assert server.statistics().refused == 1
    [record] = [record for record in caplog.records if record.levelno > logging.DEBUG]
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == "a mistake of ours"
    caplog.clear()


async def test_a_handshake_that_is_over_at_once() -> None:
    """In the call that begins it."""

    class Polite(Guarded):
        def _begin_handshake(self, over: Over) -> float:
            assert self._connection.transport is not None
            self._connection.go_on(self._connection.transport)
            over(None)
            return math.inf

    async with serving(echo, add_socket=Polite) as server:
        with await connect(server) as peer:
            peer.send_nowait(b"x")
            assert await peer.recv_exactly(1) == b"x"
            assert server.statistics().handshaking == 0


async def test_a_handshake_that_cannot_begin() -> None:
    """The peer is refused, and the next one has its chance."""
    errors: list[SocketError] = [SocketError("not now")]

    class Moody(Guarded):
        def _begin_handshake(self, over: Over) -> float:
            if errors:
                raise errors.pop()
            return super()._begin_handshake(over)

    async with listening(add_socket=Moody) as server:
        with await connect(server) as refused, await connect(server) as peer:
            assert await refused.recv_some() == b""
            peer.send_nowait(b"y")
            assert (await server.accept()).remote_port == peer.port
            assert server.statistics().refused == 1


async def test_refusals_are_logged_for_those_who_look(caplog: pytest.LogCaptureFixture) -> None:
    """On the level that says nothing unless asked."""
    with caplog.at_level(logging.DEBUG, "trio_xsock"):
        async with guarded() as server:
            with await connect(server) as peer:
                peer.send_nowait(b"n")
                assert await peer.recv_some() == b""
        assert "wrong answer b'n'" in caplog.text


# Proxies


async def test_the_client_of_a_proxy_is_the_peer() -> None:
    """In both versions; what follows the header is the connection's."""
    for header in (LINE, block(0x21, 0x11, TCP4 + bytes(100))):
        async with serving(echo, proxy_protocol=True) as server:
            with await connect(server) as peer:
                peer.send_nowait(header + b"hello")
                assert await peer.recv_exactly(5) == b"hello"
                (sock,) = server.active_connections()
                assert (sock.remote_address, sock.remote_port) == ("192.0.2.1", 1025)


async def test_a_header_in_pieces_counts_as_a_handshake() -> None:
    """It delays nobody, and is bounded as handshakes are."""
    async with serving(echo, proxy_protocol=True) as server:
        with await connect(server) as slow:
            slow.send_nowait(LINE[:7])
            await until(lambda: server.statistics().handshaking)
            with await connect(server) as fast:
                fast.send_nowait(LINE + b"fast")
                assert await fast.recv_exactly(4) == b"fast"
            slow.send_nowait(LINE[7:] + b"slow")
            assert await slow.recv_exactly(4) == b"slow"
            assert server.active_connections()[-1].remote_address == "192.0.2.1"


async def test_a_header_comes_before_the_sockets_own_handshake() -> None:
    """One after the other, in one time, whether or not the header was there at once."""
    async with guarded(proxy_protocol=True) as server:
        for cut in (0, 5):
            with await connect(server) as peer:
                peer.send_nowait(LINE[:cut])
                await until(lambda cut=cut: not cut or server.statistics().handshaking)
                peer.send_nowait(LINE[cut:] + b"y")
                sock = await server.accept()
                assert sock.remote_address == "192.0.2.1"
                sock.close()


async def test_tls_begins_after_the_proxys_header() -> None:
    """The header is in plain text, at whatever moment it comes."""
    issued = credentials()

    def add_socket() -> SSLSocket:
        return SSLSocket(certificate_file=issued.server)

    async with listening(add_socket=add_socket, proxy_protocol=True) as server:
        for early in (LINE, b""):
            with await connect(server) as raw:
                raw.send_nowait(early)
                await until(lambda: server.statistics().handshaking)
                raw.send_nowait(LINE[len(early) :])
                peer = TLSPeer(raw, issued.client_context())
                await peer.handshake()
                sock = await server.accept()
                assert sock.remote_address == "192.0.2.1"
                await peer.send(b"x")
                assert await sock.receive_some() == b"x"


async def test_stopping_refuses_those_whose_header_is_missing() -> None:
    """Before it came, and while it is there in part."""
    async with listening(proxy_protocol=True) as server:
        with await connect(server) as silent, await connect(server) as slow:
            slow.send_nowait(LINE[:7])
            await until(lambda: server.statistics().handshaking == 2)
            await trio.testing.wait_all_tasks_blocked()
            server.stop_listening()
            assert await silent.recv_some() == b""
            assert await slow.recv_some() == b""
            await until(lambda: server.statistics().refused == 2)
            assert server.statistics().handshaking == 0


@pytest.mark.parametrize(
    "data", [b"GET / HTTP/1.1\r\n\r\n", b"P", b"PROXY TCP4 1.2.3.4\r\n", b""], ids=repr
)
async def test_who_sends_no_header_is_refused(data: bytes) -> None:
    """At once, or when it cannot become one any more."""
    async with serving(echo, proxy_protocol=True) as server:
        with await connect(server) as peer:
            await until(lambda: server.statistics().handshaking)
            peer.send_nowait(data)
            peer.fin()
            with pytest.raises((EOFError, ConnectionResetError)):
                await peer.recv_exactly(1)
        peers = [await connect(server) for _ in range(3)]
        for peer in peers:
            peer.send_nowait(b"no header, and not even slow")
        await until(lambda: server.statistics().refused == 4)
        assert server.statistics().accepted == 0
        for peer in peers:
            peer.close()


async def test_only_trusted_proxies_are_believed() -> None:
    """Whoever else comes is refused, header or not."""
    async with serving(echo, proxy_protocol=True, trusted_proxies=["10.0.0.0/8"]) as server:
        assert server.proxy_protocol
        assert server.trusted_proxies == ("10.0.0.0/8",)
        with await connect(server) as peer:
            peer.sock.send(LINE + b"hello")
            with pytest.raises((EOFError, ConnectionResetError)):
                await peer.recv_exactly(1)
        assert server.statistics().refused == 1


async def test_without_proxies_a_header_is_data() -> None:
    """Nobody is believed unasked."""
    async with serving(echo) as server:
        with await connect(server) as peer:
            peer.send_nowait(LINE)
            assert await peer.recv_exactly(len(LINE)) == LINE
            assert server.active_connections()[0].remote_address == "127.0.0.1"


async def test_a_factory_that_fails_behind_a_proxy_stops_the_server() -> None:
    """As without one; no descriptor is left."""
    async with listening(
        proxy_protocol=True, minimum_sockets_available=0, add_socket=lambda: None
    ) as server:
        with await connect(server) as peer:
            await until(lambda: server.statistics().handshaking)
            peer.send_nowait(LINE)
            with pytest.raises(InvalidStateError, match="add_socket"):
                await server.accept()


# Idle ones


async def test_silent_clients_at_the_ceiling_make_room() -> None:
    """Ten at a ceiling of ten; the one who talks stays, and those outside come in."""
    reasons = []

    async def handler(sock: TCPSocket) -> None:
        try:
            await echo(sock)
        except LostConnectionError as error:
            reasons.append(error.reason)

    async with serving(handler, maximum_sockets_connected=10, idle_timeout=0.3) as server:
        talker = await connect(server)
        silent = [await connect(server) for _ in range(9)]
        await until(lambda: len(server.active_connections()) == 10)
        others = [await connect(server) for _ in range(5)]

        async def talk() -> None:
            while True:
                await talker.send(b"x")
                await talker.recv_exactly(1)
                await trio.sleep(0.05)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(talk)
            for other in others:
                await other.send(b"me too")
                assert await other.recv_exactly(6) == b"me too"
            for peer in silent:
                assert await peer.recv_some() == b""
            nursery.cancel_scope.cancel()
        assert reasons[:9] == [LossReason.TIMED_OUT] * 9
        assert talker.port in [sock.remote_port for sock in server.active_connections()]
        for peer in (talker, *silent, *others):
            peer.close()


async def test_a_sockets_own_idle_timeout_counts_more() -> None:
    """And what is set later counts for those who come later."""
    times: list[float | None] = [7.0, None, None]
    async with listening(
        add_socket=lambda: TCPSocket(idle_timeout=times.pop(0)),
        idle_timeout=5,
        minimum_sockets_available=0,
    ) as server:
        peers = []
        for expected in (7, 5, 1.5):
            peers.append(await connect(server))
            sock = await server.accept()
            assert sock.idle_timeout == expected
            if expected == 5:
                server.idle_timeout = 1.5
        for peer in peers:
            peer.close()


# Options


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("idle_timeout", 0, ValueError),
        ("idle_timeout", "1", TypeError),
        ("maximum_handshakes", 0, ValueError),
        ("maximum_handshakes", 1.5, TypeError),
        ("handshake_timeout", 0, ValueError),
        ("handshake_timeout", None, TypeError),
    ],
)
def test_options_that_make_no_sense_are_refused(
    name: str, value: Any, error: type[Exception]
) -> None:
    """At construction and at assignment, which then changes nothing."""
    options: dict[str, Any] = {name: value}
    with pytest.raises(error, match=name):
        ServerSocket(**options)
    server = ServerSocket(idle_timeout=3, maximum_handshakes=4, handshake_timeout=5)
    with pytest.raises(error, match=name):
        setattr(server, name, value)
    assert (server.idle_timeout, server.maximum_handshakes, server.handshake_timeout) == (3, 4, 5)


def test_proxy_options_that_make_no_sense_are_refused() -> None:
    """Nothing but a truth value, and nothing but networks."""
    with pytest.raises(TypeError, match="proxy_protocol"):
        ServerSocket(proxy_protocol=2)  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="trusted_proxies"):
        ServerSocket(trusted_proxies=["nowhere"])
    assert not ServerSocket().proxy_protocol


async def test_a_plain_socket_has_no_handshake() -> None:
    """It is announced at once, and nothing is held up."""
    async with listening() as server:
        with await connect(server) as peer:
            sock = await server.accept()
            assert not sock._wants_tls()
            assert not sock._connection.securing
            assert sock._connection.link.handshake is None
            peer.send_nowait(b"at once")
            assert await sock.receive_some() == b"at once"
        assert server.statistics().handshaking == 0


async def test_accept_after_a_stop_says_so() -> None:
    """Whoever waited for a newcomer's handshake learns that none will come."""
    async with guarded() as server, trio.open_nursery() as nursery:

        async def accept() -> None:
            with pytest.raises(SocketClosedError):
                await server.accept()

        nursery.start_soon(accept)
        with await RawPeer.connect(server.port):
            await until(lambda: server.statistics().handshaking)
            server.stop_listening()


@pytest.mark.parametrize(
    ("sent", "text"),
    [
        (b"hello, this is no TLS\n", "the peer does not speak TLS"),
        (b"GET / HTTP/1.0\r\n\r\n", "the peer does not speak TLS but plain HTTP"),
    ],
)
async def test_a_plain_peer_of_a_tls_server_is_named(
    caplog: pytest.LogCaptureFixture, sent: bytes, text: str
) -> None:
    """In one line, without a traceback."""
    context = credentials().server_context()
    with caplog.at_level(logging.DEBUG, "trio_xsock"):
        async with listening(add_socket=lambda: SSLSocket(ssl_context=context)) as server:
            with await connect(server) as peer:
                peer.send_nowait(sent)
                await until(lambda: server.statistics().refused)
    [line] = [each for each in caplog.records if "refused" in each.message]
    assert text in line.message
    assert line.exc_info is None


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("certificate", "the client sent no certificate"),
        ("trust", "the peer does not trust the authority of our certificate"),
    ],
)
async def test_a_client_without_certificate_or_trust_is_named(
    caplog: pytest.LogCaptureFixture, kind: str, text: str
) -> None:
    """In one line, too."""
    issued = credentials()
    context = issued.server_context()
    client = issued.client_context()
    if kind == "certificate":
        context.load_verify_locations(issued.ca)
        context.verify_mode = ssl.CERT_REQUIRED
    else:
        client = ssl.create_default_context(cafile=issued.elsewhere)
    with caplog.at_level(logging.DEBUG, "trio_xsock"):
        async with listening(add_socket=lambda: SSLSocket(ssl_context=context)) as server:
            with await connect(server) as raw:
                peer = TLSPeer(raw, client)
                with pytest.raises((OSError, EOFError)):
                    try:
                        await peer.handshake()
                        await peer.recv_some()
                    finally:
                        await peer.flush()
                await until(lambda: server.statistics().refused)
    [line] = [each for each in caplog.records if "refused" in each.message]
    assert text in line.message


async def test_a_proxys_header_that_lies_ready_is_not_too_late() -> None:
    """A server that stood still looks before it refuses; who is silent is refused all the same."""
    async with serving(echo, proxy_protocol=True, handshake_timeout=0.3) as server:
        with await connect(server) as peer, await connect(server) as silent:
            peer.send_nowait(LINE[:7])
            await until(lambda: server.statistics().handshaking == 2)
            await trio.testing.wait_all_tasks_blocked()
            peer.send_nowait(LINE[7:] + b"hello")
            time.sleep(0.6)  # noqa: ASYNC251 - as a slow callback does
            assert await peer.recv_exactly(5) == b"hello"
            with pytest.raises((EOFError, ConnectionResetError)):
                await silent.recv_exactly(1)
            assert server.statistics().refused == 1


@pytest.mark.parametrize("one_comes_in", [False, True])
async def test_a_server_that_refuses_everybody_says_so_once(
    caplog: pytest.LogCaptureFixture, one_comes_in: bool
) -> None:
    """The fault may be its own, such as a wrong certificate; after a success it is theirs."""
    issued = credentials()
    with caplog.at_level(logging.WARNING, "trio_xsock"):
        async with listening(
            add_socket=lambda: SSLSocket(certificate_file=issued.server)
        ) as server:
            if one_comes_in:
                with await connect(server) as raw:
                    await TLSPeer(raw, issued.client_context()).handshake()
                    (await server.accept()).close()
            for count in range(1, 21):
                with await connect(server) as peer:
                    peer.send_nowait(b"hello, this is no TLS\n")
                    await until(lambda count=count: server.statistics().refused == count)
                assert len(caplog.records) == (count >= 10 and not one_comes_in)
    for record in caplog.records:
        assert "all of the first 10 connections were refused; the last: " in record.message
        assert "does not speak TLS" in record.message

"""Handshakes that fail: with a reason, before anybody hears of a connection, and with an alert."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.support import EventRecorder, RawPeer, accept, raw_listener, raw_pair, until
from tests.support.peers import LOOPBACK
from tests.support.tls import DAY, TLSPeer, credentials, now, tls_linked
from trio_xsock import (
    DataAvailable,
    ErrorCode,
    ErrorOccurred,
    NameResolutionError,
    SocketClosedError,
    SocketState,
    SSLConnectionTypes,
    SSLSocket,
    TCPSocket,
    TLSError,
)
from trio_xsock._network.handshake import Handshake, TLSSetup, wrap
from trio_xsock._network.transport import PlainTransport

# Servers that a client of ours refuses


def certificate(name: str) -> Path:
    issued = credentials()
    if name == "expired":
        return issued.issue(name, "localhost", not_before=now() - 9 * DAY, not_after=now() - DAY)
    if name == "early":
        return issued.issue(name, "localhost", not_before=now() + DAY)
    if name == "named":
        return issued.issue(name, "localhost")
    return issued.server


def only(version: ssl.TLSVersion, server: ssl.SSLContext) -> ssl.SSLContext:
    server.set_ciphers("DEFAULT:@SECLEVEL=0")
    server.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    server.maximum_version = version
    return server


@asynccontextmanager
async def server_of(context: ssl.SSLContext) -> AsyncIterator[tuple[int, list[object]]]:
    """Python's own server; what its handshake and its first read say is noted."""
    verdicts: list[object] = []

    async def serve() -> None:
        with await accept(listener) as raw:
            peer = TLSPeer(raw, context)
            try:
                await peer.handshake()
                verdicts.append(await peer.recv_some())
            except (OSError, EOFError) as exc:
                verdicts.append(exc)

    with raw_listener() as listener:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            yield listener.getsockname()[1], verdicts
            await until(lambda: verdicts)


@pytest.mark.parametrize(
    ("name", "address", "options", "reason", "alert"),
    [
        ("", "localhost", {"ca_file": "elsewhere"}, "unable to get local issuer", "UNKNOWN_CA"),
        ("", "localhost", {"ca_file": None}, "unable to get local issuer", "UNKNOWN_CA"),
        ("", "localhost", {"server_hostname": "example.org"}, "mismatch", "CERTIFICATE"),
        ("named", LOOPBACK, {}, "IP address mismatch", "CERTIFICATE"),
        ("expired", "localhost", {}, "certificate has expired", "CERTIFICATE_EXPIRED"),
        ("early", "localhost", {}, "not yet valid", "CERTIFICATE"),
        ("", "localhost", {"certificate_rejection_file": "server"}, "CERTIFICATE_REJECTED", ""),
    ],
)
async def test_servers_that_are_refused(
    name: str, address: str, options: dict[str, Any], reason: str, alert: str
) -> None:
    """The error says why, and so does the alert; nothing else was sent or announced."""
    issued = credentials()
    files = {"ca_file": issued.ca}
    files |= {
        key: getattr(issued, value, value) if value else value for key, value in options.items()
    }
    recorder = EventRecorder()
    async with server_of(issued.server_context(certificate(name))) as (port, verdicts):
        async with SSLSocket(address, port, handler=recorder, **files) as sock:  # type: ignore[arg-type]
            with pytest.raises(TLSError) as caught:
                await sock.connect()
            assert reason in caught.value.reason
            assert caught.value.error_number is ErrorCode.TLS_ERROR == 303
            assert str(port) in str(caught.value)
            assert recorder.events == [ErrorOccurred(sock, caught.value)]
            assert sock.last_error is caught.value
            assert sock.state is SocketState.CLOSED
            assert not sock.ssl_connecting
            assert sock.handle == -1
    (verdict,) = verdicts
    assert isinstance(verdict, ssl.SSLError)
    assert "ALERT" in str(verdict.reason)
    assert alert in str(verdict.reason)


async def test_a_server_of_an_old_version() -> None:
    """TLS 1.1 at the most: the server is told that we have newer ones."""
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context = only(ssl.TLSVersion.TLSv1_1, credentials().server_context())
    async with server_of(context) as (port, verdicts):
        async with SSLSocket("localhost", port, ca_file=credentials().ca) as sock:
            with pytest.raises(TLSError) as caught:
                await sock.connect()
    assert "VERSION" in caught.value.reason or "PROTOCOL" in caught.value.reason
    assert isinstance(verdicts[0], ssl.SSLError)


async def test_a_server_that_speaks_plainly() -> None:
    """The text suggests what is wrong; OpenSSL has no alert for who would not read it."""
    with raw_listener() as listener:
        async with SSLSocket("localhost", listener.getsockname()[1], verify=False) as sock:

            async def serve() -> None:
                with await accept(listener) as peer:
                    await peer.send(b"220 example.org ESMTP\r\n")
                    received.append(await peer.recv_all_to_eof())

            received: list[bytes] = []
            async with trio.open_nursery() as nursery:
                nursery.start_soon(serve)
                with pytest.raises(TLSError, match="does not speak TLS; check the port") as caught:
                    await sock.connect()
    assert caught.value.reason == "WRONG_VERSION_NUMBER"
    assert received[0][:1] == b"\x16"  # the first message of a handshake, and no more
    assert int.from_bytes(received[0][3:5], "big") == len(received[0]) - 5


@pytest.mark.parametrize("how", ["fin", "reset"])
async def test_a_server_that_goes_away(how: str) -> None:
    with raw_listener() as listener:
        async with SSLSocket("localhost", listener.getsockname()[1], verify=False) as sock:

            async def serve() -> None:
                peer = await accept(listener)
                await peer.recv_some()
                peer.reset() if how == "reset" else peer.close()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(serve)
                with pytest.raises(TLSError) as caught:
                    await sock.connect()
    expected = {"fin": "UNEXPECTED_EOF_WHILE_READING", "reset": "ECONNRESET"}
    assert caught.value.reason == expected[how]


async def test_a_server_that_says_nothing() -> None:
    """It has the time that it may take, and no more."""
    with raw_listener() as listener:
        port = listener.getsockname()[1]
        async with SSLSocket(LOOPBACK, port, verify=False, handshake_timeout=0.01) as sock:
            with pytest.raises(TLSError, match=r"more than 0\.01 seconds") as caught:
                await sock.connect()
            assert caught.value.reason == "HANDSHAKE_TIMED_OUT"
            with await accept(listener) as peer:
                assert (await peer.recv_all_to_eof())[:1] == b"\x16"


async def test_a_handshake_that_does_not_get_through() -> None:
    """A first flight larger than the OS takes: it goes when it does."""
    context = credentials().client_context()
    context.set_alpn_protocols([f"{number:0250}" for number in range(60)])  # 15 kB
    with raw_listener(small=True) as listener:
        async with SSLSocket("localhost", listener.getsockname()[1], ssl_context=context) as sock:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(sock.connect)
                with await accept(listener) as raw:
                    await wait_all_tasks_blocked()
                    assert sock.ssl_connecting
                    peer = TLSPeer(raw, credentials().server_context())
                    await peer.handshake()
                    await until(lambda: sock.is_connected)
                    await sock.send_all(b"x")
                    assert await peer.recv_some() == b"x"


# Clients


async def test_a_name_that_is_none() -> None:
    async with SSLSocket("localhost", 1, server_hostname="not a name") as sock:
        with pytest.raises(NameResolutionError, match="malformed"):
            await sock.connect()
        assert isinstance(sock.last_error, NameResolutionError)


@pytest.mark.parametrize(
    ("address", "asked_for"),
    [
        ("example.org.", "example.org"),
        ("b\xfccher.example", "xn--bcher-kva.example"),
        ("::1%lo", "::1"),
        ("::ffff:127.0.0.1", "127.0.0.1"),
        ("", None),
    ],
)
def test_whom_it_asks_for(address: str, asked_for: str | None) -> None:
    """As certificates have it (RFC 6066, 3: no dot at the end, no zones)."""
    sock = SSLSocket(address)
    assert sock._tls.setup(sock.address, server_side=False).server_hostname == asked_for
    sock = SSLSocket("somewhere", server_hostname=address or None)
    assert sock._tls.setup(sock.address, server_side=False).server_hostname == (
        asked_for or "somewhere"
    )


@pytest.mark.parametrize("end", ["close", "aclose", "cancel"])
async def test_a_handshake_that_is_called_off(end: str) -> None:
    """Nothing is left; whoever waits is told."""
    recorder = EventRecorder()
    with raw_listener() as listener:
        port = listener.getsockname()[1]
        async with SSLSocket("localhost", port, handler=recorder, verify=False) as sock:
            raised: list[BaseException] = []

            async def connect() -> None:
                with scope:
                    try:
                        await sock.connect()
                    except SocketClosedError as error:
                        raised.append(error)

            scope = trio.CancelScope()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(connect)
                with await accept(listener) as peer:
                    await peer.recv_some()
                    assert sock.ssl_connecting
                    assert sock.state is SocketState.CONNECTING
                    assert not sock.is_connected
                    if end == "cancel":
                        scope.cancel()
                    elif end == "close":
                        sock.close()
                    else:
                        await sock.aclose()
                    assert await peer.recv_all_to_eof() == b""
            assert len(raised) == (end != "cancel")
            assert not sock.ssl_connecting
            assert sock.state is SocketState.CLOSED
            assert recorder.events == []


async def test_all_who_wait_learn_of_it() -> None:
    """One connects, one sends, one receives, one closes: nobody is left waiting."""
    issued = credentials()
    async with server_of(issued.server_context()) as (port, _):
        async with SSLSocket("localhost", port, ca_file=issued.elsewhere) as sock:
            outcomes: list[str] = []

            async def attempt(name: str, call: Callable[[], Any]) -> None:
                try:
                    await call()
                except Exception as error:
                    outcomes.append(f"{name}: {type(error).__name__}")

            with trio.fail_after(1):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(attempt, "connect", sock.connect)
                    await until(lambda: sock.state is SocketState.CONNECTING)
                    nursery.start_soon(attempt, "send", lambda: sock.send_all(b"x"))
                    nursery.start_soon(attempt, "receive", sock.receive_some)
                    nursery.start_soon(attempt, "flush", sock.flush)
            assert sorted(outcomes) == [
                "connect: TLSError",
                "flush: InvalidStateError",
                "receive: InvalidStateError",
                "send: InvalidStateError",
            ]
            with pytest.raises(Exception, match="not connected"):
                sock.write(b"x")


# Clients that a server of ours refuses


@asynccontextmanager
async def listening(**options: Any) -> AsyncIterator[tuple[SSLSocket, EventRecorder]]:
    """A socket of ours that listens for one client."""
    recorder = EventRecorder()
    options = {"certificate_file": credentials().server, **options}
    async with SSLSocket(handler=recorder, **options) as sock:
        await sock.listen()
        yield sock, recorder


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("shown", [False, True])
async def test_clients_that_are_refused(version: ssl.TLSVersion, shown: bool) -> None:
    """For want of a certificate, or for the one they show; they get the alert, whole.

    A client of TLS 1.3 learns of it after its own handshake, when it may have sent data.
    """
    issued = credentials()
    options: dict[str, Any] = {"ca_file": issued.ca, "require_client_certificate": True}
    if shown:
        options["certificate_rejection_file"] = issued.client
    async with listening(**options) as (sock, recorder):
        context = issued.client_context(issued.client if shown else None)
        context.maximum_version = version
        with await RawPeer.connect(sock.port) as raw:
            peer = TLSPeer(raw, context)
            with pytest.raises(ssl.SSLError, match="ALERT"):
                await peer.handshake()
                await peer.send(b"GET / HTTP/1.0\r\n\r\n" * 100)
                await peer.recv_some()
            await until(lambda: sock.state is SocketState.CLOSED)
        assert isinstance(sock.last_error, TLSError)
        expected = "CERTIFICATE_REJECTED" if shown else "PEER_DID_NOT_RETURN_A_CERTIFICATE"
        assert sock.last_error.reason == expected
        assert recorder.events == [ErrorOccurred(sock, sock.last_error)]


async def test_a_client_of_an_old_version() -> None:
    """TLS 1.1 at the most."""
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context = only(ssl.TLSVersion.TLSv1_1, credentials().client_context())
    async with listening() as (sock, recorder):
        with await RawPeer.connect(sock.port) as raw:
            with pytest.raises(ssl.SSLError, match="ALERT_PROTOCOL_VERSION"):
                await TLSPeer(raw, context).handshake()
            await recorder.wait_for(ErrorOccurred)
        assert isinstance(sock.last_error, TLSError)
        assert sock.last_error.reason == "UNSUPPORTED_PROTOCOL"


@pytest.mark.parametrize(
    ("sent", "text"),
    [(b"GET / HTTP/1.0\r\n\r\n", "plain HTTP"), (b"EHLO example.org\r\n", "does not speak TLS")],
)
async def test_a_client_that_speaks_plainly(sent: bytes, text: str) -> None:
    """Not a byte of it is ever delivered."""
    async with listening() as (sock, recorder):
        with await RawPeer.connect(sock.port) as raw:
            await raw.send(sent)
            await raw.recv_all_to_eof()
            await recorder.wait_for(ErrorOccurred)
        assert text in str(sock.last_error)
        assert sock.bytes_available == 0
        assert len(recorder.events) == 1


async def test_a_client_that_does_not_trust_us() -> None:
    """We learn why from its alert."""
    async with listening() as (sock, recorder):
        with await RawPeer.connect(sock.port) as raw:
            peer = TLSPeer(raw, ssl.create_default_context())
            with pytest.raises(ssl.SSLCertVerificationError):
                await peer.handshake()
            await recorder.wait_for(ErrorOccurred)
        assert isinstance(sock.last_error, TLSError)
        assert sock.last_error.reason == "TLSV1_ALERT_UNKNOWN_CA"


async def test_a_refused_client_that_never_ends() -> None:
    """It has the alert, for its OS says so; we wait for no more than that."""
    old = credentials().client_context()
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    async with listening(ssl_connection_type=SSLConnectionTypes.TLSv13) as (sock, recorder):
        with await RawPeer.connect(sock.port) as raw:
            peer = TLSPeer(raw, old)
            with pytest.raises(ssl.SSLWantReadError):
                peer.tls.do_handshake()
            await peer.flush()
            await raw.send(b"x" * 100_000)  # unread when we close
            await recorder.wait_for(ErrorOccurred)
            assert sock.handle == -1
            assert (await raw.recv_some())[:1] == b"\x15"  # an alert


# Accepted ones in general


async def test_it_is_known_for_what_it_is_only_afterwards() -> None:
    """While the client is silent nothing is announced, and nothing can be done."""
    async with listening() as (sock, recorder):
        with await RawPeer.connect(sock.port) as raw:
            await until(lambda: sock.ssl_connecting)
            assert sock.state is SocketState.LISTENING
            assert not sock.is_connected
            assert sock.remote_address == LOOPBACK
            assert not await sock.poll()
            peer = TLSPeer(raw, credentials().client_context())
            await peer.handshake()
            await peer.send(b"early")
            await recorder.wait_for(DataAvailable)
            assert sock.read_all() == b"early"
            assert [type(event).__name__ for event in recorder.events] == [
                "Connected",
                "DataAvailable",
            ]


async def test_closing_calls_it_off() -> None:
    """At once, without an event; the peer sees an end."""
    async with listening() as (sock, recorder):
        with await RawPeer.connect(sock.port) as raw:
            await until(lambda: sock.ssl_connecting)
            await sock.aclose()
            assert sock.state is SocketState.CLOSED
            assert await raw.recv_all_to_eof() == b""
        assert recorder.events == []


async def test_tickets_for_a_peer_that_never_reads() -> None:
    """Nothing waits for them to go (python-trio/trio#819)."""
    async with listening() as (sock, _):
        with await RawPeer.connect(sock.port, small=True) as raw:
            peer = TLSPeer(raw, credentials().client_context())
            await peer.handshake()
            raw.close()
            await until(lambda: sock.state is SocketState.CLOSED)


async def test_a_peer_that_has_the_last_word() -> None:
    """Its close_notify may come with its last flight."""
    async with tls_linked() as (sock, peer):
        await peer.end()
        assert await sock.receive_some() == b""


# Its steps


@asynccontextmanager
async def stepwise(
    small: bool = False,
) -> AsyncIterator[tuple[Handshake, RawPeer, list[BaseException | None]]]:
    """A server's handshake that nobody waits for, its peer, and what came of it."""
    ours, peer = raw_pair(small=small)
    context = credentials().server_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    setup = TLSSetup(context, server_side=True)
    told: list[BaseException | None] = []
    async with TCPSocket() as owner:
        assert owner._keeper is not None
        transport = wrap(PlainTransport.of(ours), setup, "a peer")
        handshake = Handshake(owner._keeper, transport, setup, "a peer", told.append)
        with peer:
            yield handshake, peer, told
        handshake.close()
        transport.close()


async def test_a_step_that_was_called_for_nothing() -> None:
    """There is nothing yet: it goes on when there is."""
    async with stepwise() as (handshake, peer, told):
        handshake.begin()
        handshake._on_ready()
        assert told == []
        await TLSPeer(peer, credentials().client_context()).handshake()
        await until(lambda: told)
        assert told == [None]


async def test_a_mistake_of_ours_in_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told like the rest: who is told has to see to it."""
    async with stepwise() as (handshake, peer, told):
        mistake = ValueError("a mistake")

        def fail(_: object) -> bool:
            raise mistake

        monkeypatch.setattr(type(handshake.transport.engine), "handshake", fail)
        handshake.begin()
        await peer.send(b"x")
        await until(lambda: told)
        assert told == [mistake]


async def clogged(handshake: Handshake, peer: RawPeer, told: list[BaseException | None]) -> None:
    """Let it fail for the peer's old version, and the OS take nothing more of it."""
    handshake.begin()
    context = credentials().client_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    old = TLSPeer(peer, context)
    with pytest.raises(ssl.SSLWantReadError):
        old.tls.do_handshake()
    await old.flush()
    await until(lambda: told)
    assert isinstance(told[0], TLSError)
    assert isinstance(handshake.transport.inner, PlainTransport)
    RawPeer(handshake.transport.inner).stuff()


async def test_an_alert_that_the_os_does_not_take_at_once() -> None:
    """The peer has a while to read what is before it."""
    async with stepwise(small=True) as (handshake, peer, told), trio.open_nursery() as nursery:
        await clogged(handshake, peer, told)
        nursery.start_soon(handshake.refuse)
        await wait_all_tasks_blocked()
        assert handshake.transport.unsent
        assert (await peer.recv_all_to_eof()).lstrip(b"x")[:1] == b"\x15"  # an alert


async def test_a_refusal_that_is_called_off() -> None:
    """Who waits for the peer to take the alert need not, once the transport is closed."""
    async with stepwise(small=True) as (handshake, peer, told), trio.open_nursery() as nursery:
        await clogged(handshake, peer, told)
        nursery.start_soon(handshake.refuse)
        await wait_all_tasks_blocked()
        handshake.transport.close()
        handshake.close()

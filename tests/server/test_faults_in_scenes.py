"""A server outlives a fault in any call, whatever a peer does: it resets, lingers, is refused ...

Each scene is a life of a peer that takes the library to other calls than the plainest one of
``test_faults``; which those are is a part of the scene.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.support.injection import (
    OF_EPOLL,
    ONLY_ON_LINUX,
    Injector,
    calls_of_every_connection,
)
from tests.support.outliving import (
    FAULTS,
    StyledServer,
    exchange,
    outlive,
    peer_of,
    request,
    secured,
)
from tests.support.pairs import shrink_send_buffer
from tests.support.tls import credentials
from trio_xsock import ServerSocket
from trio_xsock._platform.system import is_linux

MUCH = bytes(range(256)) * 200
"""More than goes at once, where buffers are small."""
SOON = 0.03
"""Seconds that somebody may be silent."""


# What the peers do


async def reset(port: int, kind: str) -> bytes:
    """Goes away with a reset."""
    async with peer_of(port) as raw:
        got = await exchange(await secured(raw, kind), request(kind, b"ping"))
        raw.reset()
        return got


async def send_much(port: int, kind: str) -> bytes:
    """Sends more than the server can send back, and reads only then."""
    async with peer_of(port, small=True) as raw:
        peer = await secured(raw, kind)
        return await exchange(peer, request(kind, MUCH))


async def read_on(port: int, kind: str) -> bytes:
    """Sends more than the server takes, and reads to the end."""
    async with peer_of(port) as raw:
        peer = await secured(raw, kind)
        await peer.send(MUCH[:1000])
        got = bytes(await peer.recv_some())
        while await raw.recv_some():
            pass
        await trio.sleep(0.005)  # so that the server has to linger
        return got


async def fall_silent(port: int, kind: str) -> bytes:
    """Says something, and then nothing more, until the server has had enough.

    On a slow machine that may be earlier.
    """
    async with peer_of(port) as raw:
        try:
            await exchange(await secured(raw, kind), request(kind, b"ping"))
            while await raw.recv_some():
                pass
        except OSError:
            pass
        return b"the end"


async def come_by_proxy(port: int, kind: str) -> bytes:
    """A proxy, whose header comes in two pieces."""
    async with peer_of(port) as raw:
        await raw.send(b"PROXY TCP4 192.0.2.1 ")
        await trio.sleep(0.002)
        await raw.send(b"192.0.2.2 1000 80\r\n")
        got = await exchange(raw, request(kind, b"ping"))
        raw.fin()
        while await raw.recv_some():
            pass
        return got


async def talk_rubbish(port: int, kind: str) -> bytes:
    """No TLS at all; gets an alert."""
    async with peer_of(port) as raw:
        await raw.send(b"GET / HTTP/1.0\r\n\r\n")
        return await raw.recv_all_to_eof()


async def be_rejected(port: int, kind: str) -> bytes:
    """With a certificate that is in the server's file of rejected ones."""
    async with peer_of(port) as raw:
        peer = await secured(raw, kind, certificate=True)
        try:
            await peer.recv_some()
        except ssl.SSLError as exc:
            return str(exc.reason).encode()
        return b""


async def never_begin(port: int, kind: str) -> bytes:
    """Says nothing, until the time for the handshake is over."""
    async with peer_of(port) as raw:
        return await raw.recv_all_to_eof() or b"the end"


async def upgrade(port: int, kind: str) -> bytes:
    """Has the connection encrypted."""
    async with peer_of(port) as raw:
        await raw.send(b"STARTTLS")
        go = await raw.recv_exactly(2)
        got = await exchange(await secured(raw, "tls"), b"ping")
        raw.fin()
        while await raw.recv_some():
            pass
        return go + got


# What servers do, other than to echo


async def take_one_byte(sock: Any) -> None:
    """Leaves the rest unread."""
    await sock.receive_exactly(1)
    await sock.send_all(b"enough")


async def send_a_file(sock: Any) -> None:
    """After the first byte."""
    await sock.receive_exactly(1)
    await sock.send_file(Path(__file__))


async def start_tls(sock: Any) -> None:
    """Asked to, and then echoes."""
    await sock.receive_exactly(8)
    await sock.start_tls(announce=b"go")
    async for chunk in sock:
        await sock.send_all(chunk)


@dataclass
class Scene:
    """A life, a server, and calls that are made in it.

    Attributes:
        life: what the peer does, given the port and the kind of sockets.
        kinds: of sockets.
        calls: some that the scene is there for.
        options: of the sockets.
        server_options: of the server, with ``serve`` among them.
        prepare: what is done to the server before.
        among: only these calls raise, as the life takes its time.
    """

    life: Callable[[int, str], Awaitable[bytes]]
    kinds: str
    calls: set[str]
    options: Callable[[], dict[str, Any]] = dict
    server_options: dict[str, Any] = field(default_factory=dict)
    prepare: Callable[[ServerSocket[Any]], object] | None = None
    among: set[str] | None = None


def rejecting() -> dict[str, Any]:
    issued = credentials()
    return {
        "certificate_file": issued.server,
        "ca_file": issued.ca,
        "require_client_certificate": True,
        "certificate_rejection_file": issued.client,
    }


SCENES: dict[str, Scene] = {
    "reset": Scene(reset, "tcp tls easy", {"recv", "send"}),
    "much": Scene(send_much, "tcp tls easy", {"modify"}, prepare=shrink_send_buffer),
    "linger": Scene(
        read_on, "tcp tls", {"ioctl", "shutdown"}, server_options={"serve": take_one_byte}
    ),
    "file": Scene(read_on, "tcp", {"sendfile"}, server_options={"serve": send_a_file}),
    "silent": Scene(
        fall_silent,
        "tcp tls",
        {"ioctl", "getsockopt", "setsockopt"},
        options=lambda: {"keepalive": (9, 9, 9), "unacknowledged_timeout": 9},
        server_options={"idle_timeout": SOON},
        among={
            *("ioctl", "getsockopt", "setsockopt", "close", "unregister"),
            *("note_activity", "check_watchdogs", "look", "tick", "lose", "Watchdogs.check"),
        },
    ),
    "proxy": Scene(come_by_proxy, "tcp", {"recv"}, server_options={"proxy_protocol": True}),
    "rubbish": Scene(talk_rubbish, "tls", {"ioctl", "shutdown", "TLS output"}),
    "rejected": Scene(be_rejected, "tls", {"TLS refuse", "TLS peer_chain"}, options=rejecting),
    "slow": Scene(never_begin, "tls", {"close"}, server_options={"handshake_timeout": SOON}),
    "upgrade": Scene(
        upgrade,
        "tls",
        {"TLS handshake", "TLS encrypt"},
        options=lambda: {"ssl_enabled": False, "certificate_file": credentials().server},
        server_options={"serve": start_tls},
    ),
}
CASES = [(name, kind) for name, scene in SCENES.items() for kind in scene.kinds.split()]


async def play(
    name: str, kind: str, injector: Injector, caplog: pytest.LogCaptureFixture, fault: str
) -> set[str]:
    scene = SCENES[name]
    return await outlive(
        injector,
        caplog,
        StyledServer(kind, options=scene.options(), **scene.server_options),
        lambda port: scene.life(port, kind),
        FAULTS[fault],
        prepare=scene.prepare,
        among=scene.among,
    )


@pytest.mark.parametrize("fault", ["EIO", "Runtime"])
@pytest.mark.parametrize(("name", "kind"), CASES)
async def test_a_server_outlives_a_fault_in_any_call(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    name: str,
    kind: str,
    fault: str,
) -> None:
    """Of the system's and of TLS's."""
    injector = Injector()
    injector.put_around_system(monkeypatch)
    called = await play(name, kind, injector, caplog, fault)
    wanted = SCENES[name].calls
    if not is_linux():
        wanted = wanted.difference(ONLY_ON_LINUX, {"getsockopt"})  # it is for TCP_INFO
    elif os.environ.get("TRIO_XSOCK_READINESS") == "portable":
        wanted = wanted.difference(OF_EPOLL)
    assert wanted <= called


@pytest.mark.parametrize(("name", "kind"), CASES)
async def test_a_server_outlives_a_fault_of_its_own_engine(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str, kind: str
) -> None:
    """A mistake of ours in any function of a connection costs that one connection."""
    injector = Injector()
    injector.put_around_engine(monkeypatch)
    called = await play(name, kind, injector, caplog, "Runtime")
    assert calls_of_every_connection(kind) <= called

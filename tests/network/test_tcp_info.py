"""What only the kernel knows of a TCP connection, and what can be told to it."""

from __future__ import annotations

import math
import socket
import struct
import sys
from collections.abc import Iterator
from typing import Any, cast

import pytest

from tests.support import RawPeer, raw_pair, until
from tests.support.tls import credentials
from trio_xsock._engine.watchdogs import Watchdogs
from trio_xsock._machines.dead_peers import Sample
from trio_xsock._machines.tls import TLSEngine
from trio_xsock._network.tcp_info import set_keepalive, take_sample
from trio_xsock._network.tls_transport import TLSTransport
from trio_xsock._network.transport import Transport
from trio_xsock._platform.system import is_linux

pytestmark = pytest.mark.skipif(not is_linux(), reason="tcp_info is Linux's")


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, RawPeer]]:
    """A connection through small buffers: our descriptor and the peer."""
    ours, peer = raw_pair(small=True)
    with ours, peer:
        yield ours, peer


def sample_of(sock: socket.socket) -> Sample:
    sample = take_sample(sock)
    assert sample is not None
    return sample


def keepalive_of(sock: socket.socket) -> tuple[bool, int, int, int]:
    options = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
    idle, interval, count = (sock.getsockopt(socket.IPPROTO_TCP, option) for option in options)
    return bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)), idle, interval, count


async def test_an_idle_connection(pair: tuple[socket.socket, RawPeer]) -> None:
    """Nothing is in flight, nothing waits for an answer."""
    sample = sample_of(pair[0])
    assert not sample.in_flight
    assert not sample.unanswered
    assert 0 <= sample.last_ack < 20


async def test_what_is_sent_is_in_flight_until_it_is_acknowledged(
    pair: tuple[socket.socket, RawPeer],
) -> None:
    """The peer's OS acknowledges, whether or not its program reads."""
    ours, _ = pair
    ours.send(b"x")
    await until(lambda: not sample_of(ours).in_flight)
    assert sample_of(ours).last_ack < 20


async def test_a_closed_window_is_probed_and_answered(
    pair: tuple[socket.socket, RawPeer],
) -> None:
    """Data stays in flight for as long as the peer does not read; it was heard of just now."""
    ours, peer = pair
    while True:
        try:
            ours.send(bytes(4096))
        except BlockingIOError:
            break
    await until(lambda: sample_of(ours).in_flight)
    # The first probe goes out after some 200 ms, and its answer is an acknowledgement.
    await until(lambda: sample_of(ours).last_ack > 0.15)
    await until(lambda: sample_of(ours).last_ack < 0.15)
    sample = sample_of(ours)
    assert sample.in_flight
    assert not sample.unanswered
    assert sample.probes == 0
    assert peer.sock.fileno() >= 0


class Told(socket.socket):
    """A connected socket whose ``tcp_info`` is what a test says."""

    info = b""

    def getsockopt(self, level: int, option: int, size: int = 0) -> Any:
        if option != socket.TCP_INFO:
            return super().getsockopt(level, option, size)
        assert len(self.info) <= size
        return self.info

    def tell(self, *, retransmits: int, probes: int, sent: int, acknowledged: int) -> None:
        """Milliseconds ago something was sent, and acknowledged."""
        self.info = struct.pack(
            "=BBBBB35x4xIIII44x", 1, 0, retransmits, probes, 0, sent, 7, 8, acknowledged
        )


@pytest.mark.parametrize(
    ("retransmits", "probes", "sent", "acknowledged", "unanswered", "probing"),
    [
        pytest.param(0, 0, 10, 500, False, 0, id="on its way"),
        pytest.param(0, 0, 500, 490, False, 0, id="a closed window"),
        pytest.param(2, 0, 100, 900, True, 0, id="retransmitted"),
        pytest.param(2, 0, 0, 0, True, 0, id="retransmitted just now"),
        pytest.param(2, 0, 900, 890, False, 0, id="retransmitted, answered, not accepted"),
        pytest.param(0, 2, 900, 500, True, 2, id="probed"),
        pytest.param(2, 1, 100, 900, True, 0, id="both"),
    ],
)
def test_what_the_kernel_says(
    retransmits: int, probes: int, sent: int, acknowledged: int, unanswered: bool, probing: int
) -> None:
    """An answer is an acknowledgement of anything, after the last transmission."""
    with Told() as sock:
        sock.tell(retransmits=retransmits, probes=probes, sent=sent, acknowledged=acknowledged)
        assert take_sample(sock) == Sample(False, unanswered, acknowledged / 1000, probing)


def test_other_sockets_tell_nothing() -> None:
    """A Unix socket, say."""
    left, right = socket.socketpair()
    with left, right:
        assert take_sample(left) is None


def test_a_transport_may_tell_by_itself() -> None:
    """One that is no socket of the OS has its own word."""

    class Memory:
        def take_sample(self) -> Sample:
            return Sample(in_flight=True, unanswered=False, last_ack=7.0)

    memory = cast("Transport", Memory())
    engine = TLSEngine(credentials().client_context(), server_hostname="localhost")
    told = TLSTransport(memory, engine).take_sample()
    assert told == Sample(in_flight=True, unanswered=False, last_ack=7.0)
    watchdogs = Watchdogs(None, 5.0, now=0.0)
    look, why = watchdogs.check(memory, 1, 0.0, paused=False, counts_lateness=True)
    assert 0.0 < look < math.inf
    assert why is None


def test_other_systems_tell_nothing(
    pair: tuple[socket.socket, RawPeer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the layout of ``tcp_info`` is not known nobody reads it."""
    monkeypatch.setattr(sys, "platform", "darwin")
    assert take_sample(pair[0]) is None


def test_keepalive_on_and_off(pair: tuple[socket.socket, RawPeer]) -> None:
    """All three numbers reach the kernel; off leaves them alone."""
    ours, _ = pair
    assert not keepalive_of(ours)[0]
    set_keepalive(ours, (11, 22, 33))
    assert keepalive_of(ours) == (True, 11, 22, 33)
    set_keepalive(ours, None)
    assert keepalive_of(ours) == (False, 11, 22, 33)


def test_the_largest_numbers_fit(pair: tuple[socket.socket, RawPeer]) -> None:
    """What ``TCPSocket`` lets pass the kernel takes."""
    set_keepalive(pair[0], (32767, 32767, 127))
    assert keepalive_of(pair[0]) == (True, 32767, 32767, 127)


def test_a_socket_without_keepalive_is_left_alone() -> None:
    """A Unix socket's peer cannot vanish unseen."""
    left, right = socket.socketpair()
    with left, right:
        set_keepalive(left, (1, 2, 3))
        set_keepalive(left, None)

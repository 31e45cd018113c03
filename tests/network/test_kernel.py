"""What the kernel tells of a connection, seen with raw sockets at both ends."""

from __future__ import annotations

import errno
import socket
import sys
from typing import cast

import pytest
import trio

from tests.support import raw_listener, raw_pair
from tests.support.tls import credentials
from trio_xsock._engine.closing import Closing
from trio_xsock._machines.tls import TLSEngine
from trio_xsock._network.kernel import has_unread_input, unacknowledged_bytes, why_lost
from trio_xsock._network.tcp_info import take_sample
from trio_xsock._network.tls_transport import TLSTransport
from trio_xsock._network.transport import Transport
from trio_xsock._platform.system import is_linux


async def test_unread_input_is_seen_and_stays() -> None:
    """A byte that arrived is noticed, as often as asked, and can still be read."""
    ours, peer = raw_pair()
    with ours, peer:
        assert not has_unread_input(ours)
        await peer.send(b"x")
        await trio.lowlevel.wait_readable(ours)
        assert has_unread_input(ours)
        assert has_unread_input(ours)
        assert ours.recv(10) == b"x"
        assert not has_unread_input(ours)


async def test_an_end_of_input_is_no_unread_input() -> None:
    """A FIN makes the socket readable, but closing then resets nothing."""
    ours, peer = raw_pair()
    with ours, peer:
        peer.fin()
        await trio.lowlevel.wait_readable(ours)
        assert not has_unread_input(ours)


async def test_a_dead_connection_has_no_unread_input() -> None:
    """An error in place of input is no exception."""
    ours, peer = raw_pair()
    with ours:
        peer.reset()
        await trio.lowlevel.wait_readable(ours)
        assert not has_unread_input(ours)


async def test_why_a_connection_is_lost() -> None:
    """The OS gives the cause once; a second time it was a reset, as losses mostly are."""
    ours, peer = raw_pair()
    with ours:
        peer.reset()
        await trio.lowlevel.wait_readable(ours)
        for _ in range(2):
            assert why_lost(ours).errno == errno.ECONNRESET


@pytest.mark.skipif(not is_linux(), reason="only Linux tells")
def test_bytes_that_the_peer_has_no_room_for_are_unacknowledged() -> None:
    """What the peer's OS could not take is counted."""
    ours, peer = raw_pair(small=True)
    with ours, peer:
        assert unacknowledged_bytes(ours) == 0
        sent = 0
        try:
            while True:
                sent += ours.send(b"x" * 4096)
        except BlockingIOError:
            pass
        assert 0 < (unacknowledged_bytes(ours) or 0) < sent


def test_a_socket_that_is_not_connected_has_no_such_number() -> None:
    """The OS refuses to tell, and that is no exception."""
    with raw_listener() as listener:
        assert unacknowledged_bytes(listener) is None


def test_a_closed_socket_waits_for_nobody() -> None:
    """It has no descriptor that the OS could be asked about, and nothing is on its way."""
    ours, peer = raw_pair()
    with peer:
        ours.close()
        assert unacknowledged_bytes(ours) == 0
        assert not has_unread_input(ours)
        sample = take_sample(ours)
        assert sample is None or not sample.in_flight


def test_elsewhere_there_is_no_such_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only Linux is asked."""
    monkeypatch.setattr(sys, "platform", "somewhere else")
    with socket.socket() as sock:
        assert unacknowledged_bytes(sock) is None


def test_a_transport_may_count_by_itself() -> None:
    """What is no socket of the OS's is asked, and the OS is not."""

    class Memory:
        def fileno(self) -> int:
            return 2**20

        def unacknowledged_bytes(self) -> int:
            return 7

        def has_unread_input(self) -> bool:
            return False

    engine = TLSEngine(credentials().client_context(), server_hostname="localhost")
    memory = cast("Transport", Memory())
    assert TLSTransport(memory, engine).unacknowledged_bytes() == 7
    closing = Closing(discarding=True)
    assert closing.linger()
    assert not closing.is_acknowledged(memory)

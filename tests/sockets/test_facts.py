"""The facts about a connection: who, how much, and how it is shown."""

from __future__ import annotations

import os
import socket
from typing import Any

import pytest
import trio
import trio.testing

from tests.support import EventRecorder, RawPeer, accept, raw_listener
from tests.support.pairs import GatedResolver, linked
from trio_xsock import (
    Connected,
    DataAvailable,
    ErrorOccurred,
    Event,
    EventChannel,
    InvalidStateError,
    LossReason,
    LostConnectionError,
    ServerSocket,
    SocketClosedError,
    SocketState,
    SocketStatistics,
    TCPSocket,
)


def events_of(channel: EventChannel) -> list[Event]:
    events = []
    while channel.statistics().current_buffer_used:
        events.append(channel.receive_nowait())
    return events


def has_ended(channel: EventChannel) -> bool:
    with pytest.raises((trio.WouldBlock, trio.EndOfChannel)) as caught:
        channel.receive_nowait()
    return caught.type is trio.EndOfChannel


# Facts


async def test_the_facts_of_a_connection() -> None:
    """Before, while, after."""
    with raw_listener() as listener:
        port = listener.getsockname()[1]
        async with TCPSocket("localhost", port) as sock:
            assert (sock.handle, sock.remote_address, sock.remote_port) == (-1, "", 0)
            assert (sock.state, sock.is_connected) == (SocketState.CLOSED, False)
            await sock.connect()
            with await accept(listener):
                assert os.readlink(f"/proc/self/fd/{sock.handle}").startswith("socket:")
                assert (sock.address, sock.remote_address) == ("localhost", "127.0.0.1")
                assert sock.remote_port == port
                assert (sock.state, sock.is_connected) == (SocketState.CONNECTED, True)
            sock.close()
            assert (sock.handle, sock.remote_address, sock.remote_port) == (-1, "127.0.0.1", port)
            assert (sock.state, sock.is_connected) == (SocketState.CLOSED, False)
    assert (sock.address, sock.port) == ("localhost", port)


async def test_our_descriptor_is_not_inherited() -> None:
    """F97."""
    async with linked() as (sock, _):
        assert os.get_inheritable(sock.handle) is False
        assert os.get_blocking(sock.handle) is False


async def test_the_peer_ending_leaves_us_connected() -> None:
    """Our direction is open; ending that too is the end."""
    async with linked() as (sock, peer):
        peer.fin()
        await trio.testing.wait_all_tasks_blocked()
        assert sock.is_connected
        assert sock.state is SocketState.CONNECTED
        await sock.send_eof()
        assert not sock.is_connected
        assert sock.state is SocketState.CLOSED
        assert sock.handle == -1


@pytest.mark.parametrize("address", [b"localhost", None, 127])
def test_an_address_is_a_str(address: Any) -> None:
    """At construction and at assignment."""
    with pytest.raises(TypeError, match="address must be a str"):
        TCPSocket(address, 80)
    sock = TCPSocket("a", 80)
    with pytest.raises(TypeError, match="address must be a str"):
        sock.address = address
    sock.address = "b"
    assert sock.address == "b"


# Statistics


async def test_statistics_over_all_connections() -> None:
    """Counters go on, ``bytes_sent`` is of the connection."""
    with raw_listener() as listener:
        async with TCPSocket("127.0.0.1", listener.getsockname()[1]) as sock:
            assert sock.statistics() == SocketStatistics()
            for number in (1, 2):
                await sock.connect()
                with await accept(listener) as peer:
                    await sock.send_all(b"four")
                    await peer.send(b"sevenseven")
                    assert await sock.receive_exactly(7) == b"sevense"
                    assert sock.bytes_sent == 4
                    assert sock.statistics() == SocketStatistics(
                        bytes_in=10 * number, bytes_out=4 * number, bytes_available=3
                    )
                await sock.aclose()
    assert sock.statistics().bytes_available == 3
    assert sock.bytes_sent == 4


async def test_statistics_of_queue_and_events() -> None:
    """What is queued now, and how events were posted and merged."""
    async with linked(small=True) as (sock, _):
        channel = sock.events
        sock.write(bytes(1_000_000))
        statistics = sock.statistics()
        assert statistics.bytes_left_to_send == sock.bytes_left_to_send > 0
        assert statistics.bytes_out + statistics.bytes_left_to_send == 1_000_000
        sock.abort_send()
        for _ in range(3):
            sock.abort_send()
        sock.write(b"x")
        statistics = sock.statistics()
        waiting = channel.statistics().current_buffer_used
        assert statistics.events_posted == waiting - 1 + statistics.events_merged  # Connected
        assert statistics.bytes_left_to_send == 0 or statistics.bytes_left_to_send == 1


async def test_statistics_while_lines_are_read() -> None:
    """Lines that were split off and not asked for yet are still there."""
    async with linked() as (sock, peer):
        await peer.send(b"one\ntwo\nthree\n")
        await trio.testing.wait_all_tasks_blocked()
        lines = sock.lines()
        assert await anext(lines) == "one"
        assert sock.statistics().bytes_available == 10
        assert await anext(lines) == "two"


async def test_read_pauses_are_counted() -> None:
    """Once each time the buffer is full."""
    async with linked(receive_buffer_limit=10) as (sock, peer):
        for number in (1, 2, 3):
            peer.send_nowait(b"0123456789ab")
            await trio.testing.wait_all_tasks_blocked()
            assert sock.statistics().read_pauses == number
            sock.read_all()
            await trio.testing.wait_all_tasks_blocked()
            assert sock.read_all() == b"ab"
            peer.send_nowait(b"0123456789")
            await trio.testing.wait_all_tasks_blocked()
            sock.read_all()


# How it is shown


async def test_repr_tells_state_endpoint_and_amounts() -> None:
    """In each state."""
    assert repr(TCPSocket()) == "<TCPSocket closed, 0 bytes buffered, 0 bytes queued>"
    closed = repr(TCPSocket("::1", 80))
    assert closed == "<TCPSocket closed, [::1]:80, 0 bytes buffered, 0 bytes queued>"

    class Mine(TCPSocket):
        pass

    async with linked(socket_class=Mine) as (sock, peer):
        port = sock.remote_port
        peer.send_nowait(b"abc")
        await trio.testing.wait_all_tasks_blocked()
        assert sock.bytes_available == 3
        shown = repr(sock)
        assert shown == f"<Mine connected to 127.0.0.1:{port}, 3 bytes buffered, 0 bytes queued>"
        sock.close()
        assert repr(sock) == f"<Mine closed, 127.0.0.1:{port}, 3 bytes buffered, 0 bytes queued>"


# Never connected, not connected yet, not connected any more


async def test_calls_that_need_a_connection_say_what_is_missing() -> None:
    """The cure depends on how far one has come."""
    sock = TCPSocket("127.0.0.1", 80)
    with pytest.raises(InvalidStateError, match=r"127\.0\.0\.1:80.*use `async with`, then conn"):
        sock.write(b"x")
    with raw_listener() as listener:
        sock.port = listener.getsockname()[1]
        async with sock, trio.open_nursery() as nursery:
            for call in (sock.flush, sock.send_eof, sock.wait_send_all_might_not_block):
                with pytest.raises(InvalidStateError, match=r"not connected; `await connect\(\)`"):
                    await call()
            with pytest.raises(InvalidStateError, match="not connected"):
                await sock.send_all(b"x")
            resolver = GatedResolver()
            sock.address = "some.host"
            nursery.start_soon(sock.connect)
            await resolver.called.wait()
            with pytest.raises(InvalidStateError, match=r"wait for connect\(\) to return"):
                sock.write(b"x")
            resolver.answer.set()
            await trio.testing.wait_all_tasks_blocked()
            sock.write(b"x")
            sock.close()
            with pytest.raises(InvalidStateError, match=r"was closed; connect\(\) opens it again"):
                sock.write(b"x")
    with pytest.raises(SocketClosedError, match="was closed; make a new TCPSocket"):
        sock.write(b"x")


async def test_a_closed_socket_of_a_server_cannot_be_opened_again() -> None:
    """The text does not say so."""
    async with ServerSocket(address="127.0.0.1") as server:
        await server.listen()
        with await RawPeer.connect(server.port):
            sock = await server.accept()
            sock.close()
            with pytest.raises(SocketClosedError, match="was closed; make a new TCPSocket"):
                sock.write(b"x")


async def test_a_socket_closed_by_a_failure_names_it() -> None:
    """As the cause."""
    error = ValueError()

    async def fail() -> None:
        await trio.lowlevel.checkpoint()
        raise error

    with pytest.raises(ValueError):
        async with linked() as (sock, _):
            sock.start_soon(fail)
            with pytest.raises(SocketClosedError) as caught:
                while True:
                    sock.write(b"x")
                    await trio.lowlevel.cancel_shielded_checkpoint()
            assert caught.value.__cause__ is error
            await trio.lowlevel.checkpoint()


# Events for those who ask late


async def test_who_asks_late_while_connected() -> None:
    """Connected, and that there is something to read."""
    async with linked() as (sock, peer):
        assert events_of(sock.subscribe()) == [Connected(sock)]
        peer.send_nowait(b"x")
        await trio.testing.wait_all_tasks_blocked()
        assert events_of(sock.subscribe()) == [Connected(sock), DataAvailable(sock)]
        sock.read_all()
        assert events_of(sock.subscribe()) == [Connected(sock)]


async def test_who_asks_before_the_connection() -> None:
    """Nothing is so yet, and nothing has ended."""
    channel = TCPSocket().events
    assert events_of(channel) == []
    assert not has_ended(channel)


async def test_who_asks_late_after_the_peer_s_end() -> None:
    """Our direction is open, but iteration ends."""
    async with linked() as (sock, peer):
        await peer.send(b"x")
        peer.fin()
        await trio.testing.wait_all_tasks_blocked()
        channel = sock.subscribe()
        events = events_of(channel)
        assert events[:2] == [Connected(sock), DataAvailable(sock)]
        assert isinstance(events[2], ErrorOccurred)
        assert events[2].error is sock.last_error
        assert has_ended(channel)


async def test_who_asks_late_after_a_loss() -> None:
    """The error that ended it."""
    async with linked() as (sock, peer):
        peer.reset()
        await trio.testing.wait_all_tasks_blocked()
        assert sock.last_error is not None
        assert isinstance(sock.last_error, LostConnectionError)
        assert sock.last_error.reason is LossReason.RESET
        channel = sock.subscribe()
        assert events_of(channel) == [ErrorOccurred(sock, sock.last_error)]
        assert has_ended(channel)


async def test_who_asks_late_after_a_close() -> None:
    """Only what is left to be read."""
    async with linked() as (sock, peer):
        peer.send_nowait(b"x")
        await trio.testing.wait_all_tasks_blocked()
        sock.close()
        channel = sock.subscribe()
        assert events_of(channel) == [DataAvailable(sock)]
        assert has_ended(channel)


async def test_who_asks_late_while_a_reader_waits() -> None:
    """What the reader may yet take is not announced; what it leaves is, once."""
    async with linked() as (sock, peer), trio.open_nursery() as nursery:
        nursery.start_soon(sock.receive_exactly, 3)
        await trio.testing.wait_all_tasks_blocked()
        peer.send_nowait(b"ab")
        await trio.testing.wait_all_tasks_blocked()
        assert sock.bytes_available == 2
        channel = sock.subscribe()
        assert events_of(channel) == [Connected(sock)]
        peer.send_nowait(b"cd")
        await trio.testing.wait_all_tasks_blocked()
        assert events_of(channel) == [DataAvailable(sock)]


async def test_a_socket_nobody_listens_to_posts_nothing() -> None:
    """No event objects are made for nobody."""
    async with linked() as (sock, peer):
        await sock.send_all(b"x")
        peer.send_nowait(b"x")
        await trio.testing.wait_all_tasks_blocked()
        assert sock.statistics().events_posted == 0


async def test_one_socket_many_connections() -> None:
    """The recorder sees each begin and end; the peers are told apart by address."""
    recorder = EventRecorder(read=True)
    with raw_listener(host="::1") as six, raw_listener() as four:
        async with TCPSocket(handler=recorder) as sock:
            for listener, address in ((six, "::1"), (four, "127.0.0.1")):
                sock.address, sock.port = address, listener.getsockname()[1]
                await sock.connect()
                assert sock.remote_address == sock.local_address == address
                with await accept(listener) as peer:
                    await exchange(sock, peer, recorder)
                await sock.aclose()
    assert recorder.names.count("on_connected") == 2
    assert bytes(recorder.received) == b"xx"


async def exchange(sock: TCPSocket, peer: RawPeer, recorder: EventRecorder) -> None:
    await sock.send_all(b"y")
    assert await peer.recv_some() == b"y"
    before = len(recorder.received)
    await peer.send(b"x")
    await recorder.wait_until(lambda recorder: len(recorder.received) > before)
    assert isinstance(peer.sock, socket.socket)

"""All the ends of a connection: the table of SPEC 3.3, half close, and what the peer sees."""

from __future__ import annotations

import errno
import gc
import os
import select
import socket
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
import trio.testing

from tests.support import EventRecorder, RawPeer, accept, check_grammar, raw_listener, settle, until
from tests.support.pairs import GatedResolver, descriptor_of, linked, shrink_send_buffer
from tests.support.tls import tls_linked
from trio_xsock import (
    Connected,
    DataAvailable,
    ErrorOccurred,
    LossReason,
    LostConnectionError,
    SendComplete,
    SendProgress,
    ServerSocket,
    SocketClosedError,
    SocketError,
    SocketState,
    TCPSocket,
)
from trio_xsock._engine.ending import close
from trio_xsock._engine.writing import after_sending
from trio_xsock._network import kernel
from trio_xsock._runtime.epoll import EpollWatch
from trio_xsock.testing import memory_socket_pair

LOTS = 3_000_000
"""More than a small connection's buffers take, by far."""


async def end_seen_by(peer: RawPeer) -> tuple[int, str]:
    """How much the peer got, and how its stream ended."""
    try:
        count = await peer.count_to_eof()
    except ConnectionResetError:
        return peer.received, "RST"
    return count, "FIN"


def kinds(recorder: EventRecorder) -> list[type]:
    return [type(event) for event in recorder.events]


# close()


async def test_close() -> None:
    """At once, FIN, no event, and everything shows it."""
    recorder = EventRecorder()
    async with linked(handler=recorder) as (sock, peer):
        sock.close()
        assert (sock.state, sock.is_connected, sock.handle) == (SocketState.CLOSED, False, -1)
        assert await end_seen_by(peer) == (0, "FIN")
        assert sock.last_error is None
    assert kinds(recorder) == [Connected]


async def test_close_drops_what_is_queued() -> None:
    """One ``SendComplete``, and the peer gets what the OS had taken."""
    recorder = EventRecorder()
    async with linked(small=True, handler=recorder) as (sock, peer):
        sock.write(bytes(LOTS))
        sock.close()
        sent = sock.bytes_sent
        assert 0 < sent < LOTS
        assert (sock.bytes_left_to_send, sock.statistics().bytes_left_to_send) == (0, 0)
        assert await end_seen_by(peer) == (sent, "FIN")
    assert recorder.calls[-1] == ("on_send_complete", True)
    check_grammar(recorder.events, peer_received=sent)


async def test_close_with_unread_input_resets() -> None:
    """What the OS holds unread is lost, and TCP tells the peer so."""
    async with linked(receive_buffer_limit=10) as (sock, peer):
        await peer.send(bytes(100))
        await settle()
        sock.close()
        assert await end_seen_by(peer) == (0, "RST")
        assert sock.bytes_available == 10


async def test_close_keeps_what_is_buffered() -> None:
    """Plain reads go on, waiting ones say that we closed."""
    async with linked() as (sock, peer):
        await peer.send(b"0123456789")
        await settle()
        remote, address = sock.remote_address, sock.address
        sock.close()
        assert sock.read(2) == b"01"
        assert sock.lookahead() == b"23456789"
        assert sock.bytes_available == 8
        assert not sock.at_eof
        with pytest.raises(SocketClosedError):
            await sock.receive_some()
        with pytest.raises(SocketClosedError):
            await sock.receive_exactly(2)
        assert sock.read_all("ascii") == "23456789"
        assert sock.at_eof
        sock.purge()
        assert (sock.remote_address, sock.address) == (remote, address)


@pytest.mark.parametrize("call", ["close", "aclose", "disconnect"])
async def test_whoever_waits_is_told_of_our_close(call: str) -> None:
    """Readers and writers get ``SocketClosedError``; a graceful one lets senders finish first."""

    async def expect(call: Callable[[], Awaitable[object]]) -> None:
        with pytest.raises(SocketClosedError):
            await call()
        ended.append(call)

    ended: list[object] = []
    for waits in ("receive_some", "wait_send_all_might_not_block", "flush", "send_all"):
        async with linked(small=True) as (sock, _):
            sock.write(bytes(LOTS))
            waiting: Any = getattr(sock, waits)
            if waits == "send_all":
                waiting = lambda sock=sock: sock.send_all(b"x")  # noqa: E731
            async with trio.open_nursery() as nursery:
                nursery.start_soon(expect, waiting)
                await settle()
                if call == "close":
                    sock.close()
                else:
                    await getattr(sock, call)(0)
            assert ended.pop() is waiting
            assert sock.state is SocketState.CLOSED


async def test_a_closing_socket_refuses_to_send_and_to_receive() -> None:
    """From the moment ``aclose`` is called; ``flush`` may still be waited for."""
    async with linked(small=True) as (sock, peer), trio.open_nursery() as nursery:
        sock.write(bytes(LOTS))
        nursery.start_soon(sock.aclose)
        await settle()
        assert (sock.state, sock.is_connected) == (SocketState.CLOSING, False)
        assert sock.handle >= 0
        with pytest.raises(SocketClosedError):
            sock.write(b"x")
        with pytest.raises(SocketClosedError):
            await sock.receive_some()
        with pytest.raises(SocketClosedError):
            await sock.send_eof()
        with pytest.raises(SocketClosedError):
            await sock.wait_send_all_might_not_block()
        nursery.start_soon(peer.count_to_eof)
        await sock.flush()
        assert sock.bytes_sent == LOTS


# Always legal, idempotent


@pytest.mark.parametrize("state", ["new", "entered", "connected", "closing", "closed", "left"])
@pytest.mark.parametrize("call", ["close", "aclose", "disconnect"])
async def test_every_end_is_legal_in_every_state(call: str, state: str) -> None:
    """Three times over, and it ends closed without an error being posted twice."""
    recorder = EventRecorder()

    async def end(sock: TCPSocket) -> None:
        for _ in range(3):
            if call == "close":
                sock.close()
            else:
                with trio.testing.assert_checkpoints():
                    await getattr(sock, call)(0.001)
            assert sock.state is SocketState.CLOSED

    sock = TCPSocket(handler=recorder)
    if state == "new":
        await end(sock)
    with raw_listener(small=True) as listener:
        sock.address, sock.port = listener.getsockname()
        async with trio.open_nursery() as nursery:
            async with sock:
                if state not in ("new", "entered"):
                    await sock.connect()
                if state == "closing":
                    sock.write(bytes(LOTS))
                    nursery.start_soon(sock.aclose, 10)
                    await settle()
                    assert sock.state is SocketState.CLOSING
                elif state == "closed":
                    sock.close()
                if state != "left":
                    await end(sock)
            await end(sock)
    expected = 1 if call == "disconnect" and state == "connected" else 0
    assert recorder.names.count("on_error") == expected
    check_grammar(recorder.events)


@pytest.mark.parametrize("call", ["close", "aclose", "disconnect"])
async def test_every_end_is_legal_while_connecting(call: str) -> None:
    """It ends the attempt, without an event."""
    resolver = GatedResolver()
    recorder = EventRecorder()
    async with TCPSocket("some.host", 80, handler=recorder) as sock:
        async with trio.open_nursery() as nursery:

            async def connect() -> None:
                with pytest.raises(SocketClosedError):
                    await sock.connect()

            nursery.start_soon(connect)
            await resolver.called.wait()
            if call == "close":
                sock.close()
            else:
                await getattr(sock, call)()
            assert sock.state is SocketState.CLOSED
    assert recorder.events == []


async def test_a_bad_grace_is_refused_and_changes_nothing() -> None:
    """Not a number, negative, NaN."""
    async with linked() as (sock, _):
        for call in (sock.aclose, sock.disconnect):
            with pytest.raises(TypeError, match="grace must be a number of seconds"):
                await call("5")  # type: ignore[arg-type]
            for wrong in (-1, float("nan")):
                with pytest.raises(ValueError, match="grace must be at least 0 seconds"):
                    await call(wrong)
        assert sock.is_connected
        await sock.aclose(float("inf"))


# aclose()


async def test_aclose_sends_the_queue_first() -> None:
    """Then FIN; the peer gets all, in whatever order it takes it."""
    recorder = EventRecorder()
    async with linked(small=True, handler=recorder) as (sock, peer):
        async with trio.open_nursery() as nursery:
            sock.write(bytes(LOTS))
            nursery.start_soon(sock.aclose)
            assert await end_seen_by(peer) == (LOTS, "FIN")
        assert sock.state is SocketState.CLOSED
        assert recorder.calls[-1] == ("on_send_complete", False)
    check_grammar(recorder.events, queued=LOTS, peer_received=LOTS)


async def test_aclose_without_unread_input_does_not_wait() -> None:
    """The OS delivers the rest."""
    async with linked() as (sock, peer):
        await sock.send_all(b"x" * 1000)
        with trio.testing.assert_checkpoints():
            await sock.aclose()
        assert sock.handle == -1
        assert await end_seen_by(peer) == (1000, "FIN")


async def test_aclose_gives_up_after_grace(mock_clock: trio.testing.MockClock) -> None:
    """As ``close`` then: the rest is dropped."""
    recorder = EventRecorder()
    async with linked(small=True, handler=recorder) as (sock, peer):
        sock.write(bytes(LOTS))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sock.aclose)
            await settle()
            mock_clock.jump(4.9)
            await settle()
            assert sock.state is SocketState.CLOSING
            mock_clock.jump(0.2)
        assert sock.state is SocketState.CLOSED
        assert await end_seen_by(peer) == (sock.bytes_sent, "FIN")
    assert recorder.calls[-1] == ("on_send_complete", True)


async def test_aclose_lets_a_running_send_all_finish() -> None:
    """It is part of the queue."""
    async with linked(small=True) as (sock, peer), trio.open_nursery() as nursery:
        nursery.start_soon(sock.send_all, bytes(LOTS))
        await settle()
        nursery.start_soon(sock.aclose)
        assert await end_seen_by(peer) == (LOTS, "FIN")


async def test_a_send_all_that_aclose_could_not_wait_for() -> None:
    """It raises, and the books tell how far it came."""
    recorder = EventRecorder()
    async with linked(small=True, handler=recorder) as (sock, peer):
        async with trio.open_nursery() as nursery:

            async def send() -> None:
                with pytest.raises(SocketClosedError):
                    await sock.send_all(bytes(LOTS))

            nursery.start_soon(send)
            await settle()
            await sock.aclose(0)
        assert await end_seen_by(peer) == (sock.bytes_sent, "FIN")
    check_grammar(recorder.events, peer_received=sock.bytes_sent)


@pytest.mark.parametrize("already", [True, False])
async def test_a_cancelled_aclose_closes_at_once(already: bool) -> None:
    """Cancelled before or while it waits; ``aclose_forcefully`` is made of this."""
    recorder = EventRecorder()
    async with linked(small=True, handler=recorder) as (sock, peer):
        sock.write(bytes(LOTS))
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                if already:
                    scope.cancel()
                nursery.start_soon(sock.aclose)
                await settle_shielded()
                scope.cancel()
        assert scope.cancelled_caught
        assert sock.state is SocketState.CLOSED
        assert recorder.calls[-1] == ("on_send_complete", True)
        assert await end_seen_by(peer) == (sock.bytes_sent, "FIN")


async def settle_shielded() -> None:
    with trio.CancelScope(shield=True):
        await settle()


async def test_a_cancelled_aclose_with_nothing_to_wait_for() -> None:
    """It has closed when it raises."""
    async with linked() as (sock, _):
        with trio.CancelScope() as scope:
            scope.cancel()
            await sock.aclose()
        assert scope.cancelled_caught
        assert sock.state is SocketState.CLOSED


async def test_several_acloses_and_a_close() -> None:
    """All return when the first of them has closed; the shortest grace wins."""
    async with linked(small=True) as (sock, _):
        sock.write(bytes(LOTS))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sock.aclose)
            nursery.start_soon(sock.aclose, 1000)
            await settle()
            await sock.aclose(0)
            assert sock.state is SocketState.CLOSED
    async with linked(small=True) as (sock, _):
        sock.write(bytes(LOTS))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sock.aclose)
            await settle()
            sock.close()


async def test_abort_send_lets_aclose_finish() -> None:
    """With the queue gone there is nothing to wait for."""
    async with linked(small=True) as (sock, peer), trio.open_nursery() as nursery:
        sock.write(bytes(LOTS))
        nursery.start_soon(sock.aclose)
        await settle()
        sock.abort_send()
        assert await end_seen_by(peer) == (sock.bytes_sent, "FIN")


async def test_both_sides_close_at_once() -> None:
    """F6: nobody is reset, everything arrives."""
    async with linked(small=True) as (sock, peer), trio.open_nursery() as nursery:
        sock.write(bytes(LOTS))
        nursery.start_soon(sock.aclose)
        peer.fin()
        assert await end_seen_by(peer) == (LOTS, "FIN")


async def test_the_peer_s_end_does_not_cut_a_graceful_close_short() -> None:
    """It ended its direction and reads on: it gets the whole queue."""
    async with linked(small=True) as (sock, peer), trio.open_nursery() as nursery:
        sock.write(bytes(LOTS))
        nursery.start_soon(sock.aclose)
        await settle()
        peer.fin()
        await settle()
        assert sock.state is SocketState.CLOSING
        assert await end_seen_by(peer) == (LOTS, "FIN")


# Unread input must not destroy what was sent


@pytest.mark.parametrize("where", ["in our buffer", "in the OS", "still to come"])
async def test_a_reply_arrives_whole_whatever_was_unread(where: str) -> None:
    """RFC 2525, 2.17: closing with unread input resets, and the reset eats the reply."""
    reply = os.urandom(100_000)
    limit = 2**20 if where == "in our buffer" else 1000
    async with linked(receive_buffer_limit=limit) as (sock, peer):
        await peer.send(bytes(50_000))
        await settle()
        available = sock.bytes_available
        assert available == min(limit, 50_000)
        async with trio.open_nursery() as nursery:
            sock.write(reply)
            nursery.start_soon(sock.aclose)
            if where == "still to come":
                await peer.send(bytes(50_000))
        assert await peer.recv_all_to_eof() == reply
        assert sock.bytes_available == available


async def test_what_has_arrived_unread_makes_no_reset_when_all_is_acknowledged() -> None:
    """It is discarded first, whichever task is first; the peer can end its direction."""
    for _ in range(20):
        async with memory_socket_pair(receive_buffer_limit=1) as (sock, peer):
            sock.write(b"cd")
            peer.write(b"ab")
            await trio.testing.wait_all_tasks_blocked()
            await sock.aclose()
            await peer.send_eof()
            assert await peer.receive_exactly(2) == b"cd"
            assert await peer.receive_some() == b""


async def test_a_peer_that_never_stops_sending_cannot_hold_us() -> None:
    """It acknowledged all we sent: that is enough."""
    async with linked(small=True, receive_buffer_limit=10) as (sock, peer):
        async with trio.open_nursery() as nursery:

            async def flood() -> None:
                with pytest.raises((ConnectionResetError, BrokenPipeError)):
                    while True:
                        await peer.send(bytes(1000))

            nursery.start_soon(flood)
            await settle()
            sock.write(b"reply")
            await sock.aclose()
            assert sock.state is SocketState.CLOSED
        assert peer.sock.recv(10) == b"reply"


async def test_lingering_ends_with_grace(
    mock_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the OS does not tell what was acknowledged, and the peer does not end."""
    monkeypatch.setattr("trio_xsock._network.kernel.unacknowledged_bytes", lambda _: None)
    async with linked() as (sock, peer):
        await peer.send(b"unread")
        await settle()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sock.aclose)
            await settle()
            for _ in range(8):
                mock_clock.jump(0.5)
                await settle()
            assert sock.state is SocketState.CLOSING
            assert peer.sock.recv(10) == b""
            mock_clock.jump(1)
        assert sock.state is SocketState.CLOSED


async def test_lingering_ends_with_the_peer_s_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then nothing can turn our FIN into a reset any more."""
    monkeypatch.setattr("trio_xsock._network.kernel.unacknowledged_bytes", lambda _: None)
    async with linked() as (sock, peer):
        await peer.send(b"unread")
        await settle()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sock.aclose, 1000)
            await settle()
            await peer.send(b"more")
            await settle()
            assert sock.state is SocketState.CLOSING
            peer.fin()
        assert sock.read_all() == b"unread"


async def test_a_reset_while_lingering() -> None:
    """It ends the closing, silently: nobody asked for that peer any more."""
    recorder = EventRecorder()
    async with linked(small=True, handler=recorder) as (sock, peer):
        await peer.send(b"unread")
        await settle()
        async with trio.open_nursery() as nursery:
            sock.write(bytes(LOTS))
            nursery.start_soon(sock.aclose, 1000)
            await settle()
            peer.reset()
        assert sock.state is SocketState.CLOSED
        with pytest.raises(SocketClosedError):
            sock.write(b"x")
    assert recorder.names[-1] == "on_send_complete"
    check_grammar(recorder.events)


# disconnect()


async def test_disconnect_tells_our_own_consumers() -> None:
    """One 102 with LOCAL, after the sends; the peer sees FIN."""
    recorder = EventRecorder()
    async with linked(small=True, handler=recorder) as (sock, peer):
        channel = sock.events
        async with trio.open_nursery() as nursery:
            sock.write(bytes(LOTS))
            nursery.start_soon(sock.disconnect)
            assert await end_seen_by(peer) == (LOTS, "FIN")
        assert kinds(recorder)[-2:] == [SendComplete, ErrorOccurred]
        [error] = recorder.errors
        assert isinstance(error, LostConnectionError)
        assert (error.reason, error.error_number) == (LossReason.LOCAL, 102)
        assert f"127.0.0.1:{sock.port}: we disconnected" in str(error)
        assert sock.last_error is error
        assert [event async for event in channel][-1] == ErrorOccurred(sock, error)
        with pytest.raises(SocketClosedError):
            sock.write(b"x")
        with pytest.raises(SocketClosedError):
            await sock.receive_some()
    check_grammar(recorder.events, queued=LOTS)


async def test_two_disconnects_tell_once() -> None:
    """The second one does not unsay it."""
    recorder = EventRecorder()
    async with linked(small=True, handler=recorder) as (sock, _):
        sock.write(bytes(LOTS))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sock.disconnect, 0.01)
            nursery.start_soon(sock.disconnect, 0.02)
    assert [error.reason for error in recorder.errors] == [LossReason.LOCAL]  # type: ignore[attr-defined]


async def test_a_cancelled_disconnect_tells_as_well() -> None:
    """It closed at once, and did disconnect."""
    recorder = EventRecorder()
    async with linked(small=True, handler=recorder) as (sock, _):
        sock.write(bytes(LOTS))
        with trio.CancelScope() as scope:
            scope.cancel()
            await sock.disconnect()
        assert kinds(recorder)[-2:] == [SendComplete, ErrorOccurred]
    check_grammar(recorder.events)


# The peer ends first


@pytest.mark.parametrize(
    ("with_handler", "allow", "stays"),
    [(False, None, True), (True, None, False), (True, True, True), (False, False, False)],
)
async def test_who_stays_open_when_the_peer_ends(
    with_handler: bool, allow: bool | None, stays: bool
) -> None:
    """The default depends on there being a handler; the event is the same, after the data."""
    recorder = EventRecorder()
    handler = recorder if with_handler else None
    async with linked(handler=handler, allow_half_close=allow) as (sock, peer):
        channel = sock.events
        peer.send_nowait(b"last")
        peer.fin()
        events = [event async for event in channel]
        await settle()
        assert [type(event) for event in events] == [Connected, DataAvailable, ErrorOccurred]
        error = events[-1].error
        assert isinstance(error, LostConnectionError)
        assert error.reason is LossReason.REMOTE_CLOSED
        assert "the peer closed the connection" in str(error)
        assert sock.last_error is error
        assert sock.state is (SocketState.CONNECTED if stays else SocketState.CLOSED)
        assert sock.is_connected is stays
        assert await sock.receive_some() == b"last"
        assert await sock.receive_some() == b""
        if stays:
            await sock.send_all(b"reply")
            await sock.aclose()
            assert await peer.recv_all_to_eof() == b"reply"
        else:
            with pytest.raises(LostConnectionError) as caught:
                sock.write(b"x")
            assert caught.value is error
            assert await end_seen_by(peer) == (0, "FIN")
        assert await receive_outcome(sock) in (b"", SocketClosedError)


async def receive_outcome(sock: TCPSocket) -> object:
    try:
        return await sock.receive_some()
    except SocketError as error:
        return type(error)


@pytest.mark.parametrize("allow", [True, False])
async def test_what_is_queued_is_kept_when_the_peer_ends(allow: bool) -> None:
    """And sent, whether we stay open or not."""
    recorder = EventRecorder()
    async with linked(small=True, handler=recorder, allow_half_close=allow) as (sock, peer):
        sock.write(bytes(LOTS))
        peer.fin()
        await recorder.wait_for(ErrorOccurred)
        assert sock.bytes_left_to_send
        assert sock.state is (SocketState.CONNECTED if allow else SocketState.CLOSING)
        if allow:
            sock.write(b"x")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(sock.aclose)
                assert await end_seen_by(peer) == (LOTS + 1, "FIN")
        else:
            assert await end_seen_by(peer) == (LOTS, "FIN")
            await recorder.wait_for(SendComplete)
            assert sock.state is SocketState.CLOSED
    check_grammar(recorder.events, queued=LOTS + allow)


async def test_closing_by_itself_gives_up_after_a_grace(
    mock_clock: trio.testing.MockClock,
) -> None:
    """A peer that ended and does not read cannot hold the socket for ever."""
    recorder = EventRecorder()
    async with linked(small=True, handler=recorder) as (sock, peer):
        sock.write(bytes(LOTS))
        peer.fin()
        await recorder.wait_for(ErrorOccurred)
        mock_clock.jump(4.9)
        await settle()
        assert sock.state is SocketState.CLOSING
        mock_clock.jump(0.2)
        await recorder.wait_for(SendComplete)
        assert sock.state is SocketState.CLOSED
        assert recorder.calls[-1] == ("on_send_complete", True)
        with pytest.raises(LostConnectionError):
            await sock.flush()


async def test_aclose_while_the_socket_closes_by_itself() -> None:
    """It waits for that, with its own grace; from then on it was us."""
    recorder = EventRecorder()
    async with linked(small=True, handler=recorder) as (sock, peer):
        sock.write(bytes(LOTS))
        peer.fin()
        await recorder.wait_for(ErrorOccurred)
        with pytest.raises(LostConnectionError):
            sock.write(b"x")
        await sock.aclose(0)
        assert sock.state is SocketState.CLOSED
        with pytest.raises(SocketClosedError):
            sock.write(b"x")


async def test_an_echo_handler_answers_before_the_socket_closes_by_itself() -> None:
    """Request and end come in one go; the reply goes out all the same."""

    class Echo:
        def on_data_available(self, socket: TCPSocket) -> None:
            socket.write(socket.read_all())

    for size in (1, 100_000):
        async with linked(handler=Echo()) as (sock, peer), trio.open_nursery() as nursery:
            nursery.start_soon(peer.send, bytes(size))
            await settle()
            peer.fin()
            assert await end_seen_by(peer) == (size, "FIN")
            await settle()
            assert sock.state is SocketState.CLOSED


async def test_waiting_readers_get_the_rest_and_the_end() -> None:
    """The loss is no error for them."""
    async with linked() as (sock, peer), trio.open_nursery() as nursery:
        chunks: list[bytes] = []

        async def read() -> None:
            async for chunk in sock:
                chunks.append(chunk)  # noqa: PERF401

        nursery.start_soon(read)
        await peer.send(b"abc")
        await settle()
        peer.fin()
    assert b"".join(chunks) == b"abc"


# Our direction ends first


async def test_half_close_the_other_way() -> None:
    """Reading goes on; when the peer ends too, the socket is closed by itself."""
    recorder = EventRecorder(read=True)
    async with linked(handler=recorder) as (sock, peer):
        sock.write(b"request")
        await sock.send_eof()
        assert await end_seen_by(peer) == (7, "FIN")
        assert (sock.state, sock.is_connected) == (SocketState.CONNECTED, False)
        await peer.send(b"reply")
        await recorder.wait_for(DataAvailable)
        peer.fin()
        await recorder.wait_for(ErrorOccurred)
        assert (sock.state, sock.handle) == (SocketState.CLOSED, -1)
        with pytest.raises(SocketClosedError, match="ended by send_eof"):
            sock.write(b"x")
    assert recorder.received == b"reply"
    check_grammar(recorder.events, queued=7, peer_received=7)


@pytest.mark.parametrize("with_handler", [True, False])
async def test_the_peer_ends_while_our_last_bytes_go_out(with_handler: bool) -> None:
    """``send_eof`` has been called: all is sent, then both have ended, and it is over."""
    recorder = EventRecorder()
    async with linked(small=True, handler=recorder if with_handler else None) as (sock, peer):
        async with trio.open_nursery() as nursery:
            sock.write(bytes(LOTS))
            nursery.start_soon(sock.send_eof)
            await settle()
            peer.fin()
            await settle()
            assert sock.state is SocketState.CONNECTED
            assert await end_seen_by(peer) == (LOTS, "FIN")
        assert sock.state is SocketState.CLOSED


async def test_aclose_after_send_eof() -> None:
    """With unread input it lingers as ever."""
    async with linked(receive_buffer_limit=10) as (sock, peer):
        await peer.send(bytes(1000))
        sock.write(b"reply")
        await sock.send_eof()
        await sock.aclose()
        assert await end_seen_by(peer) == (5, "FIN")


# Losses


@pytest.mark.parametrize("with_handler", [True, False])
async def test_reset(with_handler: bool) -> None:
    """What is queued is dropped, one error, and every call raises it until the next connect."""
    recorder = EventRecorder()
    async with linked(small=True, handler=recorder if with_handler else None) as (sock, peer):
        channel = sock.events
        sock.write(bytes(LOTS))
        peer.reset()
        events = [event async for event in channel]
        assert [type(event) for event in events] == [
            Connected,
            SendProgress,
            SendComplete,
            ErrorOccurred,
        ]
        error = events[-1].error
        assert isinstance(error, LostConnectionError)
        assert (error.reason, error.error_number) == (LossReason.RESET, 102)
        assert error.errno == errno.ECONNRESET
        assert isinstance(error.__cause__, ConnectionResetError)
        assert "127.0.0.1" in str(error)
        assert (sock.state, sock.handle, sock.last_error) == (SocketState.CLOSED, -1, error)
        await settle()
        calls: list[Callable[[], Awaitable[object]]] = [
            sock.receive_some,
            lambda: sock.receive_exactly(1),
            lambda: sock.send_all(b"x"),
            sock.flush,
            sock.send_eof,
            sock.wait_send_all_might_not_block,
        ]
        for call in calls * 2:
            with pytest.raises(LostConnectionError) as caught:
                await call()
            assert caught.value is error
        with pytest.raises(trio.BrokenResourceError):
            sock.write(b"x")
    if with_handler:
        check_grammar(recorder.events)


async def test_data_before_a_reset_is_read_first() -> None:
    """It is announced, and given out; then comes the loss."""
    recorder = EventRecorder()
    async with linked(handler=recorder) as (sock, peer):
        await peer.send(b"before")
        await recorder.wait_for(DataAvailable)
        peer.reset()
        await recorder.wait_for(ErrorOccurred)
        assert sock.bytes_available == 6
        assert await sock.receive_exactly(4) == b"befo"
        assert await sock.receive_some() == b"re"
        with pytest.raises(LostConnectionError):
            await sock.receive_some()


@pytest.mark.parametrize("waits", ["receive_some", "flush", "send_all", "might_not_block"])
async def test_whoever_waits_is_told_of_a_loss(waits: str) -> None:
    """F27: nothing hangs; all get the same object."""
    async with linked(small=True) as (sock, peer):
        sock.write(bytes(LOTS))
        waiting: Any = {
            "receive_some": sock.receive_some,
            "flush": sock.flush,
            "send_all": lambda: sock.send_all(b"x"),
            "might_not_block": sock.wait_send_all_might_not_block,
        }[waits]
        async with trio.open_nursery() as nursery:

            async def wait() -> None:
                with pytest.raises(LostConnectionError) as caught:
                    await waiting()
                assert caught.value is sock.last_error

            nursery.start_soon(wait)
            await settle()
            peer.reset()


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ETIMEDOUT, LossReason.TIMED_OUT),
        (errno.EHOSTUNREACH, LossReason.TIMED_OUT),
        (errno.ECONNRESET, LossReason.RESET),
        (errno.EIO, LossReason.RESET),
    ],
)
async def test_what_the_os_says_becomes_a_reason(
    number: int, reason: LossReason, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading found it; the cause is the OS's error."""
    recorder = EventRecorder()

    def fail(*_: Any) -> bytes:
        raise OSError(number, os.strerror(number))

    async with linked(handler=recorder) as (sock, peer):
        with monkeypatch.context() as patch:
            patch.setattr(socket.socket, "recv", fail)
            peer.send_nowait(b"x")
            await recorder.wait_for(ErrorOccurred)
        [error] = recorder.errors
        assert isinstance(error, LostConnectionError)
        assert (error.reason, error.errno) == (reason, number)
        assert isinstance(error.__cause__, OSError)
        assert os.strerror(number) in str(error)
        assert sock.state is SocketState.CLOSED


async def test_our_close_after_a_loss() -> None:
    """From then on calls say that we closed; no further event."""
    recorder = EventRecorder()
    async with linked(handler=recorder) as (sock, peer):
        peer.reset()
        await recorder.wait_for(ErrorOccurred)
        last = sock.last_error
        await sock.aclose()
        with pytest.raises(SocketClosedError):
            sock.write(b"x")
        with pytest.raises(SocketClosedError):
            await sock.receive_some()
        await sock.disconnect()
        assert sock.last_error is last
    assert len(recorder.errors) == 1


async def test_a_peer_that_closed_altogether() -> None:
    """It ended in good order, then resets what we send: the socket is closed by then."""
    recorder = EventRecorder()
    async with linked(handler=recorder, allow_half_close=True) as (sock, peer):
        peer.close()
        await recorder.wait_for(ErrorOccurred)
        assert sock.is_connected
        with pytest.raises(LostConnectionError) as caught:
            while True:
                await sock.send_all(b"x")
        assert caught.value.reason is LossReason.RESET
        assert (sock.state, sock.handle, sock.is_connected) == (SocketState.CLOSED, -1, False)
        assert await sock.receive_some() == b""
        with pytest.raises(LostConnectionError) as again:
            sock.write(b"x")
        assert again.value is caught.value
        await settle()
    assert [error.reason for error in recorder.errors] == [LossReason.REMOTE_CLOSED]  # type: ignore[attr-defined]
    check_grammar(recorder.events)


async def test_a_loss_found_by_sending_while_reading_pauses() -> None:
    """The reader gets what had arrived, however small its buffer; the loss comes after it."""
    recorder = EventRecorder()
    async with linked(handler=recorder, receive_buffer_limit=10) as (sock, peer):
        await peer.send(b"0123456789abcdefghij")
        await settle()
        peer.reset()
        with pytest.raises(LostConnectionError) as caught:
            await sock.send_all(b"x")
        assert not sock.is_connected
        assert recorder.errors == []
        received = b""
        while not sock.at_eof:
            received += sock.read(3)
            await settle()
        assert received == b"0123456789abcdefghij"
        assert recorder.errors == [caught.value]
        with pytest.raises(LostConnectionError) as again:
            await sock.receive_some()
        assert again.value is caught.value
        assert sock.state is SocketState.CLOSED
    check_grammar(recorder.events)


async def test_ending_our_direction_finds_the_connection_dead() -> None:
    """``send_eof`` raises the loss; ``aclose`` just closes."""
    for call in ("send_eof", "aclose"):
        async with linked() as (sock, peer):
            peer.reset()
            if call == "send_eof":
                with pytest.raises(LostConnectionError) as caught:
                    await sock.send_eof()
                assert caught.value is sock.last_error
            else:
                await sock.aclose()
            assert sock.state is SocketState.CLOSED


async def test_urgent_bytes_do_not_disturb() -> None:
    """F14: no crash, no spin; the stream carries the normal bytes."""
    async with linked() as (sock, peer):
        peer.sock.send(b"ab")
        peer.sock.send(b"!", socket.MSG_OOB)
        peer.sock.send(b"cd")
        assert await sock.receive_exactly(4) == b"abcd"
        await settle()
        assert sock.is_connected


# What an error keeps alive


async def test_an_error_on_its_way_keeps_its_traceback() -> None:
    """Also as part of a group, or as the cause or context of another; kept aside, it does not."""

    async def lose() -> LostConnectionError:
        async with linked() as (sock, peer):
            peer.reset()
            try:
                await sock.receive_some()
            except LostConnectionError as error:
                if where == "itself":
                    raise
                if where == "group":
                    raise ExceptionGroup("", [KeyError(), error]) from None
                if where == "cause":
                    raise KeyError from error
                if where == "context":
                    raise KeyError  # noqa: B904
                return error

    for where in ("itself", "group", "cause", "context", "kept"):
        error: BaseException
        try:
            error = await lose()
        except Exception as exc:
            error = exc
        if isinstance(error, ExceptionGroup):
            error = error.exceptions[1]
        elif isinstance(error, KeyError):
            assert error.__context__ is not None
            error = error.__context__
        assert isinstance(error, LostConnectionError)
        assert (error.__traceback__ is None) is (where == "kept")


async def test_a_caller_s_frame_does_not_keep_the_socket() -> None:
    """The loss was raised through it, and the socket keeps the loss."""

    async def use() -> weakref.ref[TCPSocket]:
        with raw_listener() as listener:
            sock = TCPSocket("127.0.0.1", listener.getsockname()[1])
            async with sock:
                await sock.connect()
                with await accept(listener) as peer:
                    shrink_send_buffer(sock)
                    peer.reset()
                    try:
                        await sock.receive_some()
                    except LostConnectionError:
                        pass
            return weakref.ref(sock)

    gc.disable()
    try:
        assert (await use())() is None
    finally:
        gc.enable()


# Connections of a server


async def test_a_server_s_connection_ends_gracefully_on_its_own() -> None:
    """It gives its place back as it begins to close, and its tasks as it has closed."""
    for handled in (True, False):
        recorder = EventRecorder()

        def make(handler: object = recorder if handled else None) -> TCPSocket:
            return TCPSocket(handler=handler)

        async with ServerSocket(address="127.0.0.1", add_socket=make) as server:
            await server.listen()
            with await RawPeer.connect(server.port) as peer:
                sock = await server.accept() if not handled else await first(server)
                assert server.active_connections() == [sock]
                sock.write(bytes(LOTS))
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(server.aclose)
                    assert await end_seen_by(peer) == (LOTS, "FIN")
                assert server.active_connections() == []
                assert sock.state is SocketState.CLOSED
        sock.close()
        assert sock.handle == -1


async def first(server: ServerSocket) -> TCPSocket:
    await until(server.active_connections)
    return server.active_connections()[0]


async def test_a_server_s_connection_ends_while_the_server_goes_on() -> None:
    """No task of it is left parked."""
    async with ServerSocket(address="127.0.0.1") as server:
        await server.listen()
        await settle()
        before = trio.lowlevel.current_statistics().tasks_living
        for _ in range(3):
            with await RawPeer.connect(server.port) as peer:
                sock = await server.accept()
                await peer.send(b"unread")
                await settle()
                sock.write(b"reply")
                await sock.aclose()
                assert await peer.recv_all_to_eof() == b"reply"
            await settle()
        assert trio.lowlevel.current_statistics().tasks_living == before


# Odd moments


async def test_abort_while_lingering() -> None:
    """There is nothing left to abort, and nothing begins anew."""
    async with linked(receive_buffer_limit=10) as (sock, peer), trio.open_nursery() as nursery:
        await peer.send(bytes(1000))
        await settle()
        sock._connection.intake.watch.reading(False)  # type: ignore[union-attr]
        close(sock._connection, 1000)
        close(sock._connection, 1)
        after_sending(sock._connection)
        sock.abort_send()
        nursery.start_soon(sock.aclose)
        assert await end_seen_by(peer) == (0, "FIN")


async def test_a_wake_up_too_many_while_closing() -> None:
    """A step that finds nothing does nothing."""
    async with linked(small=True) as (sock, peer), trio.open_nursery() as nursery:
        sock.write(bytes(LOTS))
        nursery.start_soon(sock.aclose)
        await settle()
        assert await sock.poll() is False
        assert sock.state is SocketState.CLOSING
        assert await end_seen_by(peer) == (LOTS, "FIN")


async def test_a_reset_whose_error_a_send_took_is_no_clean_end() -> None:
    """``sendfile`` drops the error where some went, and ``recv`` then tells of an end like any."""
    recorder = EventRecorder()
    async with linked(handler=recorder) as (sock, peer):
        peer.reset()
        with descriptor_of(sock) as raw:
            assert raw.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNRESET
        with pytest.raises(LostConnectionError) as caught:
            await sock.receive_some()
        assert caught.value.reason is LossReason.RESET
        assert recorder.errors == [caught.value]
        with pytest.raises(LostConnectionError) as again:
            await sock.send_all(b"x")
        assert again.value is caught.value is sock.last_error


@pytest.mark.parametrize("queued", [0, LOTS])
async def test_a_clean_end_is_told_from_a_reset_by_the_hub(
    queued: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reports a hang-up for a reset only. Of a send that left a rest, the OS is asked."""
    asked: list[socket.socket] = []

    def was_reset(sock: socket.socket) -> bool:
        asked.append(sock)
        return False

    monkeypatch.setattr(kernel, "was_reset", was_reset)
    recorder = EventRecorder()
    async with linked(small=True, handler=recorder) as (sock, peer):
        sock.write(bytes(queued))
        hub_reads = isinstance(sock._connection.intake.watch, EpollWatch)
        peer.fin()
        assert await end_seen_by(peer) == (queued, "FIN")
        await recorder.wait_for(ErrorOccurred)
        assert isinstance(sock.last_error, LostConnectionError)
        assert sock.last_error.reason is LossReason.REMOTE_CLOSED
        assert bool(asked) == (queued > 0 or not hub_reads)


async def test_the_same_on_tls() -> None:
    """There it is not taken for a stream that was cut off either."""
    async with tls_linked() as (sock, peer):
        peer.raw.reset()
        with descriptor_of(sock) as raw:
            assert raw.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNRESET
        with pytest.raises(LostConnectionError) as caught:
            await sock.receive_some()
        assert caught.value.reason is LossReason.RESET
        assert sock.last_error is caught.value


@pytest.mark.parametrize("number", [errno.ECONNRESET, errno.ETIMEDOUT])
async def test_an_end_of_ours_that_finds_the_connection_lost(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The OS then only says ENOTCONN; the error is of the cause, as for any other call."""
    recorder = EventRecorder()
    async with linked(handler=recorder) as (sock, peer):
        if number != errno.ECONNRESET:
            monkeypatch.setattr(kernel, "why_lost", lambda _: OSError(number, "gone"))
        peer.reset()
        with descriptor_of(sock) as raw:  # before anybody looks
            poll = select.poll()
            poll.register(raw, 0)
            assert poll.poll(10_000)
        with pytest.raises(LostConnectionError) as caught:
            await sock.send_eof()
        assert caught.value.errno == number
        timed_out = number == errno.ETIMEDOUT
        assert caught.value.reason is (LossReason.TIMED_OUT if timed_out else LossReason.RESET)
        assert recorder.errors == [caught.value]

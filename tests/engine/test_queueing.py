"""The send queue as users see it: what is known of it, its limit, flushing and aborting."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from tests.support import EventRecorder, settle
from tests.support.pairs import linked
from trio_xsock import (
    InvalidStateError,
    LostConnectionError,
    OutOfMemoryError,
    SendComplete,
    SendProgress,
    SocketClosedError,
    SocketError,
    SocketState,
    TCPSocket,
)

LOTS = 3_000_000

# Facts


async def test_what_is_queued_and_what_is_sent() -> None:
    """Together they are what was given; what was sent counts for this connection alone."""
    async with linked(small=True) as (sock, peer):
        assert (sock.bytes_sent, sock.bytes_left_to_send) == (0, 0)
        sock.write(bytes(LOTS))
        assert 0 < sock.bytes_sent < LOTS
        assert sock.bytes_sent + sock.bytes_left_to_send == LOTS
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.recv_exactly, LOTS)
            await sock.flush()
        assert (sock.bytes_sent, sock.bytes_left_to_send) == (LOTS, 0)
        sock.close()
        assert sock.bytes_sent == LOTS
    assert (TCPSocket().bytes_sent, TCPSocket().bytes_left_to_send) == (0, 0)


# Its limit


async def test_the_send_buffer_is_limited() -> None:
    """108: the write that would exceed it is refused as a whole, never posted."""
    recorder = EventRecorder()
    async with linked(small=True, handler=recorder, send_buffer_limit=1000) as (sock, _):
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(sock.send_all, bytes(LOTS))
                await settle()
                refuse_too_much(sock)
                scope.cancel()
        assert sock.last_error is None
    assert recorder.names[-1] == "on_send_complete"
    assert recorder.errors == []


def refuse_too_much(sock: TCPSocket) -> None:
    queued = sock.bytes_left_to_send
    sock.write(bytes(600))
    with pytest.raises(
        OutOfMemoryError, match=r"401 bytes.*send_buffer_limit=1000.*flush"
    ) as caught:
        sock.write(bytes(401))
    assert caught.value.error_number == 108
    assert sock.bytes_left_to_send == queued + 600
    sock.write(bytes(400))
    with pytest.raises(OutOfMemoryError):
        sock.write(b"x")
    sock.send_buffer_limit = 1001
    sock.write(b"x")
    assert sock.bytes_left_to_send == queued + 1001


async def test_a_write_above_the_limit_is_refused_even_if_nothing_is_queued() -> None:
    """Whether the OS would take it at once must not matter."""
    async with linked(send_buffer_limit=10) as (sock, _):
        with pytest.raises(OutOfMemoryError):
            sock.write(bytes(11))
        sock.write(bytes(10))
        assert sock.bytes_sent == 10


async def test_send_all_is_not_limited() -> None:
    """It shows in ``bytes_left_to_send``, and leaves ``write`` its room."""
    async with linked(small=True, send_buffer_limit=10) as (sock, peer):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sock.send_all, bytes(LOTS))
            await settle()
            assert sock.bytes_left_to_send > LOTS / 2
            sock.write(bytes(10))
            with pytest.raises(OutOfMemoryError):
                sock.write(b"x")
            assert len(await peer.recv_exactly(LOTS + 10)) == LOTS + 10


# flush()


async def test_flush_returns_when_the_queue_is_empty() -> None:
    """At once, with a checkpoint, if it is already; all who wait return."""
    async with linked(small=True) as (sock, peer):
        with trio.testing.assert_checkpoints():
            await sock.flush()
        sock.write(bytes(LOTS))
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(sock.flush)
            await settle()
            assert sock.bytes_left_to_send
            nursery.start_soon(peer.recv_exactly, LOTS)
        assert sock.bytes_left_to_send == 0


async def test_flush_after_send_eof_and_after_the_peer_s_end() -> None:
    """There is still a queue to wait for."""
    async with linked() as (sock, peer):
        peer.fin()
        await settle()
        await sock.flush()
        await sock.send_eof()
        with pytest.raises(InvalidStateError):
            await sock.flush()
        assert sock.state is SocketState.CLOSED


@pytest.mark.parametrize("grace", [None, 0])
async def test_flush_while_the_socket_closes(grace: float | None) -> None:
    """It returns if all went out, and raises if it was dropped."""
    async with linked(small=True) as (sock, peer), trio.open_nursery() as nursery:
        sock.write(bytes(LOTS))

        async def flush() -> None:
            if grace is None:
                await sock.flush()
            else:
                with pytest.raises(SocketClosedError):
                    await sock.flush()

        nursery.start_soon(flush)
        await settle()
        if grace is None:
            nursery.start_soon(peer.count_to_eof)
            await sock.aclose()
        else:
            await sock.aclose(grace)


async def test_cancelling_flush_aborts_nothing() -> None:
    """The queue is as it was."""
    async with linked(small=True) as (sock, peer):
        sock.write(bytes(LOTS))
        for early in (True, False):
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    if early:
                        scope.cancel()
                    nursery.start_soon(sock.flush)
                    await settle()
                    scope.cancel()
            assert scope.cancelled_caught
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.recv_exactly, LOTS)
            await sock.flush()
        assert sock.bytes_sent == LOTS


@pytest.mark.parametrize("error", [LostConnectionError, SocketClosedError])
async def test_flush_that_ends_with_the_connection(error: type[SocketError]) -> None:
    """It raises what ended the queue, and so does whoever asks afterwards."""
    async with linked(small=True) as (sock, peer), trio.open_nursery() as nursery:
        sock.write(bytes(LOTS))

        async def flush() -> None:
            with pytest.raises(error):
                await sock.flush()

        nursery.start_soon(flush)
        nursery.start_soon(flush)
        await settle()
        if error is LostConnectionError:
            peer.reset()
        else:
            sock.close()
        await flush()


async def test_flush_without_a_connection() -> None:
    """There is none yet, or none any more."""
    with pytest.raises(InvalidStateError, match="never connected"):
        await TCPSocket().flush()
    async with linked() as (sock, _):
        sock.close()
        with pytest.raises(SocketClosedError):
            await sock.flush()


async def test_what_a_handler_writes_is_joined() -> None:
    """It waits in the queue until the handler has returned, and then goes at once."""
    left: list[int] = []

    def write(_: object) -> None:
        for _ in range(3):
            sock.write(b"abc")
            left.append(sock.bytes_left_to_send)

    recorder = EventRecorder(reactions={"on_data_available": write})
    async with linked(handler=recorder) as (sock, peer):
        await peer.send(b"x")
        assert await peer.recv_exactly(9) == b"abcabcabc"
        assert sock.bytes_left_to_send == 0
    assert left == [3, 6, 9]


# abort_send()


async def test_abort_send_drops_all_and_keeps_the_connection() -> None:
    """The peer receives exactly ``bytes_sent``, and what is sent afterwards."""
    async with linked(small=True) as (sock, peer):
        channel = sock.events
        sock.write(bytes(LOTS))
        sent = sock.bytes_sent
        sock.abort_send()
        assert (sock.bytes_sent, sock.bytes_left_to_send) == (sent, 0)
        assert sock.is_connected
        await channel.receive()
        assert channel.receive_nowait() == SendProgress(sock, sent, LOTS - sent, sent)
        assert channel.receive_nowait() == SendComplete(sock, True, sent, LOTS - sent)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sock.send_all, b"afterwards")
            assert await peer.recv_exactly(sent + 10) == bytes(sent) + b"afterwards"


async def test_abort_send_is_always_legal() -> None:
    """With nothing queued, it does nothing."""
    recorder = EventRecorder()
    sock = TCPSocket()
    sock.abort_send()
    async with linked(handler=recorder) as (sock, _):
        sock.abort_send()
        sock.close()
        sock.abort_send()
    assert recorder.names == ["on_connected"]


async def test_abort_send_ends_what_waits() -> None:
    """``send_all`` raises how far it came; ``flush`` returns, for the queue is empty."""
    async with linked(small=True) as (sock, _):
        async with trio.open_nursery() as nursery:

            async def send() -> None:
                with pytest.raises(SocketError, match=r"127\.0\.0\.1.*of 3000000 bytes") as caught:
                    await sock.send_all(bytes(LOTS))
                assert type(caught.value) is SocketError
                assert f"after {sock.bytes_sent} of" in str(caught.value)

            nursery.start_soon(send)
            await settle()
            nursery.start_soon(sock.flush)
            await settle()
            sock.abort_send()
        assert sock.is_connected

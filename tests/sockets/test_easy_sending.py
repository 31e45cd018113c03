"""Messages that are sent: whole or not at all, counted to the byte."""

from __future__ import annotations

import functools
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

from tests.support import EventRecorder, RawPeer, check_grammar, settle, until
from tests.support.messages import easy
from tests.support.sums import cancelled_send_beside_close
from trio_xsock import (
    EasyTCPSocket,
    InvalidStateError,
    LostConnectionError,
    Message,
    MessageDecoder,
    OutOfMemoryError,
    SendComplete,
    SendProgress,
    SocketClosedError,
    SocketError,
    encode_message,
)

LOTS = 3_000_000


async def read_messages(peer: RawPeer) -> list[Message]:
    """All messages up to the end, which comes between two of them."""
    decoder, messages = MessageDecoder(), []
    while data := await peer.recv_some():
        decoder.feed(data)
        while decoder.pending:
            messages += decoder.decode()
    assert decoder.held == 0
    return messages


@asynccontextmanager
async def reading(peer: RawPeer) -> AsyncIterator[list[Message]]:
    """What the peer reads until the end of the connection, complete when the block is left."""
    messages: list[Message] = []

    async def read() -> None:
        messages.extend(await read_messages(peer))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        yield messages


async def test_messages_arrive_as_documented() -> None:
    """From plain calls and from awaited ones, in order."""
    async with easy() as (sock, peer):
        sock.send_message(1, "grüße")
        sock.send_message(2)
        with trio.testing.assert_checkpoints():
            await sock.send(Message(3, b"abc"))
        await sock.send(Message(4, bytearray(b"d")))  # type: ignore[arg-type]
        sock.send_message(2**31 - 1, memoryview(b"e"))
        assert sock.bytes_sent == 5 * 12 + 12
        await sock.aclose()
        assert await read_messages(peer) == [
            (1, "grüße".encode()),
            (2, b""),
            (3, b"abc"),
            (4, b"d"),
            (2**31 - 1, b"e"),
        ]


@pytest.mark.parametrize(
    ("command", "data", "error"),
    [(-1, b"", ValueError), ("1", b"", TypeError), (1, 5, TypeError), (1, None, TypeError)],
)
async def test_what_is_no_message(command: Any, data: Any, error: type[Exception]) -> None:
    """Refused before anything is queued."""
    async with easy() as (sock, _):
        with pytest.raises(error):
            sock.send_message(command, data)
        with pytest.raises(error):
            await sock.send(Message(command, data))
        assert sock.bytes_sent == sock.bytes_left_to_send == 0


@pytest.mark.parametrize("value", [b"x\x00", (1, b"data"), [1, b"data"], "ab", None])
async def test_only_a_message_can_be_sent(value: Any) -> None:
    """Nothing that only unpacks like one, as two bytes do."""
    async with easy() as (sock, _):
        with pytest.raises(TypeError, match="a Message is needed, not"):
            await sock.send(value)
        assert sock.bytes_sent == sock.bytes_left_to_send == 0


async def test_calls_in_the_wrong_state() -> None:
    """Before there is a connection, and after our end of it."""
    async with EasyTCPSocket() as sock:
        with pytest.raises(InvalidStateError, match="not connected"):
            sock.send_message(1)
        with pytest.raises(InvalidStateError, match="not connected"):
            await sock.send(Message(1, b""))
    async with easy() as (sock, _):
        sock.close()
        with pytest.raises(SocketClosedError):
            sock.send_message(1)
        with pytest.raises(SocketClosedError):
            await sock.send(Message(1, b""))


async def test_the_limit_is_for_plain_calls() -> None:
    """Past it nothing is queued; ``send`` waits instead."""
    async with easy(small=True, send_buffer_limit=LOTS) as (sock, peer):
        sock.send_message(1, bytes(LOTS - 12))
        with pytest.raises(OutOfMemoryError, match="send_buffer_limit=3000000"):
            sock.send_message(2, bytes(LOTS))
        async with reading(peer) as messages:
            await sock.send(Message(3, bytes(LOTS)))
            sock.send_message(4)
            await sock.aclose()
        assert [message.command for message in messages] == [1, 3, 4]


async def test_many_tasks_may_send() -> None:
    """Each message whole, and each task is woken when its own is out."""
    async with easy(small=True) as (sock, peer), reading(peer) as messages:
        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(sock.send, Message(number, bytes(50_000)))
        assert sock.bytes_left_to_send == 0
        await sock.aclose()
    assert sorted(messages) == [(number, bytes(50_000)) for number in range(20)]


async def test_a_cancelled_send_is_all_or_nothing() -> None:
    """What has begun is finished by the socket; what has not is removed, and raised either way."""
    recorder = EventRecorder()
    async with easy(small=True, handler=recorder, allow_half_close=True) as (sock, peer):
        with trio.move_on_after(0.05) as first:
            await sock.send(Message(1, bytes(LOTS)))
        assert first.cancelled_caught
        with trio.move_on_after(0.05) as second:
            await sock.send(Message(2, bytes(LOTS)))
        assert second.cancelled_caught
        with trio.CancelScope() as third:
            third.cancel()
            await sock.send(Message(3, bytes(LOTS)))
        assert third.cancelled_caught
        sent = sock.bytes_sent
        assert 0 < sent < LOTS
        assert sock.bytes_left_to_send == LOTS + 12 - sent
        async with reading(peer) as messages:
            await sock.send(Message(4, b"next"))
            await sock.aclose()
        assert messages == [(1, bytes(LOTS)), (4, b"next")]
        check_grammar(recorder.events, peer_received=peer.received)
        assert [
            event.user_aborted for event in recorder.events if isinstance(event, SendComplete)
        ] == [True]


async def test_a_send_that_was_about_to_end_counts() -> None:
    """Cancelled when all is out already: the message was sent, whatever is raised."""
    rng = random.Random(5)
    async with easy() as (sock, peer):
        async with reading(peer) as messages:
            for number in range(300):
                with trio.move_on_after(rng.random() * 0.0003):
                    await sock.send(Message(number, bytes(rng.randrange(200_000))))
            await sock.send(Message(999, b""))
            await sock.aclose()
        commands = [message.command for message in messages]
        assert commands == sorted(commands)
        assert commands[-1] == 999


@pytest.mark.parametrize("by_handler", [False, True])
async def test_an_abort_ends_between_two_messages(by_handler: bool) -> None:
    """The begun one goes out, the others are dropped and counted, their senders told."""
    asked = False

    def abort(_: object) -> bool:
        return asked

    recorder = EventRecorder(reactions={"on_send_progress": abort})
    failures: list[SocketError] = []
    async with easy(small=True, handler=recorder, allow_half_close=True) as (sock, peer):

        async def send(command: int) -> None:
            try:
                await sock.send(Message(command, bytes(1000)))
            except SocketError as error:
                failures.append(error)

        sock.send_message(1, bytes(LOTS))
        sock.send_message(2, bytes(100))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send, 3)
            nursery.start_soon(send, 4)
            await settle()
            if by_handler:
                asked = True
            else:
                sock.abort_send()
                assert sock.bytes_left_to_send == LOTS + 12 - sock.bytes_sent
                await settle()
            async with reading(peer) as messages:
                await until(lambda: len(failures) == 2)
                await sock.flush()
                asked = False
                await sock.send(Message(5, b"next"))
                await sock.aclose()
        assert messages == [(1, bytes(LOTS)), (5, b"next")]
        assert all("send aborted after 0 of 1012 bytes" in str(error) for error in failures)
        check_grammar(recorder.events)
        completes = [event for event in recorder.events if isinstance(event, SendComplete)]
        assert [event.user_aborted for event in completes] == [True, False]
        total = sock.statistics().bytes_out
        assert total == peer.received == LOTS + 12 + 16


async def test_an_abort_within_small_messages_that_were_joined() -> None:
    """They are queued as one piece, and still told apart."""
    async with easy(small=True) as (sock, peer):
        channel = sock.events
        while not sock.bytes_left_to_send:
            sock.send_message(1, bytes(100))
        for _ in range(50):
            sock.send_message(2, bytes(100))
        sock.abort_send()
        assert sock.bytes_left_to_send < 112
        async with reading(peer) as messages:
            await sock.send(Message(3, b""))
            await sock.aclose()
        assert {message.command for message in messages} <= {1, 3}
        assert messages[-1] == (3, b"")
        completes = [event async for event in channel if isinstance(event, SendComplete)]
        assert sum(event.bytes_sent for event in completes) == peer.received
        aborted = sum(event.bytes_unsent for event in completes)
        assert aborted >= 50 * 112
        assert aborted % 112 == 0


@pytest.mark.parametrize("ours", [True, False])
async def test_an_end_drops_the_begun_message_too(ours: bool) -> None:
    """Ours or the network's: the sender is told, and the books add up."""
    recorder = EventRecorder()
    async with easy(small=True, handler=recorder) as (sock, peer):
        errors: list[SocketError] = []

        async def send() -> None:
            try:
                await sock.send(Message(1, bytes(LOTS)))
            except SocketError as error:
                errors.append(error)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            await settle()
            if ours:
                sock.close()
            else:
                peer.reset()
        assert isinstance(errors[0], SocketClosedError if ours else LostConnectionError)
        await until(lambda: any(isinstance(event, SendComplete) for event in recorder.events))
        check_grammar(recorder.events)


async def test_an_abort_leaves_a_begun_send_to_its_caller() -> None:
    """Who waits for the message that has begun goes on waiting for it."""
    async with easy(small=True) as (sock, peer), reading(peer) as messages:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sock.send, Message(1, bytes(LOTS)))
            await until(lambda: sock.bytes_sent)
            sock.send_message(2)
            sock.abort_send()
        assert sock.bytes_left_to_send == 0
        await sock.aclose()
    assert messages == [(1, bytes(LOTS))]


async def test_events_of_messages_that_go_at_once() -> None:
    """Plain calls and awaited ones tell of them as of bytes."""
    recorder = EventRecorder()
    async with easy(handler=recorder, allow_half_close=True) as (sock, peer):
        sock.send_message(1, b"abc")
        await sock.flush()
        await sock.send(Message(2, b""))
        assert [type(event) for event in recorder.events[1:]] == [SendProgress, SendComplete] * 2
        assert await peer.recv_exactly(27) == encode_message(1, b"abc") + encode_message(2)


async def test_a_dead_peer_found_by_send() -> None:
    """The loss is raised, and what was to be sent counts as unsent."""
    async with easy() as (sock, peer):
        channel = sock.events
        peer.reset()
        with pytest.raises(LostConnectionError) as caught:
            while True:
                await sock.send(Message(1, bytes(100)))
        assert sock.last_error is caught.value
        completes = [event async for event in channel if isinstance(event, SendComplete)]
        assert all(event.bytes_sent % 112 == 0 for event in completes)


async def test_a_handler_s_messages_are_joined() -> None:
    """What it sends goes out when it returns, after the call that caused it."""

    class Echo:
        def on_received_message(self, socket: EasyTCPSocket, command: int, data: bytes) -> None:
            for number in range(3):
                socket.send_message(command + number, data)

    async with easy(handler=Echo()) as (sock, peer):
        await peer.send(encode_message(1, b"a") + encode_message(10, b"b"))
        expected = [(1, b"a"), (2, b"a"), (3, b"a"), (10, b"b"), (11, b"b"), (12, b"b")]
        frames = b"".join(encode_message(*message) for message in expected)
        assert await peer.recv_exactly(len(frames)) == frames
        assert sock.bytes_left_to_send == 0


async def test_a_send_in_a_cancelled_scope_is_in_the_sums() -> None:
    """It counts as queued and aborted, alone and beside another message."""
    async with easy(small=True) as (sock, _):
        channel = sock.events
        with trio.CancelScope() as scope:
            scope.cancel()
            await sock.send(Message(1, bytes(88)))
        assert scope.cancelled_caught
        events = [channel.receive_nowait(), channel.receive_nowait()]
        assert events[1] == SendComplete(sock, True, 0, 100)
        sock.send_message(1, bytes(3_000_000))
        with trio.CancelScope() as scope:
            scope.cancel()
            await sock.send(Message(1, bytes(188)))
        sent = sock.bytes_sent
        sock.close()
        ends = [event async for event in channel if isinstance(event, SendComplete)]
        assert sum(end.bytes_sent for end in ends) == sent
        assert sum(end.bytes_unsent for end in ends) == 3_000_012 + 200 - sent


async def test_a_send_in_a_cancelled_scope_while_another_task_closes() -> None:
    """It is in the sums: what a cancelled call counts, it counts before others run."""
    for _ in range(20):  # which of the two tasks is first is up to Trio
        async with easy() as (sock, _):
            accepted, counted = await cancelled_send_beside_close(
                sock, functools.partial(sock.send, Message(1, bytes(88)))
            )
            assert counted == 100 * accepted

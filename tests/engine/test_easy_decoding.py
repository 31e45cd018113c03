"""From bytes to messages: how many at a time, how many may wait, and what comes before the end."""

from __future__ import annotations

import time
import tracemalloc

import pytest
import trio

from tests.support import until
from tests.support.messages import MessageListener, arrived, easy
from tests.support.peers import LOOPBACK, accept, raw_listener
from trio_xsock import (
    Connected,
    EasyTCPSocket,
    ErrorOccurred,
    FramingError,
    LossReason,
    LostConnectionError,
    Message,
    encode_message,
)
from trio_xsock._platform.memory import keep_freed_memory


async def test_waiting_messages_push_back_and_a_large_one_still_comes() -> None:
    """The limit holds the peer back; a message larger than it arrives all the same."""
    async with easy(small=True, receive_buffer_limit=10_000) as (sock, peer):
        frame = encode_message(1, bytes(1000))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.send, frame * 3000)
            await until(lambda: sock.statistics().read_pauses)
            for _ in range(100):
                await trio.lowlevel.checkpoint()
            assert 10_000 <= sock.statistics().bytes_available < 80_000
            assert sock.statistics().bytes_in < 80_000
            for _ in range(3000):
                assert await sock.receive() == (1, bytes(1000))
        assert sock.bytes_available == 0


async def test_a_message_above_the_limit_behind_others() -> None:
    """Who waits for it does not wait for ever."""
    async with easy(receive_buffer_limit=5000) as (sock, peer):
        async with trio.open_nursery() as nursery:
            frames = encode_message(1, bytes(300)) * 3 + encode_message(2, bytes(200_000))
            nursery.start_soon(peer.send, frames)
            assert await sock.wait_for_message(2) == bytes(200_000)
        assert sock.messages_available == 3


async def test_a_storm_without_takers_stays_small() -> None:
    """Tiny messages count for what they cost; decoding goes on as they are taken."""
    async with easy() as (sock, peer):
        frames = encode_message(5) * 15_000
        keep_freed_memory()  # the first call in a process takes 4 MiB for a moment
        tracemalloc.start()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(peer.send, frames)
                await until(lambda: sock.messages_available >= 7000)
                for _ in range(50):
                    await trio.lowlevel.checkpoint()
                assert sock.messages_available < 8000
                assert tracemalloc.get_traced_memory()[1] < 4_000_000
                tracemalloc.stop()
                for _ in range(15_000):
                    assert await sock.receive() == (5, b"")
        finally:
            tracemalloc.stop()
        assert sock.messages_available == sock.bytes_available == 0


async def test_a_storm_does_not_hold_the_event_loop() -> None:
    """Others have their turn between portions, with a handler too."""
    listener = MessageListener()
    async with easy(handler=listener, receive_buffer_limit=2**22) as (sock, peer):
        turns = 0

        async def take_turns() -> None:
            nonlocal turns
            while True:
                await trio.lowlevel.checkpoint()
                turns += 1

        async with trio.open_nursery() as nursery:
            nursery.start_soon(take_turns)
            frames = encode_message(5) * 50_000
            nursery.start_soon(peer.send, frames)
            await until(lambda: len(listener.messages) == 50_000)
            assert turns > 50_000 / 64 / 2
            nursery.cancel_scope.cancel()
        assert sock.statistics().bytes_in == len(frames)


async def test_a_full_queue_is_searched_and_no_more_is_decoded_for_it() -> None:
    """What would exceed the limit stays in bytes until some are taken."""
    async with easy(receive_buffer_limit=64 * 140) as (sock, peer):
        await peer.send(encode_message(1) * 300 + encode_message(2))
        await until(lambda: sock.statistics().read_pauses)
        assert await sock.wait_for_message(2, timeout=0.01) is None
        assert sock.messages_available < 200
        for _ in range(300):
            assert await sock.receive() == (1, b"")
        assert await sock.wait_for_message(2) == b""


async def test_purge_drops_whole_messages_only() -> None:
    """What has begun to come still comes, and is understood."""
    async with easy() as (sock, peer):
        channel = sock.events
        await arrived(sock, peer, (1, b""), (2, b""))
        await peer.send(encode_message(3, b"abc")[:13])
        await until(lambda: sock.bytes_available == 37)
        sock.purge()
        assert (sock.messages_available, sock.bytes_available) == (0, 13)
        assert channel.receive_nowait() == Connected(sock)
        with pytest.raises(trio.WouldBlock):
            channel.receive_nowait()
        await peer.send(b"bc")
        assert await sock.receive() == (3, b"abc")


async def test_what_waits_goes_to_a_handler_that_comes_late() -> None:
    """And what comes later, too."""
    listener = MessageListener()
    async with easy() as (sock, peer):
        await arrived(sock, peer, (1, b""), (2, b""))
        sock.handler = listener
        await peer.send(encode_message(3))
        await until(lambda: len(listener.messages) == 3)
        assert [message.command for message in listener.messages] == [1, 2, 3]
        sock.handler = None
        await arrived(sock, peer, (4, b""))
        assert await sock.receive() == (4, b"")


async def test_poll_takes_in_by_hand() -> None:
    """And posts nothing that has not come."""
    async with easy() as (sock, peer):
        peer.send_nowait(encode_message(1) * 200)
        while not sock.messages_available:
            await sock.poll()
        peer.fin()
        while sock.last_error is None:
            await sock.poll()
        assert sock.messages_available == 200


async def test_speed_of_decoding_and_handing_over() -> None:
    """Linear: four times the messages, at most some eight times the time."""
    seconds = []
    for count in (5000, 20_000):
        listener = MessageListener()
        messages = listener.messages
        async with easy(handler=listener) as (_, peer):
            began = time.process_time()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(peer.send, encode_message(1, b"x" * 20) * count)
                await until(lambda messages=messages, count=count: len(messages) == count)
            seconds.append(time.process_time() - began)
    assert seconds[1] < 8 * seconds[0] + 0.5


async def test_the_limit_of_a_message_may_change() -> None:
    """For those that come later; it has to be a number of bytes."""
    async with easy(max_message_size=100) as (sock, peer):
        assert sock.max_message_size == 100
        for wrong in (-1, "1"):
            with pytest.raises((ValueError, TypeError), match="max_message_size"):
                sock.max_message_size = wrong
        sock.max_message_size = 200
        await arrived(sock, peer, (1, bytes(200)))
        sock.max_message_size = 199
        await peer.send(encode_message(1, bytes(200)))
        assert await sock.receive() == (1, bytes(200))
        with pytest.raises(LostConnectionError, match="199"):
            await sock.receive()


# Ends


@pytest.mark.parametrize(
    "junk", [b"GET / HTTP/1.1\r\n\r\n", encode_message(1, bytes(2000))[:12], b"XM\x01\x00\xff"]
)
async def test_hostile_bytes_end_the_connection(junk: bytes) -> None:
    """After what came before them, and with an error that says why."""
    listener = MessageListener()
    async with easy(handler=listener, max_message_size=1999) as (sock, peer):
        await peer.send(encode_message(1, bytes(1999)) + junk)
        with pytest.raises(LostConnectionError) as caught:
            await sock.receive()
        assert isinstance(caught.value.__cause__, FramingError)
        assert caught.value.reason is LossReason.RESET
        assert f"{LOOPBACK}:{peer.port}: the peer" in str(caught.value)
        assert not sock.is_connected
        await until(lambda: listener.errors)
        assert listener.errors == [(caught.value, 1)]
        with pytest.raises(LostConnectionError) as again:
            sock.send_message(1)
        assert again.value is caught.value
        with pytest.raises((ConnectionResetError, EOFError)):
            await peer.recv_exactly(1)


async def test_an_end_within_a_message() -> None:
    """No clean one, and all are told so."""
    async with easy() as (sock, peer):
        channel = sock.events
        await peer.send(encode_message(1, b"whole") + encode_message(2, b"half")[:-1])
        peer.fin()
        assert await sock.receive() == (1, b"whole")
        for _ in range(2):
            with pytest.raises(LostConnectionError, match="within a message") as caught:
                await sock.receive()
        assert caught.value.reason is LossReason.REMOTE_CLOSED
        assert [event async for event in channel][-1] == ErrorOccurred(sock, caught.value)


@pytest.mark.parametrize("junk", [b"", b"GET / HTTP"])
async def test_a_lost_peer_found_by_sending(junk: bytes) -> None:
    """What it had sent is taken first, also where that takes several portions."""
    async with easy() as (sock, peer):
        peer.send_nowait(encode_message(3, b"last words") * 300 + junk)
        await until(lambda: sock.messages_available)
        peer.reset()
        with pytest.raises(LostConnectionError):
            while True:
                sock.send_message(1, bytes(1000))
                await trio.lowlevel.checkpoint()
        assert sock.messages_available
        with pytest.raises(LostConnectionError) as caught:
            while True:
                assert await sock.receive() == (3, b"last words")
        assert isinstance(caught.value.__cause__, FramingError) == bool(junk)


async def test_connecting_again_begins_anew() -> None:
    """Half a message of the former connection is forgotten, and so is what it left."""
    with raw_listener() as listener:
        async with EasyTCPSocket(LOOPBACK, listener.getsockname()[1]) as sock:
            await sock.connect()
            with await accept(listener) as peer:
                await arrived(sock, peer, (1, b"old"))
                await peer.send(b"XM\x01")
                await until(lambda: sock.bytes_available == 18)
            await until(lambda: sock.last_error)
            sock.close()
            assert sock.messages_available == 1
            await sock.connect()
            with await accept(listener) as peer:
                assert sock.messages_available == 0
                await peer.send(encode_message(2, b"new"))
                assert await sock.receive() == (2, b"new")


class BusySender(MessageListener):
    """A handler that is told of sends, too."""

    def on_send_progress(self, socket: EasyTCPSocket, bytes_sent: int, bytes_left: int) -> None:
        pass

    def on_send_complete(self, socket: EasyTCPSocket, user_aborted: bool) -> None:
        pass


@pytest.mark.parametrize("limit", [5000, 65536, 2**20])
async def test_what_has_come_is_delivered_beside_sends(limit: int) -> None:
    """Calls that are due for sends do not hold up what has arrived."""
    listener = BusySender()
    async with easy(handler=listener, receive_buffer_limit=limit) as (sock, peer):
        peer.send_nowait(encode_message(5, bytes(100)) * 300)
        for _ in range(20):
            await trio.lowlevel.checkpoint()
            sock.send_message(1, b"hello")
        await until(lambda: len(listener.messages) == 300)


async def test_input_goes_on_while_a_large_message_of_ours_is_stuck() -> None:
    """A peer that reads nothing can still send all that there is room for."""

    class Progress:
        def on_send_progress(self, socket: object, bytes_sent: int, bytes_left: int) -> None:
            pass

    frames = encode_message(5, bytes(1000)) * 300
    async with easy(handler=Progress()) as (sock, peer), trio.open_nursery() as nursery:
        nursery.start_soon(peer.send, frames)
        nursery.start_soon(sock.send, Message(1, bytes(8_000_000)))
        await until(lambda: sock.bytes_available == len(frames))
        assert sock.bytes_left_to_send
        nursery.cancel_scope.cancel()


async def test_a_handler_that_is_taken_away_while_it_is_called() -> None:
    """The messages that were decoded with the present one wait for who comes next."""

    class Once(MessageListener):
        def on_received_message(self, socket: EasyTCPSocket, command: int, data: bytes) -> None:
            super().on_received_message(socket, command, data)
            socket.handler = None if len(self.messages) == 1 else second

    first, second = Once(), MessageListener()
    async with easy(handler=first) as (sock, peer):
        peer.send_nowait(b"".join(encode_message(n) for n in range(200)))
        await until(lambda: sock.messages_available)
        sock.handler = second
        await until(lambda: len(second.messages) == 199)
        assert [message.command for message in first.messages + second.messages] == [*range(200)]


async def test_a_raised_limit_lets_decoding_go_on() -> None:
    """Without anybody taking a message."""
    async with easy(receive_buffer_limit=64 * 140) as (sock, peer):
        await peer.send(encode_message(1) * 600)
        await until(lambda: sock.statistics().read_pauses)
        sock.receive_buffer_limit = 2**20
        await until(lambda: sock.messages_available == 600)


async def test_a_close_within_a_message_is_one_error() -> None:
    """Who sends is told the error that was posted, too."""
    listener = MessageListener()
    async with easy(handler=listener, allow_half_close=False) as (sock, peer):
        peer.send_nowait(encode_message(3, b"abc")[:13])
        peer.fin()
        await until(lambda: listener.errors)
        with pytest.raises(LostConnectionError, match="within a message") as caught:
            sock.send_message(1)
        assert caught.value is listener.errors[0][0] is sock.last_error

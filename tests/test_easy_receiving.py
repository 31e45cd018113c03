"""Messages that arrive: who gets them, how many wait, and how the waits end."""

from __future__ import annotations

import random
import time
import tracemalloc
import weakref
from typing import Any

import pytest
import trio
import trio.testing

from tests.support import until
from tests.support.pairs import linked
from tests.support.peers import LOOPBACK, RawPeer, accept, raw_listener
from trio_xsock import (
    Connected,
    ConnectError,
    EasyTCPSocket,
    ErrorOccurred,
    EventChannel,
    FramingError,
    InvalidStateError,
    LossReason,
    LostConnectionError,
    Message,
    ReceivedMessage,
    SocketClosedError,
    encode_message,
)


class Listener:
    """A handler that remembers messages and errors."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.errors: list[Any] = []

    def on_received_message(self, socket: EasyTCPSocket, command: int, data: bytes) -> None:
        self.messages.append(Message(command, data))

    def on_error(self, socket: EasyTCPSocket, error: Exception) -> None:
        self.errors.append((error, len(self.messages)))


def easy(**options: Any) -> Any:
    """A connected message socket and its raw peer."""
    return linked(socket_class=EasyTCPSocket, **options)


async def settle() -> None:
    await trio.testing.wait_all_tasks_blocked()


async def arrived(sock: EasyTCPSocket, peer: RawPeer, *messages: tuple[int, bytes]) -> None:
    """Let messages arrive that nobody waits for."""
    total = sock.messages_available + len(messages)
    await peer.send(b"".join(encode_message(*message) for message in messages))
    await until(lambda: sock.messages_available == total)


# Who gets a message


async def test_receive_gives_them_in_order_and_then_the_end() -> None:
    """As a channel does: iteration ends when the peer has closed between two messages."""
    async with easy() as (sock, peer):
        expected = [Message(n, bytes(n)) for n in range(200)]
        await peer.send(b"".join(encode_message(*message) for message in expected))
        peer.fin()
        assert [message async for message in sock] == expected
        with pytest.raises(trio.EndOfChannel):
            await sock.receive()
        with pytest.raises(LostConnectionError) as caught:
            await sock.wait_for_message(1)
        assert caught.value is sock.last_error
        assert caught.value.reason is LossReason.REMOTE_CLOSED


async def test_a_waiter_takes_its_command_out_of_the_middle() -> None:
    """Of what waits, and of what comes; the others stay in order."""
    async with easy() as (sock, peer):
        await arrived(sock, peer, (1, b"a"), (2, b"b"), (1, b"c"), (3, b""))
        with trio.testing.assert_checkpoints():
            assert await sock.wait_for_message(2) == b"b"
        assert await sock.wait_for_message(3, timeout=0) == b""
        assert await sock.wait_for_message(3, timeout=0) is None
        async with trio.open_nursery() as nursery:
            got: list[Any] = []
            for command in (7, 8, 7):
                nursery.start_soon(self_append, got, sock, command)
                await settle()
            await peer.send(b"".join(encode_message(n, bytes([n])) for n in (6, 8, 7, 7, 7)))
        assert sorted(got) == [(7, b"\x07"), (7, b"\x07"), (8, b"\x08")]
        await until(lambda: sock.messages_available == 4)
        assert [(await sock.receive()).command for _ in range(4)] == [1, 1, 6, 7]


async def self_append(got: list[Any], sock: EasyTCPSocket, command: int) -> None:
    got.append((command, await sock.wait_for_message(command)))


async def test_a_waiter_comes_before_the_handler() -> None:
    """And the handler before those who ask."""
    listener = Listener()
    async with easy(handler=listener) as (sock, peer):
        channel = sock.events
        async with trio.open_nursery() as nursery:
            got: list[Any] = []
            nursery.start_soon(self_append, got, sock, 2)
            nursery.start_soon(sock.receive)
            await settle()
            await peer.send(encode_message(1) + encode_message(2, b"mine") + encode_message(3))
            await until(lambda: len(listener.messages) == 2)
            nursery.cancel_scope.cancel()
        assert got == [(2, b"mine")]
        assert listener.messages == [(1, b""), (3, b"")]
        assert channel.receive_nowait() == Connected(sock)
        with pytest.raises(trio.WouldBlock):
            channel.receive_nowait()


@pytest.mark.parametrize("reader_first", [True, False])
async def test_of_readers_and_channels_who_asks_first_is_served_first(reader_first: bool) -> None:
    """Each message goes to exactly one of them."""
    async with easy() as (sock, peer):
        channel = sock.events
        assert channel.receive_nowait() == Connected(sock)
        got: list[str] = []

        async def read() -> None:
            got.append(f"reader {(await sock.receive()).command}")

        async def consume() -> None:
            event = await channel.receive()
            assert isinstance(event, ReceivedMessage)
            got.append(f"channel {event.command}")

        async with trio.open_nursery() as nursery:
            for call in (read, consume) if reader_first else (consume, read):
                nursery.start_soon(call)
                await settle()
            await peer.send(encode_message(1))
            await until(lambda: got)
            await peer.send(encode_message(2))
        assert got == (["reader 1", "channel 2"] if reader_first else ["channel 1", "reader 2"])


async def test_channels_share_the_messages_and_not_the_rest() -> None:
    """A message that is taken is nobody else's; the end comes after the last of them."""
    async with easy() as (sock, peer):
        first, second = sock.events, sock.subscribe()
        await arrived(sock, peer, *[(n, b"") for n in range(100)])
        late = sock.subscribe()
        peer.fin()
        await until(lambda: sock.last_error)
        assert late.receive_nowait() == second.receive_nowait() == Connected(sock)
        assert late.receive_nowait() == ReceivedMessage(sock, 0, b"")
        assert await sock.receive() == (1, b"")
        assert second.receive_nowait() == ReceivedMessage(sock, 2, b"")
        assert second.statistics().current_buffer_used == 2
        events = [event async for event in first]
        assert events[:2] == [Connected(sock), ReceivedMessage(sock, 3, b"")]
        assert events[97:] == [ReceivedMessage(sock, 99, b""), ErrorOccurred(sock, sock.last_error)]
        for other in (second, late):
            assert [event async for event in other] == [ErrorOccurred(sock, sock.last_error)]


async def test_a_message_that_is_taken_at_once_is_announced_to_nobody_else() -> None:
    """One channel waits for it, the other has nothing to tell of."""
    async with easy() as (sock, peer):
        first, second = sock.events, sock.subscribe()
        assert first.receive_nowait() == second.receive_nowait() == Connected(sock)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(first.receive)
            await settle()
            await peer.send(encode_message(1))
        with pytest.raises(trio.WouldBlock):
            second.receive_nowait()


async def test_one_channel_for_many_sockets() -> None:
    """The messages of each, in order, and no socket starves the other."""
    with EventChannel() as channel:
        async with easy(events=channel) as (one, near), easy(events=channel) as (two, far):
            assert {channel.receive_nowait().socket for _ in range(2)} == {one, two}
            await arrived(one, near, *[(n, b"") for n in range(10)])
            await arrived(two, far, *[(n, b"") for n in range(10)])
            order = [channel.receive_nowait() for _ in range(20)]
            assert [event.command for event in order] == sorted([*range(10)] * 2)


async def test_what_waits_goes_to_a_handler_that_comes_late() -> None:
    """And what comes later, too."""
    listener = Listener()
    async with easy() as (sock, peer):
        await arrived(sock, peer, (1, b""), (2, b""))
        sock.handler = listener
        await peer.send(encode_message(3))
        await until(lambda: len(listener.messages) == 3)
        assert [message.command for message in listener.messages] == [1, 2, 3]
        sock.handler = None
        await arrived(sock, peer, (4, b""))
        assert await sock.receive() == (4, b"")


async def test_a_cancelled_or_late_waiter_loses_nothing() -> None:
    """Whatever races, each message is delivered once."""
    rng = random.Random(11)
    async with easy() as (sock, peer):
        got: list[bytes] = []
        stop = trio.Event()

        async def wait() -> None:
            while not stop.is_set():
                data = await sock.wait_for_message(1, timeout=rng.random() * 0.002)
                if data is not None:
                    got.append(data)

        async def wait_and_be_cancelled() -> None:
            while not stop.is_set():
                with trio.move_on_after(rng.random() * 0.002):
                    got.append(await sock.wait_for_message(1) or b"")
                with trio.move_on_after(rng.random() * 0.002):
                    got.append((await sock.receive()).data)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            nursery.start_soon(wait_and_be_cancelled)
            for number in range(400):
                await peer.send(encode_message(1, number.to_bytes(2, "big")))
                if number % 3 == 0:
                    await trio.sleep(rng.random() * 0.002)
            await until(lambda: len(got) + sock.messages_available == 400)
            stop.set()
        got += [(await sock.receive()).data for _ in range(sock.messages_available)]
        assert sorted(got) == [number.to_bytes(2, "big") for number in range(400)]


# How many wait


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
    listener = Listener()
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


# Ends


@pytest.mark.parametrize(
    "junk", [b"GET / HTTP/1.1\r\n\r\n", encode_message(1, bytes(2000))[:12], b"XM\x01\x00\xff"]
)
async def test_hostile_bytes_end_the_connection(junk: bytes) -> None:
    """After what came before them, and with an error that says why."""
    listener = Listener()
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


@pytest.mark.parametrize(
    "end", ["reset", "fin", "close", "aclose", "disconnect", "junk", "timeout"]
)
@pytest.mark.parametrize("pending", [False, True])
async def test_ends_come_after_the_messages_and_end_the_waits(end: str, pending: bool) -> None:
    """Whoever waits is told; a handler hears of all messages before the end, or of none after."""
    listener = Listener()
    options = {"idle_timeout": 0.1} if end == "timeout" else {}
    async with easy(handler=listener, **options) as (sock, peer):
        caught: dict[Any, BaseException] = {}

        async def wait(call: Any, *arguments: Any) -> None:
            try:
                await call(*arguments)
            except (trio.EndOfChannel, LostConnectionError, SocketClosedError) as exc:
                caught[call.__name__] = exc

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait, sock.wait_for_message, 9)
            await settle()
            nursery.start_soon(wait, sock.receive)
            await settle()
            if pending:
                peer.send_nowait(encode_message(1) * 500)
            match end:
                case "reset":
                    await until(lambda: len(listener.messages) == 500 * pending)
                    peer.reset()
                case "fin":
                    peer.fin()
                case "junk":
                    await peer.send(b"?")
                case "timeout":
                    pass
                case _:
                    await until(lambda: listener.messages or not pending)
                    result = getattr(sock, end)()
                    if result is not None:
                        await result
        assert len(caught) == 2
        if end in {"close", "aclose", "disconnect"}:
            assert all(isinstance(error, SocketClosedError) for error in caught.values())
            count = len(listener.messages)
            await settle()
            assert len(listener.messages) == count
            for call in (sock.receive, lambda: sock.wait_for_message(1), sock.wait_for_connection):
                with pytest.raises(SocketClosedError):
                    await call()
        else:
            assert {name: type(error) for name, error in caught.items()} == {
                "wait_for_message": LostConnectionError,
                "receive": trio.EndOfChannel if end == "fin" else LostConnectionError,
            }
            await until(lambda: listener.errors)
            assert listener.errors == [(sock.last_error, 500 * pending)]


async def test_a_lost_peer_found_by_sending() -> None:
    """What it had sent is taken first, also where that takes several portions."""
    async with easy() as (sock, peer):
        peer.send_nowait(encode_message(3, b"last words") * 300)
        await until(lambda: sock.messages_available)
        peer.reset()
        with pytest.raises(LostConnectionError):
            while True:
                sock.send_message(1, bytes(1000))
                await trio.lowlevel.checkpoint()
        assert sock.messages_available
        with pytest.raises(LostConnectionError):
            while True:
                assert await sock.receive() == (3, b"last words")


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


# Waiting for a peer


async def test_waiting_for_a_connection() -> None:
    """That listens, that connects, and that is there."""
    async with EasyTCPSocket() as sock, trio.open_nursery() as nursery:
        with pytest.raises(InvalidStateError, match="not connected"):
            await sock.wait_for_connection()
        await sock.listen()
        with trio.testing.assert_checkpoints():
            assert await sock.wait_for_connection(timeout=0.01) is False
        with pytest.raises(InvalidStateError):
            await sock.receive()
        came: list[bool] = []

        async def wait() -> None:
            came.append(await sock.wait_for_connection())

        nursery.start_soon(wait)
        nursery.start_soon(wait)
        await settle()
        with await RawPeer.connect(sock.port) as peer:
            await until(lambda: len(came) == 2)
            assert came == [True, True]
            with trio.testing.assert_checkpoints():
                assert await sock.wait_for_connection(0) is True
            peer.reset()
            await until(lambda: sock.last_error)
            with pytest.raises(LostConnectionError):
                await sock.wait_for_connection()


async def test_waiting_for_a_connection_that_never_comes() -> None:
    """Refused, closed, cancelled: each ends the wait."""
    async with EasyTCPSocket() as sock, trio.open_nursery() as nursery:
        failures: list[type[BaseException]] = []

        async def wait() -> None:
            try:
                await sock.wait_for_connection()
            except Exception as exc:
                failures.append(type(exc))

        with raw_listener() as listener:
            port = listener.getsockname()[1]
        sock.address, sock.port = LOOPBACK, port
        trio.socket.set_custom_hostname_resolver(None)
        async with trio.open_nursery() as inner:
            with pytest.raises(ConnectError):
                inner.start_soon(wait)
                await sock.connect()
        sock.port = 0
        await sock.listen()
        nursery.start_soon(wait)
        await settle()
        sock.close()
        await until(lambda: len(failures) == 2)
        assert failures[1] is SocketClosedError
        assert issubclass(failures[0], (ConnectError, InvalidStateError))


@pytest.mark.parametrize("timeout", [-1, float("nan"), "1", True])
async def test_time_outs_that_are_none(timeout: Any) -> None:  # noqa: ASYNC109
    """Refused by type or by value, and before anything is taken."""
    async with easy() as (sock, peer):
        await arrived(sock, peer, (1, b""))
        for call in (
            lambda: sock.wait_for_message(1, timeout),
            lambda: sock.wait_for_connection(timeout),
        ):
            with pytest.raises((ValueError, TypeError), match="timeout"):
                await call()
        with pytest.raises(ValueError, match="command"):
            await sock.wait_for_message(-1)
        assert sock.messages_available == 1


async def test_a_handler_that_closes_hears_no_more() -> None:
    """Also of what had been decoded; a message that comes later is nobody's."""

    class Closer(Listener):
        def on_received_message(self, socket: EasyTCPSocket, command: int, data: bytes) -> None:
            super().on_received_message(socket, command, data)
            if command == 5:
                socket.close()

    listener = Closer()
    async with easy(handler=listener) as (sock, peer):
        await peer.send(b"".join(encode_message(n) for n in range(100)))
        await until(lambda: not sock.is_connected)
        await settle()
        assert [message.command for message in listener.messages] == [*range(6)]
        assert listener.errors == []


async def test_who_asks_after_the_end_is_told_of_it() -> None:
    """After the messages that are left."""
    async with easy() as (sock, peer):
        await arrived(sock, peer, (1, b""))
        peer.reset()
        await until(lambda: sock.last_error)
        late = sock.subscribe()
        assert [event async for event in late] == [
            ReceivedMessage(sock, 1, b""),
            ErrorOccurred(sock, sock.last_error),
        ]


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


async def test_nothing_keeps_a_socket_alive() -> None:
    """It is gone with the last reference, without the collector."""
    async with easy() as (sock, peer):
        await arrived(sock, peer, (1, b""))
        with trio.move_on_after(0.01):
            await sock.wait_for_message(2)
    reference = weakref.ref(sock)
    del sock, peer
    assert reference() is None


async def test_speed_of_decoding_and_handing_over() -> None:
    """Linear: four times the messages, at most some eight times the time."""
    seconds = []
    for count in (5000, 20_000):
        listener = Listener()
        messages = listener.messages
        async with easy(handler=listener) as (_, peer):
            began = time.process_time()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(peer.send, encode_message(1, b"x" * 20) * count)
                await until(lambda messages=messages, count=count: len(messages) == count)
            seconds.append(time.process_time() - began)
    assert seconds[1] < 8 * seconds[0] + 0.5

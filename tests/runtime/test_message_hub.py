"""How messages reach channels: each once, to who asks first."""

from __future__ import annotations

import pytest
import trio

from tests.support import settle, until
from tests.support.messages import arrived, easy
from trio_xsock import (
    Connected,
    ErrorOccurred,
    EventChannel,
    ReceivedMessage,
    encode_message,
)


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

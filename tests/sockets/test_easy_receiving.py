"""The calls that wait for messages."""

from __future__ import annotations

import random
from typing import Any

import pytest
import trio
import trio.testing

from tests.support import settle, until
from tests.support.messages import arrived, awaited, easy
from trio_xsock import LossReason, LostConnectionError, Message, encode_message


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
                nursery.start_soon(awaited, got, sock, command)
                await settle()
            await peer.send(b"".join(encode_message(n, bytes([n])) for n in (6, 8, 7, 7, 7)))
        assert sorted(got) == [(7, b"\x07"), (7, b"\x07"), (8, b"\x08")]
        await until(lambda: sock.messages_available == 4)
        assert [(await sock.receive()).command for _ in range(4)] == [1, 1, 6, 7]


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


@pytest.mark.parametrize("timeout", [-1, float("nan"), "1", True])
async def test_time_outs_and_commands_that_are_none(timeout: Any) -> None:  # noqa: ASYNC109
    """Refused by type or by value, and before anything is taken."""
    async with easy() as (sock, peer):
        await arrived(sock, peer, (1, b""))
        with pytest.raises((ValueError, TypeError), match="timeout"):
            await sock.wait_for_message(1, timeout)
        with pytest.raises(ValueError, match="command"):
            await sock.wait_for_message(-1)
        assert sock.messages_available == 1

"""The calls of message sockets, cancelled at each scheduling step of their life."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio

from tests.support import until
from tests.support.groups import easy_udp, raw_sender
from tests.support.pairs import linked
from tests.support.peers import LOOPBACK
from trio_xsock import EasyTCPSocket, Message, MessageDecoder, encode_message
from trio_xsock._machines.packets import encode_group_message

from .test_every_step import CancelAtStep, at_every_step

SENT = [Message(1, b"a"), Message(2, b"b"), Message(1, b"c")]


async def receive(sock: EasyTCPSocket, got: list[Any]) -> None:
    got.append(await sock.receive())


async def wait(sock: EasyTCPSocket, got: list[Any]) -> None:
    data = await sock.wait_for_message(2)
    assert data is not None
    got.append(Message(2, data))


async def wait_no_longer_than(sock: EasyTCPSocket, got: list[Any]) -> None:
    data = await sock.wait_for_message(2, timeout=0.0001)
    if data is not None:
        got.append(Message(2, data))


@pytest.mark.parametrize("call", [receive, wait, wait_no_longer_than])
async def test_each_message_is_delivered_exactly_once(
    call: Callable[[EasyTCPSocket, list[Any]], Awaitable[None]],
) -> None:
    """To the call, or to who asks next; never to nobody, never twice."""

    async def life(cancel: CancelAtStep) -> None:
        got: list[Message] = []
        async with linked(socket_class=EasyTCPSocket) as (sock, peer):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(peer.send, b"".join(encode_message(*each) for each in SENT))
                await cancel.run(lambda: call(sock, got))
            await until(lambda: len(got) + sock.messages_available == len(SENT))
            got += [await sock.receive() for _ in range(sock.messages_available)]
        assert sorted(got) == sorted(SENT)

    await at_every_step(life)


async def test_a_message_is_sent_whole_or_not_at_all() -> None:
    """And the next one is understood, wherever the call was cancelled."""

    async def life(cancel: CancelAtStep) -> None:
        decoder, arrived = MessageDecoder(), []
        async with linked(small=True, socket_class=EasyTCPSocket) as (sock, peer):

            async def read() -> None:
                while data := await peer.recv_some():
                    decoder.feed(data)
                    while decoder.pending:
                        arrived.extend(decoder.decode())

            async with trio.open_nursery() as nursery:
                nursery.start_soon(read)
                await cancel.run(lambda: sock.send(Message(1, bytes(100_000))))
                begun = sock.bytes_sent > 0
                await sock.send(Message(2, b"next"))
                await sock.aclose()
        assert decoder.held == 0
        assert arrived == [(1, bytes(100_000))] * begun + [(2, b"next")]

    await at_every_step(life)


async def test_waiting_for_a_peer_changes_nothing() -> None:
    """Whoever comes is connected, and can be waited for again."""

    async def life(cancel: CancelAtStep) -> None:
        async with EasyTCPSocket() as sock:
            await sock.listen()
            async with trio.open_nursery() as nursery:

                async def come() -> None:
                    stream = await trio.open_tcp_stream(LOOPBACK, sock.port)
                    await stream.send_all(encode_message(1))
                    await stream.aclose()

                nursery.start_soon(come)
                await cancel.run(sock.wait_for_connection)
                assert await sock.wait_for_connection() is True
                assert await sock.receive() == (1, b"")

    await at_every_step(life)


async def test_a_datagram_is_delivered_exactly_once() -> None:
    """Of UDP as well."""

    async def life(cancel: CancelAtStep) -> None:
        got: list[bytes] = []
        async with easy_udp() as sock:
            with raw_sender() as peer:

                async def call() -> None:
                    got.append(await sock.wait_for_message(2) or b"")

                async with trio.open_nursery() as nursery:

                    async def send() -> None:
                        await trio.lowlevel.checkpoint()
                        for number in (1, 2):
                            packet = encode_group_message("", number, b"x")
                            peer.sendto(packet, (LOOPBACK, sock.port))

                    nursery.start_soon(send)
                    await cancel.run(call)
                await until(lambda: len(got) + sock.messages_available == 2)
            assert await sock.wait_for_message(1) == b"x"
            if not got:
                got.append(await sock.wait_for_message(2) or b"")
        assert got == [b"x"]

    await at_every_step(life)

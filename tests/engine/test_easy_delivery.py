"""Who gets a message that has arrived, and how the waits for one end."""

from __future__ import annotations

import weakref
from typing import Any

import pytest
import trio

from tests.support import settle, until
from tests.support.messages import MessageListener, arrived, awaited, easy
from trio_xsock import (
    Connected,
    EasyTCPSocket,
    ErrorOccurred,
    LostConnectionError,
    ReceivedMessage,
    SocketClosedError,
    encode_message,
)


async def test_a_waiter_comes_before_the_handler() -> None:
    """And the handler before those who ask."""
    listener = MessageListener()
    async with easy(handler=listener) as (sock, peer):
        channel = sock.events
        async with trio.open_nursery() as nursery:
            got: list[Any] = []
            nursery.start_soon(awaited, got, sock, 2)
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


# Ends


@pytest.mark.parametrize(
    "end", ["reset", "fin", "close", "aclose", "disconnect", "junk", "timeout"]
)
@pytest.mark.parametrize("pending", [False, True])
async def test_ends_come_after_the_messages_and_end_the_waits(end: str, pending: bool) -> None:
    """Whoever waits is told; a handler hears of all messages before the end, or of none after."""
    listener = MessageListener()
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


async def test_a_handler_that_closes_hears_no_more() -> None:
    """Also of what had been decoded; a message that comes later is nobody's."""

    class Closer(MessageListener):
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


async def test_nothing_keeps_a_socket_alive() -> None:
    """It is gone with the last reference, without the collector."""
    async with easy() as (sock, peer):
        await arrived(sock, peer, (1, b""))
        with trio.move_on_after(0.01):
            await sock.wait_for_message(2)
    reference = weakref.ref(sock)
    del sock, peer
    assert reference() is None

"""The sums of a socket's batches, for tests that compare them with what calls have accepted."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable

import trio

from trio_xsock import EasyTCPSocket, EventChannel, SendComplete, SocketClosedError, TCPSocket

from .waiting import settle


async def cancelled_send_beside_close(
    sock: TCPSocket | EasyTCPSocket, send: Callable[[], Awaitable[None]]
) -> tuple[bool, int]:
    """Send in a cancelled scope, and close the socket in another task in the same turn.

    Args:
        sock: connected.
        send: sends something.

    Returns:
        Whether the send was cancelled, so that it had been accepted; and the bytes of all batches.
    """
    sums: list[int] = []
    accepted = False
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_add_up, sock.events, sums)
        await settle()

        @nursery.start_soon
        async def send_cancelled() -> None:
            nonlocal accepted
            with trio.CancelScope() as scope:
                scope.cancel()
                with contextlib.suppress(SocketClosedError):  # before it accepted any
                    await send()
            accepted = scope.cancelled_caught

        @nursery.start_soon
        async def close() -> None:
            sock.close()

    return accepted, sum(sums)


async def _add_up(channel: EventChannel, sums: list[int]) -> None:
    """What each batch of a socket sent and did not send, until the channel ends."""
    ends = [event async for event in channel if isinstance(event, SendComplete)]
    sums += [end.bytes_sent + end.bytes_unsent for end in ends]

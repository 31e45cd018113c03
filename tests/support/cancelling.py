"""Cancelling a call that receives, at each of its first steps."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import trio

from trio_xsock import TCPSocket

from .pairs import linked


async def cancel_at_step(
    call: Callable[[TCPSocket], Awaitable[Any]], sent_at: int, cancelled_at: int
) -> None:
    """Let ``call`` receive a line, or be cancelled, and check that nothing of the line is lost.

    Args:
        call: receives from a socket; returns the line, or as much of it as is asked for.
        sent_at: the step at which the peer sends it, 0..3.
        cancelled_at: the step at which the call is cancelled, 0..3.
    """
    async with linked() as (sock, peer):
        got: list[object] = []
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:

                @nursery.start_soon
                async def receive() -> None:
                    got.append(await call(sock))

                for step in range(4):
                    if step == sent_at:
                        peer.send_nowait(b"a\n")
                    if step == cancelled_at:
                        scope.cancel()
                    with trio.CancelScope(shield=True):
                        await trio.lowlevel.checkpoint()
        if got:
            assert got[0] in (b"a\n", b"a")
        else:
            assert await call(sock) in (b"a\n", b"a")
        assert sock.read_all() == b""

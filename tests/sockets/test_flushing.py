"""``flush``, and how the calls that send wait."""

from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.support import EventRecorder
from tests.support.pairs import linked
from trio_xsock import SendComplete, SocketClosedError

LOTS = 3_000_000
"""More than the OS takes."""


async def test_the_handler_runs_before_flush_returns() -> None:
    """What ended the wait is told first."""
    recorder = EventRecorder()
    async with linked(small=True) as (sock, peer):
        sock.handler = recorder
        sock.write(bytes(LOTS))
        told: list[bool] = []

        async def flush() -> None:
            await sock.flush()
            told.append(SendComplete in map(type, recorder.events))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(flush)
            await wait_all_tasks_blocked()
            assert told == []
            assert await peer.recv_exactly(LOTS) == bytes(LOTS)
        assert told == [True]


async def test_a_cancelled_flush_waits_no_more() -> None:
    """It aborts nothing, and others wait on."""
    async with linked(small=True) as (sock, peer):
        sock.write(bytes(LOTS))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sock.flush)
            await wait_all_tasks_blocked()
            with trio.move_on_after(0) as scope:
                await sock.flush()
            assert scope.cancelled_caught
            assert sock.bytes_sent + sock.bytes_left_to_send == LOTS
            assert await peer.recv_exactly(LOTS) == bytes(LOTS)
        assert sock.bytes_left_to_send == 0


async def test_closed_while_it_waits() -> None:
    """All who wait are told."""
    async with linked(small=True) as (sock, _):
        sock.write(bytes(LOTS))

        async def flush() -> None:
            with pytest.raises(SocketClosedError):
                await sock.flush()

        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(flush)
            await wait_all_tasks_blocked()
            sock.close()

"""A Trio run that plain functions drive step by step: ``trio.lowlevel.start_guest_run``.

The rules of a hypothesis state machine are plain functions, which each want to do something
inside one and the same Trio run. Here the run is the guest of a queue that is emptied by
``call``, for as long as it takes; in between nothing moves, no task and no clock.
"""

from __future__ import annotations

import queue
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import outcome
import trio

T = TypeVar("T")

PATIENCE = 10.0
"""Seconds that a call may take."""


class GuestRun:
    """A Trio run whose main task does what it is told to.

    Args:
        clock: for the run; ``None`` for the real one.
    """

    def __init__(self, clock: trio.abc.Clock | None = None) -> None:
        self._due: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._token: trio.lowlevel.TrioToken | None = None
        self._ended: outcome.Outcome[None] | None = None
        trio.lowlevel.start_guest_run(
            self._main,
            run_sync_soon_threadsafe=self._due.put,
            done_callback=self._done,
            clock=clock,
        )
        self._pump_until(lambda: self._token is not None)

    def call(self, async_fn: Callable[..., Awaitable[T]], *args: Any) -> T:
        """Run an async function in the main task."""
        results: list[outcome.Outcome[T]] = []

        async def job() -> None:
            results.append(await outcome.acapture(async_fn, *args))

        self._submit(job)
        self._pump_until(lambda: results or self._ended is not None)
        if not results and self._ended is not None:
            self._ended.unwrap()
        return results[0].unwrap()

    def close(self) -> None:
        """End the run."""
        if self._ended is None:
            self._submit(None)
            self._pump_until(lambda: self._ended is not None)
        assert self._ended is not None
        self._ended.unwrap()

    async def _main(self) -> None:
        self._send_job, jobs = trio.open_memory_channel[Callable[[], Awaitable[None]] | None](1)
        self._token = trio.lowlevel.current_trio_token()
        async with self._send_job, jobs:
            async for job in jobs:
                if job is None:
                    return
                await job()

    def _submit(self, job: Callable[[], Awaitable[None]] | None) -> None:
        assert self._token is not None
        self._token.run_sync_soon(self._send_job.send_nowait, job)

    def _done(self, result: outcome.Outcome[None]) -> None:
        self._ended = result

    def _pump_until(self, condition: Callable[[], object]) -> None:
        while not condition():
            self._due.get(timeout=PATIENCE)()

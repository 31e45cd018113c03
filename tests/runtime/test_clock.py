"""Which clocks run by themselves."""

from __future__ import annotations

import trio
import trio.testing

from trio_xsock._runtime.clock import runs_by_itself


async def test_the_systems_clock() -> None:
    assert runs_by_itself()


async def test_a_mock_clock(mock_clock: trio.testing.MockClock) -> None:
    assert not runs_by_itself()


def test_a_clock_of_somebody_elses_making() -> None:
    """It may do anything, so it is not counted on."""

    class Clock(trio.abc.Clock):
        def start_clock(self) -> None: ...

        def current_time(self) -> float:
            return 5.0

        def deadline_to_sleep_time(self, deadline: float) -> float:
            return 0.0

    async def ask() -> bool:
        await trio.lowlevel.checkpoint()
        return runs_by_itself()

    assert trio.run(ask, clock=Clock()) is False

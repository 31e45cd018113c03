"""A limit on how long somebody may take, and what is not counted."""

from __future__ import annotations

import pytest

from trio_xsock._machines.time_limit import LATE, TimeLimit


def test_before_and_at_the_deadline() -> None:
    limit = TimeLimit(100.0, 5)
    assert limit.deadline == 105
    assert not limit.is_over(104.999)
    assert limit.is_over(105)
    assert limit.deadline == 105


def test_a_little_late_is_merely_busy() -> None:
    limit = TimeLimit(0, 5)
    assert limit.is_over(5 + LATE * 0.9)


@pytest.mark.parametrize(("late", "granted"), [(0.5, 0.5), (5, 5), (1000, 5)])
def test_whoever_asks_late_grants_as_much_time_again_once(late: float, granted: float) -> None:
    """At most the whole time, and then it is over, however late it is asked again."""
    limit = TimeLimit(0, 5)
    now = 5 + late
    assert not limit.is_over(now)
    assert limit.deadline == now + granted
    assert not limit.is_over(now + granted - 0.01)
    assert limit.is_over(now + granted + 1000)


def test_a_clock_that_jumps_is_never_late() -> None:
    assert TimeLimit(0, 5).is_over(1000, counts_lateness=False)


def test_no_time_at_all() -> None:
    """Nothing can be granted again."""
    limit = TimeLimit(10, 0)
    assert limit.is_over(10)
    late = TimeLimit(10, 0)
    assert not late.is_over(11)
    assert late.is_over(11)


def test_it_can_only_be_shortened() -> None:
    limit = TimeLimit(0, 5)
    limit.shorten(7)
    assert limit.deadline == 5
    limit.shorten(3)
    assert limit.deadline == 3
    assert limit.is_over(3)

"""A limit on how often something may happen."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trio_xsock._machines.rate_limit import RateLimit, SourceLimits


def test_a_burst_then_a_trickle() -> None:
    """A clock that stands still gives nothing."""
    limit = RateLimit(2)
    assert [limit.allows(0) for _ in range(3)] == [True, True, False]
    assert [limit.allows(0.5) for _ in range(2)] == [True, False]
    assert [limit.allows(100) for _ in range(3)] == [True, True, False]


@given(st.lists(st.floats(0, 10), max_size=200))
def test_no_more_than_the_rate_whenever_asked(times: list[float]) -> None:
    """Over any time, at most the burst and what came in since; also if the clock goes back."""
    limit = RateLimit(5)
    allowed = sum(limit.allows(now) for now in times)
    assert allowed <= 5 + 5 * (max(times, default=0) - min(times, default=0)) + 1e-9
    assert allowed >= min(len(times), 5)


def test_a_source_that_floods_takes_nothing_from_others() -> None:
    """Each source has its own limit; what one is refused does not count for all of them."""
    limits = SourceLimits(2, 10)
    assert [limits.allows("flood", 0) for _ in range(100)] == [True] * 2 + [False] * 98
    assert [limits.allows("other", 0) for _ in range(3)] == [True, True, False]
    assert [limits.allows(f"source {number}", 0) for number in range(7)] == [True] * 6 + [False]
    assert limits.allows("flood", 1)


def test_sources_that_are_remembered_are_bounded() -> None:
    """The one that was silent for longest is forgotten; one that goes on is not."""
    limits = SourceLimits(1, 1e9)
    for number in range(3000):
        limits.allows(f"source {number}", 0)
        assert limits.allows("flood", 0) == (number == 0)
    assert len(limits) == 1024

"""A limit on how often something may happen."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trio_xsock._machines.rate_limit import RateLimit


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

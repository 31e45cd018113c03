"""Times by key, against a plain dictionary of them."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from trio_xsock._machines.timetable import Timetable

keys = st.sampled_from([b"a", b"b", b"c", b"d"])
steps = st.one_of(
    st.tuples(st.just("set"), keys, st.integers(0, 100)),
    st.tuples(st.just("discard"), keys, st.just(0)),
    st.tuples(st.just("pop"), st.just(b""), st.integers(0, 100)),
)


@given(st.lists(steps, max_size=60))
def test_like_a_dictionary(program: list[tuple[str, bytes, int]]) -> None:
    """Whatever is due comes, once and in order; the earliest time is never announced too late."""
    table, model = Timetable(), dict[bytes, float]()
    for operation, key, number in program:
        if operation == "set":
            table.set(key, number)
            model[key] = number
        elif operation == "discard":
            table.discard(key)
            model.pop(key, None)
        else:
            due = sorted((when, name) for name, when in model.items() if when <= number)
            assert table.pop_due(number) == [name for _, name in due]
            for _, name in due:
                del model[name]
            assert table.earliest > number
        assert table.earliest <= min(model.values(), default=math.inf)


def test_moving_back_touches_nothing() -> None:
    """One entry for each key, however often it was put off."""
    table = Timetable()
    for number in range(1000):
        for key in (b"a", b"b"):
            table.set(key, number)
    assert len(table) == 2
    assert table.pop_due(998) == []
    assert table.earliest == 999


def test_moving_forward_is_bounded() -> None:
    """What was superseded is dropped before it is much."""
    table = Timetable()
    table.set(b"b", 5)
    for number in range(10_000):
        table.set(b"a", -number)
        assert len(table) <= 2 * 2 + 64
    assert table.pop_due(-1) == [b"a"]
    assert table.pop_due(10) == [b"b"]
    assert table.earliest == math.inf

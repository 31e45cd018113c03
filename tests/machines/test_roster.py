"""The roster of a server's connections, without a server: numbers stand for connections."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trio_xsock._machines.roster import Roster


def roster(minimum: int = 2, maximum: int | None = None) -> Roster[int, str]:
    return Roster(minimum, maximum)


def announced(roster: Roster[int, str], *connections: int) -> None:
    for connection in connections:
        roster.add(connection, f"socket {connection}")
        roster.announce(connection)


def test_a_connection_is_open_before_it_has_a_place_and_after() -> None:
    """It counts only while it has one."""
    one = roster()
    one.add(1, "socket 1")
    assert (list(one.open), list(one.placed), one.accepted) == ([1], [], 0)
    assert one.announce(1) == "socket 1"
    assert (list(one.open), list(one.placed), one.accepted) == ([1], [1], 1)
    assert one.end(1)
    assert (list(one.open), list(one.placed), one.accepted) == ([1], [], 1)
    one.close(1)
    assert not one.open


def test_a_place_is_given_back_once() -> None:
    """And what never had one gives none back."""
    one = roster()
    announced(one, 1)
    assert one.end(1)
    assert not one.end(1)
    assert not one.end(2)
    one.close(2)


def test_at_the_ceiling_there_is_no_place() -> None:
    """Wanted or not; ``None`` is no ceiling, and lowering it ends nobody."""
    one = roster(maximum=2)
    announced(one, 1, 2)
    assert not one.has_place(wanted=True)
    one.limit(2, 3)
    assert one.has_place(wanted=True)
    one.limit(2, 1)
    assert len(one.placed) == 2
    one.end(1)
    assert not one.has_place(wanted=True)
    one.limit(2, None)
    assert one.has_place(wanted=True)


def test_so_many_may_wait_to_be_taken() -> None:
    """What is wanted has a place all the same; a minimum of 0 lets one wait."""
    for minimum, ready in ((0, 1), (1, 1), (3, 3)):
        one = roster(minimum)
        for connection in range(ready):
            assert one.has_place(wanted=False)
            announced(one, connection)
            one.keep_ready(connection)
        assert one.ready == ready
        assert not one.has_place(wanted=False)
        assert one.has_place(wanted=True)


def test_first_come_first_taken() -> None:
    """What ends meanwhile is not taken any more."""
    one = roster()
    assert one.take_ready() is None
    announced(one, 1, 2, 3)
    for connection in (1, 2, 3):
        one.keep_ready(connection)
    one.end(2)
    assert one.take_ready() == (1, "socket 1")
    assert one.take_ready() == (3, "socket 3")
    assert one.take_ready() is None
    assert list(one.placed) == [1, 3]


@given(
    st.integers(0, 3),
    st.one_of(st.none(), st.integers(1, 4)),
    st.lists(st.tuples(st.sampled_from(["come", "take", "end", "close"]), st.integers(0, 9))),
)
def test_places_add_up(minimum: int, maximum: int | None, moves: list[tuple[str, int]]) -> None:
    """Whatever comes and goes in whatever order, against plain lists."""
    one = roster(minimum, maximum)
    opened: list[int] = []
    placed: list[int] = []
    ready: list[int] = []
    count = 0
    for move, number in moves:
        if move == "come" and number not in opened:
            below = maximum is None or len(placed) < maximum
            assert one.has_place(wanted=True) == below
            assert one.has_place(wanted=False) == (below and len(ready) < max(1, minimum))
            one.add(number, str(number))
            opened.append(number)
            if one.has_place(wanted=False):
                assert one.announce(number) == str(number)
                one.keep_ready(number)
                placed.append(number)
                ready.append(number)
                count += 1
        elif move == "take":
            first = ready.pop(0) if ready else None
            expected = None if first is None else (first, str(first))
            assert one.take_ready() == expected
        elif move in {"end", "close"}:
            assert one.end(number) == (number in placed)
            placed = [each for each in placed if each != number]
            ready = [each for each in ready if each != number]
            if move == "close":
                one.close(number)
                opened = [each for each in opened if each != number]
        assert (list(one.open), list(one.placed)) == (opened, placed)
        assert (one.ready, one.accepted) == (len(ready), count)

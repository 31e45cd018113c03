"""The table of states and moves, compared with a second one that is written down here."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_xsock._machines.state import TRANSITIONS, Move, SocketState, next_state
from trio_xsock._values.errors import ErrorCode, InvalidStateError

EVERY_PAIR = list(itertools.product(SocketState, Move))

# SPEC 3.2 and 3.3 in words: what may happen in a state, and where it leads.
LEGAL = """
    CLOSED     CONNECT   -> CONNECTING
    CLOSED     LISTEN    -> LISTENING
    CLOSED     BIND      -> BOUND
    CLOSED     CLOSE     -> CLOSED
    CONNECTING ESTABLISH -> CONNECTED
    CONNECTING FAIL      -> CLOSED
    CONNECTING CLOSE     -> CLOSED
    LISTENING  ESTABLISH -> CONNECTED
    LISTENING  FAIL      -> CLOSED
    LISTENING  CLOSE     -> CLOSED
    CONNECTED  DRAIN     -> CLOSING
    CONNECTED  CLOSE     -> CLOSED
    BOUND      CLOSE     -> CLOSED
    CLOSING    CLOSE     -> CLOSED
"""
EXPECTED = {
    (SocketState[state], Move[move]): SocketState[after]
    for state, move, _, after in (line.split() for line in LEGAL.strip().splitlines())
}
CURES = {
    SocketState.CLOSED: "it is not open",
    SocketState.CONNECTING: "wait for connect() or close() it first",
    SocketState.LISTENING: "close() it first",
    SocketState.CONNECTED: "close() it first",
    SocketState.BOUND: "close() it first",
    SocketState.CLOSING: "wait for aclose() first",
}


@pytest.mark.parametrize(("state", "move"), EVERY_PAIR)
def test_every_pair_is_legal_or_refused(state: SocketState, move: Move) -> None:
    """A move leads where the table says, or is refused with move, state and cure in the text."""
    if (state, move) in EXPECTED:
        assert next_state(state, move) is EXPECTED[state, move]
        return
    with pytest.raises(InvalidStateError) as caught:
        next_state(state, move)
    text = str(caught.value)
    assert text.startswith(f"{move.value} is not possible while the socket is {state.value}: ")
    assert text.endswith(CURES[state])
    assert caught.value.error_number is ErrorCode.INVALID_STATE_ERROR
    assert caught.value.__suppress_context__  # the KeyError of the look-up is nobody's business


def test_the_table_holds_nothing_else() -> None:
    """What other modules and the diagram read from the table is what is listed here."""
    assert TRANSITIONS == EXPECTED


@pytest.mark.parametrize("state", SocketState)
def test_close_is_always_legal(state: SocketState) -> None:
    """Whatever a socket does, ``close()`` ends it, also twice."""
    assert next_state(next_state(state, Move.CLOSE), Move.CLOSE) is SocketState.CLOSED


def test_every_state_can_be_reached() -> None:
    """No state of the enum is dead."""
    reached = {SocketState.CLOSED}
    for _ in SocketState:
        reached |= {after for (state, _), after in TRANSITIONS.items() if state in reached}
    assert reached == set(SocketState)


@given(st.lists(st.sampled_from(Move)))
def test_a_refused_move_changes_nothing(moves: list[Move]) -> None:
    """A socket that goes through any moves is where the legal ones of them lead."""
    state = model = SocketState.CLOSED
    for move in moves:
        try:
            state = next_state(state, move)
        except InvalidStateError:
            assert (model, move) not in EXPECTED
        else:
            model = EXPECTED[model, move]
        assert state is model

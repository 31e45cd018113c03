"""Counters that count once, and challenges that can be answered once."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from trio_xsock._machines.replay_protection import Challenges, ReplayWindow

HERE, ELSEWHERE = ("10.0.0.1", 1), ("10.0.0.2", 1)


@given(st.lists(st.integers(0, 200), max_size=100), st.integers(0, 100))
def test_the_replay_window(counters: list[int], first: int) -> None:
    """Each counter once, none from before it, and late ones up to 63 behind."""
    window, seen, highest = ReplayWindow(first), set(range(first + 1)), first
    for counter in counters:
        expected = counter not in seen and counter > highest - 64
        assert window.accept(counter) == expected
        if expected:
            seen.add(counter)
            highest = max(highest, counter)


def challenges() -> Challenges:
    """None yet; 2 seconds to answer."""
    return Challenges(random.Random(1).randbytes, 2.0)


def test_the_right_answer_counts_once() -> None:
    """From where the challenge was sent to, from whom it was for, and in time."""
    pending = challenges()
    nonce = pending.nonce_for(b"a", HERE, 0.0)
    assert len(nonce) == 16
    assert not pending.settle(b"b", HERE, nonce, 1.0)
    assert not pending.settle(b"a", ELSEWHERE, nonce, 1.0)
    assert not pending.settle(b"a", HERE, bytes(16), 1.0)
    assert not pending.settle(b"a", HERE, nonce, 2.0)
    assert pending.settle(b"a", HERE, nonce, 1.9)
    assert not pending.settle(b"a", HERE, nonce, 1.9)


def test_a_challenge_is_repeated_while_it_holds() -> None:
    """To the same stranger in the same place; later, or elsewhere, there is a fresh one."""
    pending = challenges()
    nonce = pending.nonce_for(b"a", HERE, 0.0)
    assert pending.nonce_for(b"a", HERE, 1.9) == nonce
    later = pending.nonce_for(b"a", HERE, 2.0)
    elsewhere = pending.nonce_for(b"a", ELSEWHERE, 2.0)
    another = pending.nonce_for(b"b", HERE, 2.0)
    assert len({nonce, later, elsewhere, another}) == 4
    assert len(pending) == 2


def test_challenges_expire_and_are_bounded() -> None:
    """The oldest go first."""
    pending = challenges()
    nonces = {
        name: pending.nonce_for(name, HERE, now) for now, name in enumerate([b"a", b"b", b"c"])
    }
    pending.expire(3.0)
    assert len(pending) == 1
    assert pending.settle(b"c", HERE, nonces[b"c"], 3.0)
    pending.expire(3.0)
    first = pending.nonce_for(b"first", HERE, 3.0)
    for number in range(64):
        pending.nonce_for(bytes([number]), HERE, 3.0)
    assert len(pending) == 64
    assert not pending.settle(b"first", HERE, first, 3.0)

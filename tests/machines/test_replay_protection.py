"""Counters that count once, and challenges that can be answered once."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from trio_xsock._machines.replay_protection import Challenges, ReplayWindow, StrangerCounters

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


def test_every_challenge_that_is_not_too_old_may_be_answered() -> None:
    """Whichever of them arrived; each is for one stranger in one place."""
    pending = challenges()
    first, second = pending.nonce_for(b"a", HERE, 0.0), pending.nonce_for(b"a", HERE, 1.0)
    elsewhere = pending.nonce_for(b"a", ELSEWHERE, 0.0)
    another = pending.nonce_for(b"b", HERE, 0.0)
    assert len({first, second, elsewhere, another}) == 4
    assert not pending.settle(b"a", HERE, elsewhere, 1.0)
    assert not pending.settle(b"a", HERE, another, 1.0)
    assert pending.settle(b"a", HERE, second, 1.0)
    assert pending.settle(b"a", HERE, first, 1.0)
    assert not challenges_of_another().settle(b"a", ELSEWHERE, elsewhere, 1.0)


def challenges_of_another() -> Challenges:
    """Made with another secret."""
    return Challenges(random.Random(2).randbytes, 2.0)


def test_nobody_s_challenge_is_pushed_out() -> None:
    """However many strangers ask meanwhile; nothing is stored for any of them."""
    pending = challenges()
    first = pending.nonce_for(b"first", HERE, 0.0)
    for number in range(10_000):
        pending.nonce_for(b"%d" % number, HERE, 0.5)
    assert len(pending) == 0
    assert pending.settle(b"first", HERE, first, 1.0)


def test_those_that_were_answered_are_forgotten_when_they_are_too_old() -> None:
    """And cannot be answered again at any time."""
    pending = challenges()
    nonces = {now: pending.nonce_for(b"a", HERE, now) for now in (0.0, 1.0, 5.0)}
    assert pending.settle(b"a", HERE, nonces[0.0], 0.5)
    assert pending.settle(b"a", HERE, nonces[1.0], 1.5)
    assert len(pending) == 2
    assert pending.settle(b"a", HERE, nonces[5.0], 5.0)
    assert len(pending) == 1
    assert not any(pending.settle(b"a", HERE, nonce, 5.1) for nonce in nonces.values())


@given(st.floats(0, 1e12), st.floats(0, 3))
def test_a_challenge_holds_for_its_time_on_any_clock(now: float, later: float) -> None:
    """Give or take a millisecond, and the clock's own precision."""
    pending = challenges()
    nonce = pending.nonce_for(b"a", HERE, now)
    slack = 0.0011 + (now + later) * 1e-15
    if later < 2 - slack:
        assert pending.settle(b"a", HERE, nonce, now + later)
    elif later > 2 + slack:
        assert not pending.settle(b"a", HERE, nonce, now + later)


def test_the_counters_of_strangers() -> None:
    """Each packet counts once, also after its sender was a member; a bounded number is known."""
    strangers = StrangerCounters()
    assert strangers.accept(b"a", 5)
    assert not strangers.accept(b"a", 5)
    assert not strangers.accept(b"a", 4)
    assert strangers.accept(b"a", 7)
    assert strangers.accept(b"a", 6)
    assert strangers.accept(b"b", 1)
    strangers.remember(b"a", ReplayWindow(100))
    assert not strangers.accept(b"a", 99)
    assert strangers.accept(b"a", 101)
    for number in range(3000):
        strangers.accept(b"%d" % number, 1)
        assert not strangers.accept(b"a", 101)
    assert len(strangers) == 1024

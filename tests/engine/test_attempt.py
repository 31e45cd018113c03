"""``Attempt``: what waits in it is called off, and who waits for it is told how it ended."""

from __future__ import annotations

import trio

from trio_xsock._engine.attempt import Attempt
from trio_xsock._runtime.guard import Parking


async def told(attempt: Attempt, *, up: bool) -> list[bool | None]:
    """What two tasks get that wait for the end of ``attempt``."""
    parkings = [Parking[bool | None](), Parking[bool | None]()]
    for parking in parkings:
        attempt.wait(parking)
    attempt.end(up=up)
    return [await parking.park() for parking in parkings]


async def test_success_leaves_the_scope_alone() -> None:
    """The call goes on; the others hear that there is a connection."""
    attempt = Attempt()
    scope = attempt.open_scope()
    assert await told(attempt, up=True) == [True, True]
    assert not scope.cancel_called


async def test_the_end_cancels_what_waits() -> None:
    """And the others hear that there will be no connection."""
    attempt = Attempt()
    with attempt.open_scope() as scope:
        assert await told(attempt, up=False) == [False, False]
        await trio.sleep_forever()
    assert scope.cancelled_caught


async def test_a_closed_scope_is_not_cancelled() -> None:
    """Nothing waits in it any more; another one is not mistaken for it."""
    attempt = Attempt()
    first = attempt.open_scope()
    attempt.close_scope(first)
    second = attempt.open_scope()
    attempt.close_scope(first)
    attempt.end(up=False)
    assert not first.cancel_called
    assert second.cancel_called


async def test_who_was_cancelled_is_forgotten() -> None:
    """The rest are told, once."""
    attempt = Attempt()
    gone, stays = Parking[bool | None](), Parking[bool | None]()
    attempt.wait(gone)
    attempt.wait(stays)
    attempt.forget(gone)
    attempt.end(up=True)
    attempt.end(up=False)
    assert not gone.done
    assert await stays.park() is True

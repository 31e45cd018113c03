"""What is told of exceptions in groups."""

from __future__ import annotations

import pytest
import trio
import trio.lowlevel

from trio_xsock._runtime.groups import as_group, single, without_cancelled

ONE = ValueError("one")
TWO = KeyError("two")


async def cancelled() -> trio.Cancelled:
    """A cancellation, which only Trio can make."""
    caught: list[trio.Cancelled] = []
    with trio.CancelScope() as scope:
        scope.cancel()
        try:
            await trio.lowlevel.checkpoint()
        except trio.Cancelled as exc:
            caught.append(exc)
            raise
    return caught.pop()


def test_only_groups_are_groups() -> None:
    """Anything else is none."""
    group = ExceptionGroup("", [ONE])
    assert as_group(group) is group
    assert as_group(ONE) is None
    assert as_group(None) is None


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_the_single_one_is_found_however_deep(depth: int) -> None:
    """Groups of one are opened."""
    exc: Exception = ONE
    for _ in range(depth):
        exc = ExceptionGroup("", [exc])
    assert single(exc) is ONE


def test_what_is_not_single_stays() -> None:
    """A group of two, and an exception of its own."""
    group = ExceptionGroup("", [ONE, TWO])
    assert single(group) is group
    assert single(ONE) is ONE


async def test_cancellations_are_taken_out() -> None:
    """What has none in it stays the same object."""
    cancellation = await cancelled()
    group = ExceptionGroup("", [ONE, TWO])
    assert without_cancelled(ONE) is ONE
    assert without_cancelled(group) is group
    assert without_cancelled(cancellation) is None
    assert without_cancelled(BaseExceptionGroup("", [cancellation])) is None
    rest = without_cancelled(BaseExceptionGroup("", [cancellation, ONE]))
    assert as_group(rest) is not None
    assert rest is not None
    assert single(rest) is ONE

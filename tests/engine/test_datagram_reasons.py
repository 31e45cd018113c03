"""What is said where a datagram port cannot be used."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from tests.support.fake_ports import FakeKeeper, FakePort
from trio_xsock import (
    InvalidStateError,
    NetworkInterface,
    OutOfMemoryError,
    SocketClosedError,
    SocketError,
)
from trio_xsock._engine.datagram_reasons import (
    check_bound,
    closed_error,
    not_heard,
    not_sent,
    why_not_bound,
)


class Facts:
    """A port in a state that the test chooses."""

    def __init__(self, **facts: Any) -> None:
        self.bound = facts.get("bound")
        self.closed_by_us = facts.get("closed_by_us", False)
        self.keeper = facts.get("keeper")


def test_each_state_has_its_cure() -> None:
    """Before the block, in it, after a close, after the block."""
    keeper: Any = FakeKeeper()
    assert "use `async with`" in str(why_not_bound(Facts(), "sock"))
    assert "`await bind()` first" in str(why_not_bound(Facts(keeper=keeper), "sock"))
    closed = why_not_bound(Facts(keeper=keeper, closed_by_us=True), "sock")
    assert isinstance(closed, SocketClosedError)
    assert "bind() opens it again" in str(closed)
    keeper.ended = True
    assert "make a new str" in str(closed_error(Facts(keeper=keeper), "sock"))


def test_what_closed_the_socket_is_the_cause() -> None:
    """The first failure of a handler or a task."""
    keeper: Any = FakeKeeper()
    keeper.failures = (ValueError("first"), ValueError("second"))
    error = closed_error(Facts(keeper=keeper), "sock", "closed while it was being bound")
    assert error.__cause__ is keeper.failures[0]
    assert "closed while it was being bound" in str(error)


def test_only_a_bound_port_may_be_used() -> None:
    """Also while a graceful close still sends, it may not."""
    port: Any = FakePort()
    assert check_bound(Facts(bound=port), "sock") is port
    with pytest.raises(SocketClosedError):
        check_bound(Facts(bound=port, closed_by_us=True), "sock")
    with pytest.raises(InvalidStateError, match="not bound"):
        check_bound(Facts(), "sock")


@pytest.mark.parametrize(
    ("number", "kind", "advice"),
    [
        (errno.EMSGSIZE, SocketError, "65507 bytes"),
        (errno.ENOBUFS, OutOfMemoryError, ""),
        (errno.ENETUNREACH, SocketError, "check the routes"),
    ],
)
def test_a_refused_datagram(number: int, kind: type[SocketError], advice: str) -> None:
    """The text names where to, and what may help."""
    error = not_sent(OSError(number, "refused"), ("::1", 7, 0, 0))
    assert type(error) is kind
    assert (error.errno, "[::1]:7" in str(error)) == (number, True)
    assert advice in str(error)


def test_groups_that_are_not_heard() -> None:
    """The interface is named where one was chosen."""
    trouble = OSError(errno.ENODEV, "no such device")
    error = not_heard(trouble, None, "sock")
    assert (error.errno, " on " in str(error)) == (errno.ENODEV, False)
    assert " on lo" in str(not_heard(trouble, NetworkInterface.loopback(), "sock"))

"""When memberships are looked at again, and what is told of those that cannot be renewed."""

from __future__ import annotations

import errno
import math
from typing import Any

from trio_xsock._engine.renewal import INTERVAL, Renewal

LOST = OSError(errno.ENODEV, "no such device")


class Port:
    """A port whose memberships hold or not, as a test wants it."""

    def __init__(self) -> None:
        self.needs_renewal = True
        self.trouble: OSError | None = None
        self.looks = 0

    def renew(self) -> OSError | None:
        self.looks += 1
        return self.trouble


def look(renewal: Renewal, ports: list[Any]) -> OSError | None:
    """Look when it is time."""
    return renewal.look(ports, renewal.deadline)


def test_it_looks_when_it_is_time_and_only_then() -> None:
    """From the first group on, as long as there are any."""
    renewal, port = Renewal(), Port()
    ports: list[Any] = [port]
    assert renewal.deadline == math.inf
    renewal.begin(10.0)
    renewal.begin(11.0)  # another group does not put it off
    assert renewal.deadline == 10.0 + INTERVAL
    assert renewal.look(ports, 11.9) is None
    assert port.looks == 0
    assert renewal.look(ports, 12.0) is None
    assert (port.looks, renewal.deadline) == (1, 12.0 + INTERVAL)
    port.needs_renewal = False  # the last group was left
    look(renewal, ports)
    assert (port.looks, renewal.deadline) == (1, math.inf)


def test_what_stays_away_is_told_once() -> None:
    """At the second look in a row, so that a short change is no trouble; and again after it."""
    renewal, port = Renewal(), Port()
    ports: list[Any] = [port, Port()]
    renewal.begin(0.0)
    port.trouble = LOST
    assert look(renewal, ports) is None
    port.trouble = None
    assert look(renewal, ports) is None
    for _ in range(2):
        port.trouble = LOST
        assert [look(renewal, ports) for _ in range(4)] == [None, LOST, None, None]
        port.trouble = None
        assert look(renewal, ports) is None


def test_a_closed_socket_begins_anew() -> None:
    """What was told before is told again after the next binding."""
    renewal, port = Renewal(), Port()
    ports: list[Any] = [port]
    port.trouble = LOST
    renewal.begin(0.0)
    assert [look(renewal, ports) for _ in range(2)] == [None, LOST]
    renewal.end()
    assert renewal.deadline == math.inf
    renewal.begin(100.0)
    assert [look(renewal, ports) for _ in range(2)] == [None, LOST]

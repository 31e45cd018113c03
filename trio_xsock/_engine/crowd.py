"""Waiting for the input of a connection that nobody listens to: by its own task, or in the hub.

A task that waits for the descriptor itself is woken by Trio, without a turn of the hub's task: the
cheapest way for one busy connection, and not dearer for a hundred. But Trio runs all tasks that are
ready before it looks at the clock again: with a thousand of them a task that sleeps 2 ms sleeps 25.
The hub wakes them by portions, between which the others run. A wait there also takes 1 kB less, and
a connection with one request is registered once and not twice: so the hub waits for the first input
of a server's connections, too.

A *turn* of a connection is that its task gets input, with a wait or without. The turns of others
between two of a connection's own tell how many are busy, however many there are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .by_caller import is_listened_to, serve
from .intake import OwnWait

if TYPE_CHECKING:
    from trio_xsock._runtime.epoll import EpollHub

    from .connection import Connection

_MANY: Final = 128
"""Turns of others from which on the hub waits."""
_FEW: Final = 32
"""Turns of others below which the task waits itself again."""
_WEIGHT: Final = 0.25
"""How much the newest number of them counts."""
_NEW: Final = 3
"""The turns for which the hub waits if the connection is a server's: most have few."""


def own_wait(connection: Connection, limit: int) -> OwnWait:
    """The wait of the connection's receiving task; made when it first waits.

    Args:
        connection: the connection.
        limit: see ``OwnWait``.
    """
    wait = connection.intake.own_wait
    if wait is None:
        wait = connection.intake.own_wait = OwnWait()
        hub = _hub_of(connection)
        wait.turn = 0 if hub is None else hub.turns
    wait.limit = limit
    return wait


def join(connection: Connection, wait: OwnWait) -> bool:
    """Let the hub wait if many connections are busy; returns whether it does.

    Args:
        connection: one that is not served, whose task is about to receive.
        wait: its own wait.
    """
    if wait.others < _MANY:
        return False
    connection.intake.join_crowd()
    serve(connection)
    return True


def take_turn(connection: Connection, wait: OwnWait) -> None:
    """The task gets input; a wait in the hub was the last one there if few are busy."""
    hub = _hub_of(connection)
    if hub is None:
        return
    # Trio runs the tasks of a turn of its own in a random order: one value says little.
    wait.others += (hub.turns - wait.turn - wait.others) * _WEIGHT
    wait.turn = hub.turns = hub.turns + 1
    if connection.intake.crowded:
        few = _FEW
        if wait.age < _NEW:
            wait.age += 1
            few = _MANY if wait.age == _NEW else 0
        if wait.others < few:
            connection.intake.leave_crowd(served=is_listened_to(connection))


def _hub_of(connection: Connection) -> EpollHub | None:
    keeper = connection.delivery.keeper
    return None if keeper is None else keeper.root.hub

"""Waiting for the input of a connection that nobody listens to: by its own task, or in the hub.

A task that waits for the descriptor itself is woken by Trio, without a turn of the hub's task: the
cheapest way for one busy connection. From some twenty on, the hub is cheaper: it reads the input of
all in one batch and hands it to the tasks that are parked. Trio also runs all tasks that are ready
before it looks at the clock again: with a thousand of them a task that sleeps 2 ms sleeps 25. The
hub wakes them by portions, between which the others run. A wait there takes 1 kB less, and a
connection with one request is registered once and not twice: so the hub waits for the first input
of a server's connections, too.

A *turn* of a connection is that its task gets input, with a wait or without. The turns of others
between two of a connection's own tell how many are busy, however many there are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .by_caller import is_listened_to, serve
from .own_wait import OwnWait

if TYPE_CHECKING:
    from trio_xsock._runtime.epoll import EpollHub

    from .connection import Connection

# These two are not Final, because tests change them: compiled code would keep the old ones.
_MANY = 24
"""Turns of others from which on the hub waits."""
_FEW = 8
"""Turns of others below which the task waits itself again."""
_TURNS: Final = 8
"""The turns of its own after which their number is taken: Trio runs tasks in a random order."""
_NEW: Final = 3
"""The turns for which the hub waits if the connection is a server's: most have few."""


def own_wait(connection: Connection) -> OwnWait:
    """The wait of the connection's receiving task; made when it first waits."""
    intake = connection.intake
    wait = intake.own_wait
    if wait is None:
        keeper = connection.delivery.keeper
        hub = None if keeper is None else keeper.root.hub
        wait = intake.own_wait = OwnWait(hub, _NEW if intake.crowded else _TURNS)
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
    hub = wait.hub
    if hub is not None:
        hub.turns += 1
        wait.left -= 1
        if not wait.left:
            _count_others(connection, wait, hub)


def _count_others(connection: Connection, wait: OwnWait, hub: EpollHub) -> None:
    few = _MANY if wait.span == _NEW else _FEW
    wait.others = (hub.turns - wait.turn) // wait.span - 1
    wait.count(_TURNS)
    if connection.intake.crowded and wait.others < few:
        connection.intake.leave_crowd(served=is_listened_to(connection))

"""``Attempt``: an attempt at a connection: its cancel scopes, and the tasks that wait for it."""

from __future__ import annotations

import trio

from trio_xsock._runtime.guard import Parking, protect_from_ki


@protect_from_ki
class Attempt:
    """The time before a connection is up, or while it becomes encrypted.

    Closing the connection cancels it.
    """

    __slots__ = ("_scope", "_waiters")

    def __init__(self) -> None:
        self._scope: trio.CancelScope | None = None
        self._waiters: tuple[Parking[bool | None], ...] = ()

    def open_scope(self) -> trio.CancelScope:
        """The scope in which a call waits."""
        self._scope = scope = trio.CancelScope()
        return scope

    def close_scope(self, scope: trio.CancelScope) -> None:
        """The call waits no more."""
        if self._scope is scope:
            self._scope = None

    def end(self, *, up: bool) -> None:
        """The attempt is over, or cancelled; ``up`` if there is a connection."""
        scope, self._scope = self._scope, None
        if scope is not None and not up:
            scope.cancel("the socket was closed")
        waiters, self._waiters = self._waiters, ()
        for parking in waiters:
            parking.unpark(up)

    def wait(self, parking: Parking[bool | None]) -> None:
        """Wake ``parking``: with True when the connection is up, with False if none will be."""
        self._waiters += (parking,)

    def forget(self, parking: Parking[bool | None]) -> None:
        """Its task was cancelled."""
        self._waiters = tuple(each for each in self._waiters if each is not parking)

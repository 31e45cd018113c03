"""``Roster``: which connections a server has, and whether there is a place for one more.

A connection is *open* from accept until it has no descriptor any more. In between it may have a
place: it is announced, and counts, until it begins to close. So what shakes hands before that and
what lingers after it keeps nobody out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from typing import Generic, TypeVar

C = TypeVar("C", bound=Hashable)
S = TypeVar("S")


class Roster(Generic[C, S]):
    """The connections of one server, and its places.

    Args:
        minimum: how many may wait to be taken while nobody asks; 0 counts as 1.
        maximum: the ceiling; ``None`` for none.

    Attributes:
        accepted: how many were ever announced.
        maximum, minimum: as above; changed by ``limit``.
        open: connections that have a descriptor, and their sockets.
        placed: those that have a place, and their sockets, in order of announcement.
    """

    __slots__ = ("_ready", "accepted", "maximum", "minimum", "open", "placed")

    def __init__(self, minimum: int, maximum: int | None) -> None:
        self.accepted = 0
        self.minimum = minimum
        self.maximum = maximum
        self.open: dict[C, S] = {}
        self.placed: dict[C, S] = {}
        self._ready: deque[C] = deque()

    @property
    def ready(self) -> int:
        """How many wait to be taken."""
        return len(self._ready)

    def limit(self, minimum: int, maximum: int | None) -> None:
        """Go on with other limits; nobody loses a place by that."""
        self.minimum = minimum
        self.maximum = maximum

    def has_place(self, *, wanted: bool) -> bool:
        """Whether one more may be announced.

        Args:
            wanted: somebody waits for it, or it needs nobody who takes it.
        """
        if self.maximum is not None and len(self.placed) >= self.maximum:
            return False
        return wanted or len(self._ready) < (self.minimum or 1)

    # From accept to the end

    def add(self, connection: C, socket: S) -> None:
        """It was accepted."""
        self.open[connection] = socket

    def announce(self, connection: C) -> S:
        """It has a place from now on; returns its socket."""
        self.accepted += 1
        socket = self.placed[connection] = self.open[connection]
        return socket

    def keep_ready(self, connection: C) -> None:
        """It waits to be taken."""
        self._ready.append(connection)

    def take_ready(self) -> tuple[C, S] | None:
        """What has waited longest to be taken; ``None`` if nothing does."""
        if not self._ready:
            return None
        connection = self._ready.popleft()
        return connection, self.placed[connection]

    def end(self, connection: C) -> bool:
        """It gives its place back; whether it had one."""
        if self.placed.pop(connection, None) is None:
            return False
        if self._ready and connection in self._ready:
            self._ready.remove(connection)
        return True

    def close(self, connection: C) -> None:
        """It has no descriptor any more."""
        self.open.pop(connection, None)

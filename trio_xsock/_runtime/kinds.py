"""The kinds of events: which handler method is called for which, and who wants which."""

from __future__ import annotations

import functools
from typing import Final, TypeAlias

from trio_xsock._values.events import (
    Connected,
    ConnectionsChanged,
    DataAvailable,
    ErrorOccurred,
    Event,
    MemberJoined,
    MemberLeft,
    SendComplete,
    SendProgress,
)

Kinds: TypeAlias = tuple[type[Event] | None, ...]
"""Those of a handler's methods; ``None`` for a method that is not called for an event."""

NAMES: Final[dict[type[Event], str]] = {
    Connected: "on_connected",
    DataAvailable: "on_data_available",
    SendProgress: "on_send_progress",
    SendComplete: "on_send_complete",
    ErrorOccurred: "on_error",
    ConnectionsChanged: "on_connections_changed",
    MemberJoined: "on_member_joined",
    MemberLeft: "on_member_left",
}
_KIND_OF: Final = {name: kind for kind, name in NAMES.items()}
ARGUMENTS: Final[dict[type[Event], int]] = {
    Connected: 1,
    DataAvailable: 1,
    SendProgress: 3,
    SendComplete: 2,
    ErrorOccurred: 2,
    ConnectionsChanged: 4,
    MemberJoined: 2,
    MemberLeft: 2,
}
"""How many of an event's fields its method is given; the rest came later than Xojo."""


@functools.lru_cache(maxsize=64)
def kinds_of(names: tuple[str, ...]) -> Kinds:
    """The kinds of events that handler methods of these names are called for."""
    return tuple(_KIND_OF.get(name) for name in names)


@functools.lru_cache(maxsize=64)
def wishes(handled: Kinds, has_channels: bool) -> tuple[frozenset[type[Event]], bool]:
    """The kinds that somebody wants, and whether one of them is about sends.

    One set for all sockets that want the same, because each takes 216 bytes.

    Args:
        handled: the kinds for which the handler has a method.
        has_channels: there is a channel.
    """
    kinds = frozenset(kind for kind in handled if kind is not None)
    wanted = kinds | _ALL if has_channels else kinds
    return wanted, not wanted.isdisjoint(_SENDS)


_SENDS: Final[frozenset[type[Event]]] = frozenset({SendProgress, SendComplete})
NOTHING: Final[frozenset[type[Event]]] = frozenset()
_ALL: Final = frozenset(NAMES) - {ConnectionsChanged}
"""What every channel is given; the exception only those that ask for it."""

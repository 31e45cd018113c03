"""The members that one member knows: when each was last seen, when to ask it, when it has expired.

Without a key any program can announce a member that does not exist, from any address. So a
member is *proven* only once it has answered a challenge that was sent to its address. An unproven
member is never asked anything, stays no longer than our own expiry, and is the first to be removed
when the table is full.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from trio_xsock._values.member import Endpoint, Member

from .member_packets import Settings
from .packets import Identity
from .replay_protection import ReplayWindow
from .timetable import Timetable

_SHORTEST_HOLD: Final = 0.05
_LONGEST_HOLD: Final = 10.0
"""The longest expiry that a member may announce, as a multiple of our own."""
_ASK_AFTER: Final = 0.4
"""The part of the hold after which a silent member is asked."""
_MOST_QUESTIONS: Final = 8
"""How often a silent member is asked before it is removed."""


@dataclass(slots=True)
class Known:
    """A member, and when it expires."""

    instance: bytes
    member: Member
    window: ReplayWindow
    proven: bool
    hold: float = 0.0
    """Seconds of silence after which it expires."""
    deadline: float = 0.0
    ask_at: float = 0.0
    asked: bool = False
    """Since it was heard last; who was not asked is not gone, we may have been asleep."""

    @property
    def endpoint(self) -> Endpoint:
        """Where its packets come from."""
        return (self.member.address, self.member.port)


class MemberTable:
    """A bounded number of members, in the order in which they joined.

    Args:
        settings: how we behave; its ``maximum_members`` counts ourselves.
    """

    __slots__ = ("_known", "_settings", "_times", "_unproven")

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._known: dict[bytes, Known] = {}
        self._unproven: dict[bytes, None] = {}  # the oldest first
        self._times = Timetable()

    def __iter__(self) -> Iterator[Known]:
        return iter(self._known.values())

    def get(self, instance: bytes) -> Known | None:
        """The member with this instance."""
        return self._known.get(instance)

    @property
    def is_full(self) -> bool:
        """Whether no member can be added."""
        return len(self._known) + 1 >= self._settings.maximum_members

    @property
    def oldest_unproven(self) -> Known | None:
        """The member to remove when a proven one needs room."""
        instance = next(iter(self._unproven), None)
        return None if instance is None else self._known[instance]

    @property
    def next_deadline(self) -> float:
        """When to call ``take_due`` next; constant cost."""
        return self._times.earliest

    def add(self, known: Known) -> None:
        """Add a member; call ``heard`` to set when it expires."""
        self._known[known.instance] = known
        if not known.proven:
            self._unproven[known.instance] = None

    def remove(self, known: Known) -> None:
        """Remove a member."""
        del self._known[known.instance]
        self._unproven.pop(known.instance, None)
        self._times.discard(known.instance)

    def clear(self) -> None:
        """Remove all members."""
        for known in list(self):
            self.remove(known)

    def prove(self, known: Known) -> None:
        """The member has answered a challenge."""
        known.proven = True
        self._unproven.pop(known.instance, None)

    def heard(self, known: Known, identity: Identity | None, now: float) -> None:
        """A packet of the member arrived; ``identity`` is there if it says when to expire."""
        if identity is not None:
            longest = self._settings.expiry * (_LONGEST_HOLD if known.proven else 1.0)
            known.hold = min(max(identity.hold / 1000, _SHORTEST_HOLD), longest)
        known.asked = False
        known.deadline = now + known.hold
        known.ask_at = now + known.hold * _ASK_AFTER
        self._schedule(known)

    def all_were_asked(self, deadline: float) -> None:
        """Members from which nothing arrives until then expire."""
        for known in self:
            known.asked = True
            known.deadline = min(known.deadline, deadline)
            self._schedule(known)

    def take_due(self, now: float) -> tuple[list[Known], list[Known]]:
        """Remove the members that have expired; return them, and those that are to be asked."""
        gone: list[Known] = []
        silent: list[Known] = []
        for instance in self._times.pop_due(now):
            known = self._known[instance]
            if now >= known.deadline and known.asked:
                self.remove(known)
                gone.append(known)
                continue
            if now >= known.ask_at:
                self._note_silence(known, now)
                if known.proven:
                    silent.append(known)
            self._schedule(known)
        return gone, silent

    def _note_silence(self, known: Known, now: float) -> None:
        remaining = known.hold * (1 - _ASK_AFTER)
        if not known.asked:
            known.asked = True
            known.deadline = max(known.deadline, now + remaining / 2)
        pause = max(self._settings.heartbeat_interval / 2, remaining / _MOST_QUESTIONS)
        known.ask_at = now + pause

    def _schedule(self, known: Known) -> None:
        at = min(known.deadline, known.ask_at) if known.asked else known.ask_at
        self._times.set(known.instance, at)

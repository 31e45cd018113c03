"""How members that join and leave are reported to channels: each channel gets the difference.

A channel remembers the members that it has reported. Only one mark waits in it, however many joined
and left; when it is read, the difference to the present members is reported, one event for each.
So a slow consumer does not see members that joined and left meanwhile, and a channel made later
first reports all present members.
"""

from __future__ import annotations

from trio_xsock._machines.coalesce import EventQueue
from trio_xsock._values.events import Event, MemberJoined, MemberLeft
from trio_xsock._values.member import Member

from .channel import EventChannel, Source
from .guard import protect_from_ki
from .message_hub import MessageEventQueue, MessageHub

_CHANGES = MemberJoined | MemberLeft


class MemberEventQueue(MessageEventQueue):
    """The waiting events of an ``AutoDiscovery``, for one channel.

    Args:
        events: what waits already.
        members: the present members, by instance.
    """

    __slots__ = ("_members", "_told")

    def __init__(self, events: EventQueue, members: dict[str, Member]) -> None:
        super().__init__(events)
        self._members = members
        self._told: dict[str, Member] = {}

    def post(self, event: Event) -> None:
        """Append ``event``, or merge it into those that wait."""
        if isinstance(event, _CHANGES) and any(
            isinstance(waiting, _CHANGES) for _, waiting in self.events
        ):
            self.merged += 1
        else:
            super().post(event)

    def pop(self) -> Event:
        """Remove and return the oldest; of the changes, the next one that still holds."""
        mark = self.events[0][1]
        if not isinstance(mark, _CHANGES):
            return super().pop()
        # Without a difference the member has joined and left, or the reverse: report both.
        change = self._next_change(mark.socket) or mark
        if isinstance(change, MemberJoined):
            self._told[change.member.instance_id] = change.member
        else:
            self._told.pop(change.member.instance_id, None)
        if self._told.keys() == self._members.keys():
            self.events.pop(0)
        return change

    def _next_change(self, socket: object) -> MemberJoined | MemberLeft | None:
        for instance_id, member in self._told.items():
            if instance_id not in self._members:
                return MemberLeft(socket, member)
        for instance_id, member in self._members.items():
            if instance_id not in self._told:
                return MemberJoined(socket, member)
        return None


class MemberHub(MessageHub):
    """The hub of a socket of groups; for an ``AutoDiscovery`` it reports joins and leaves.

    Attributes:
        members: the members of the group, by instance.
    """

    __slots__ = ("members",)

    def __init__(self) -> None:
        super().__init__()
        self.members: dict[str, Member] = {}

    def attach(self, channel: EventChannel, source: Source) -> None:
        """Post into ``channel`` from now on."""
        source.queue = MemberEventQueue(source.queue, self.members)
        super(MessageHub, self).attach(channel, source)


protect_from_ki(MemberHub)

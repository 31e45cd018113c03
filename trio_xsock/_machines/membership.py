"""The members of a group: the machine behind ``AutoDiscovery``, without a clock or a network.

Each member announces itself at regular intervals and says goodbye when it leaves. A member that is
silent is asked a few times, and expires if it does not answer. A new member asks all others to
announce themselves.

Every unknown sender is challenged: its answer proves that it is at the address that its packets
come from. If the group has a key, packets made without it are ignored, and a new member is added
only after it has answered, so recorded packets cannot join. A counter in every packet prevents
replay, and the receiver's instance prevents replay to another member. Without a key a new member is
added at once, but not asked anything before it has answered; see ``member_table``.

No packet has more than one answer, and no answer is larger than its request. Answers are
limited for each source address and in total.

The caller passes packets and the time, and carries out what is in ``effects``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias

from trio_xsock._values.member import Endpoint, Member

from .member_packets import PacketWriter, Settings
from .member_table import Known, MemberTable
from .packets import NONE, Identity, Kind, Packet, PacketError, decode
from .rate_limit import SourceLimits
from .replay_protection import Challenges, ReplayWindow, StrangerCounters

_BEGINNING: Final = (0.0, 0.15, 0.3, 0.6, 1.0, 1.5, 2.0, 2.5)
"""Seconds after registering at which a new member asks, unless heartbeats are more frequent."""
_UPDATE: Final = (0.0, 0.2, 0.5, 1.0)
"""Seconds after ``update`` at which all are asked."""
_TIME_TO_ANSWER: Final = 2.0
"""Seconds that members have to answer it, and new members to answer a challenge."""
_GOODBYES: Final = 3
_OVERTAKEN: Final = 2.0
"""Seconds after a goodbye in which older packets of its sender may still arrive."""
_ANSWERS_TO_ONE: Final = 50.0
"""Answers a second to one address."""
_ANSWERS_TO_ALL: Final = 1000.0


class Send(NamedTuple):
    """A packet to send."""

    data: bytes
    to: Endpoint | None
    """``None`` for the group."""


class Joined(NamedTuple):
    """A member joined the group."""

    member: Member


class Left(NamedTuple):
    """A member left the group."""

    member: Member


class Received(NamedTuple):
    """A message to the group or to us."""

    command: int
    data: bytes
    source: Endpoint


Effect: TypeAlias = Send | Joined | Left | Received


class Membership:
    """One member's view of its group.

    Args:
        settings: what it is.
        own: itself as a member.
        random_bytes: gives so many unpredictable bytes.
        now: the time in seconds, on the clock of all calls.

    Attributes:
        effects: what is to be done, in this order; whoever does it empties the list.
        packets: makes what this member says, messages among it.
        deadline: when ``advance`` wants to be called next.
    """

    def __init__(
        self, settings: Settings, own: Member, random_bytes: Callable[[int], bytes], now: float
    ) -> None:
        self._instance = bytes.fromhex(own.instance_id)
        self.effects: list[Effect] = [Joined(own)]
        self.packets = PacketWriter(settings, self._instance)
        self._settings = settings
        self._own = own
        self._random_bytes = random_bytes
        self._table = MemberTable(settings)
        self._strangers = StrangerCounters()
        self._departed: dict[bytes, tuple[int, float]] = {}  # counter of the goodbye, until when
        self._challenges = Challenges(random_bytes, _TIME_TO_ANSWER)
        self._answers = SourceLimits(_ANSWERS_TO_ONE, _ANSWERS_TO_ALL)
        self._asks = [now + after for after in _BEGINNING]
        self._beat_at = now + settings.heartbeat_interval
        self.deadline = now
        self.advance(now)

    @property
    def members(self) -> list[Member]:
        """All that are known, ourselves first, then in the order in which they joined."""
        return [self._own, *(known.member for known in self._table)]

    # What the user wants

    def update(self, now: float) -> None:
        """Ask all members; those that do not answer in time expire."""
        self._table.all_were_asked(now + _TIME_TO_ANSWER)
        self._asks = [now + after for after in _UPDATE]
        self.advance(now)

    def leave(self) -> None:
        """Say goodbye; all members, ourselves too, have left from our view."""
        for _ in range(_GOODBYES):
            self.effects.append(Send(self.packets.goodbye(), None))
        self.effects += [Left(member) for member in reversed(self.members)]
        self._table.clear()
        self._asks.clear()
        self.deadline = self._beat_at = math.inf

    # Time

    def advance(self, now: float) -> None:
        """Do what has become due."""
        gone, silent = self._table.take_due(now)
        for known in gone:
            self._forget(known)
        for known in silent:
            self._announce(known.endpoint, known.instance, please_answer=True)
        due = [at for at in self._asks if at <= now]
        del self._asks[: len(due)]
        if due or now >= self._beat_at:
            self._announce(None, NONE, please_answer=bool(due))
            self._beat_at = now + self._settings.heartbeat_interval * self._jitter()
        self._set_deadline()

    def _set_deadline(self) -> None:
        self.deadline = min([self._beat_at, self._table.next_deadline, *self._asks[:1]])

    def _jitter(self) -> float:
        """Between 0.9 and 1.1, so that members do not send all at once."""
        return 0.9 + 0.2 * self._random_bytes(1)[0] / 255

    # Packets

    def receive(self, datagram: bytes, source: Endpoint, now: float) -> None:
        """Process an untrusted datagram; one that is not for us changes nothing."""
        try:
            packet = decode(datagram, self._settings.key)
        except PacketError:
            return
        if (
            packet.group != self._settings.group
            or packet.instance in (self._instance, NONE)
            or packet.receiver not in (self._instance, NONE)
        ):
            return
        known = self._table.get(packet.instance)
        if known is None:
            self._receive_from_stranger(packet, source, now)
        elif known.endpoint != source or (
            self._settings.key and not known.window.accept(packet.counter)
        ):
            return  # another member's, or seen before
        else:
            self._receive_from_member(packet, known, now)
        self._set_deadline()

    def _receive_from_member(self, packet: Packet, known: Known, now: float) -> None:
        if packet.kind is Kind.GOODBYE:
            self._table.remove(known)
            self._forget(known)
            self._note_departure(packet, now)
            return
        if not known.proven and self._proves(packet, known.endpoint, now):
            self._table.prove(known)
        self._table.heard(known, packet.identity, now)
        if packet.kind is Kind.GROUP_MESSAGE:
            self.effects.append(Received(packet.command, packet.data, known.endpoint))
        elif self._wants_response(packet):
            self._respond(packet, known.endpoint, known.proven, now)
        elif packet.kind is Kind.ANNOUNCE and not known.proven:
            self._challenge(packet.instance, known.endpoint, now)
        elif packet.identity is not None and packet.identity.please_answer:
            self._answer(known, now)

    def _receive_from_stranger(self, packet: Packet, source: Endpoint, now: float) -> None:
        if packet.kind is Kind.GROUP_MESSAGE:
            if not self._settings.key:
                self.effects.append(Received(packet.command, packet.data, source))
            return
        identity = packet.identity
        if identity is None or (packet.kind is not Kind.ANNOUNCE and packet.receiver == NONE):
            return
        if self._was_overtaken(packet, now):
            return
        proven = self._proves(packet, source, now)
        if self._settings.key and not (
            self._strangers.accept(packet.instance, packet.counter) or proven
        ):
            return  # it was answered when it was new
        if proven or not self._settings.key:
            self._take_in(packet, identity, source, proven, now)
        if self._wants_response(packet):
            self._respond(packet, source, proven, now)
        elif packet.kind is Kind.ANNOUNCE and self._has_room_for(packet):
            self._challenge(packet.instance, source, now)

    def _note_departure(self, packet: Packet, now: float) -> None:
        """Remember a goodbye: it may have overtaken packets that were sent before it."""
        past = [instance for instance, (_, until) in self._departed.items() if until <= now]
        for instance in past:
            del self._departed[instance]
        self._departed[packet.instance] = packet.counter, now + _OVERTAKEN

    def _was_overtaken(self, packet: Packet, now: float) -> bool:
        """Whether its sender has said goodbye after it had sent this."""
        counter, until = self._departed.get(packet.instance, (0, now))
        return now < until and packet.counter <= counter

    def _take_in(
        self, packet: Packet, identity: Identity, source: Endpoint, proven: bool, now: float
    ) -> None:
        """Add an unknown sender; if the table is full, a proven one replaces an unproven one."""
        if self._table.is_full:
            unproven = self._table.oldest_unproven
            if unproven is None or not proven:
                return
            self._table.remove(unproven)
            self._forget(unproven)
        member = Member(packet.instance.hex(), *source, identity.name, identity.metadata)
        known = Known(packet.instance, member, ReplayWindow(packet.counter), proven)
        self._table.add(known)
        self._table.heard(known, identity, now)
        self.effects.append(Joined(member))

    def _has_room_for(self, packet: Packet) -> bool:
        """Whether its sender is in the table, or would be if it were proven."""
        table = self._table
        is_in = table.get(packet.instance) is not None
        return is_in or not table.is_full or table.oldest_unproven is not None

    def _forget(self, known: Known) -> None:
        """Remember the counters of a removed member, so that its packets cannot be replayed."""
        if self._settings.key:
            self._strangers.remember(known.instance, known.window)
        self.effects.append(Left(known.member))

    # Challenges and answers

    def _proves(self, packet: Packet, source: Endpoint, now: float) -> bool:
        """Whether it answers a challenge of ours, which proves its address."""
        return (
            packet.kind is Kind.RESPONSE
            and packet.receiver == self._instance
            and self._challenges.settle(packet.instance, source, packet.answer, now)
        )

    def _wants_response(self, packet: Packet) -> bool:
        return packet.challenge != NONE and packet.receiver == self._instance

    def _respond(self, packet: Packet, to: Endpoint, proven: bool, now: float) -> None:
        """Answer a challenge, with one of our own if it has none of ours and is not proven."""
        if self._answers.allows(to[0], now):
            back = packet.kind is Kind.CHALLENGE and not proven and self._has_room_for(packet)
            nonce = self._challenges.nonce_for(packet.instance, to, now) if back else NONE
            response = self.packets.response(packet.instance, packet.challenge, nonce)
            self.effects.append(Send(response, to))

    def _challenge(self, instance: bytes, to: Endpoint, now: float) -> None:
        if self._answers.allows(to[0], now):
            nonce = self._challenges.nonce_for(instance, to, now)
            self.effects.append(Send(self.packets.challenge(instance, nonce), to))

    def _answer(self, known: Known, now: float) -> None:
        if self._answers.allows(known.member.address, now):
            self._announce(known.endpoint, known.instance, please_answer=False)

    def _announce(self, to: Endpoint | None, receiver: bytes, *, please_answer: bool) -> None:
        packet = self.packets.announcement(please_answer=please_answer, receiver=receiver)
        self.effects.append(Send(packet, to))

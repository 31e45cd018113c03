"""Who is in the group: the machine behind ``AutoDiscovery``, without a clock or a network.

Each member announces itself at regular intervals, says goodbye when it leaves, and is gone when
it was silent for too long; before that it is asked a few times. A newcomer asks everybody, and
is answered.

Where the group has a key, packets made without it are nothing. A newcomer is taken in only after
it has answered a fresh random challenge, so that nothing which was recorded earlier can join; a
counter in every packet keeps what members sent from being played again.

Whoever drives the machine gives it packets, the time, and takes what it wants done from
``effects``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

from trio_xsock._values.member import Endpoint, Member

from .member_packets import PacketWriter, Settings
from .packets import NONE, Identity, Kind, Packet, PacketError, decode
from .rate_limit import RateLimit
from .replay_protection import Challenges, ReplayWindow

_BEGINNING: Final = (0.0, 0.15, 0.3, 0.6, 1.0, 1.5, 2.0, 2.5)
"""Seconds after registering at which a newcomer asks, unless heartbeats are more frequent."""
_UPDATE: Final = (0.0, 0.2, 0.5, 1.0)
"""Seconds after ``update`` at which all are asked."""
_TIME_TO_ANSWER: Final = 2.0
"""Seconds that members have for it, and newcomers for a challenge."""
_GOODBYES: Final = 3
_ANSWERS_PER_SECOND: Final = 50.0
_LONGEST_HOLD: Final = 3600.0


class Send(NamedTuple):
    """A packet to send."""

    data: bytes
    to: Endpoint | None
    """``None`` for the group."""


class Joined(NamedTuple):
    """Somebody is in the group now."""

    member: Member


class Left(NamedTuple):
    """Somebody is no longer in the group."""

    member: Member


class Received(NamedTuple):
    """A message to the group or to us."""

    command: int
    data: bytes
    source: Endpoint


Effect: TypeAlias = Send | Joined | Left | Received


@dataclass(slots=True)
class _Known:
    """A member, and when it is gone."""

    member: Member
    window: ReplayWindow
    hold: float
    deadline: float
    ask_at: float
    asked: bool = False
    """Since it was heard last; who was not asked is not gone, we may have been asleep."""


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
        self._known: dict[bytes, _Known] = {}
        self._challenges = Challenges(random_bytes, _TIME_TO_ANSWER)
        self._answers = RateLimit(_ANSWERS_PER_SECOND)
        self._asks = [now + after for after in _BEGINNING]
        self._beat_at = now + settings.heartbeat_interval
        self.deadline = now
        self.advance(now)

    @property
    def members(self) -> list[Member]:
        """All that are known, ourselves first, then in the order in which they joined."""
        return [self._own, *(known.member for known in self._known.values())]

    # What the user wants

    def update(self, now: float) -> None:
        """Ask everybody; who does not answer in time is gone."""
        for known in self._known.values():
            known.asked = True
            known.deadline = min(known.deadline, now + _TIME_TO_ANSWER)
        self._asks = [now + after for after in _UPDATE]
        self.advance(now)

    def leave(self) -> None:
        """Say goodbye; all members, ourselves too, have left from our view."""
        for _ in range(_GOODBYES):
            self.effects.append(Send(self.packets.goodbye(), None))
        self.effects += [Left(member) for member in reversed(self.members)]
        self._known.clear()
        self._asks.clear()
        self.deadline = self._beat_at = math.inf

    # Time

    def advance(self, now: float) -> None:
        """Do what has become due."""
        for instance, known in list(self._known.items()):
            if now >= known.deadline and known.asked:
                del self._known[instance]
                self.effects.append(Left(known.member))
            elif now >= known.ask_at:
                if not known.asked:
                    known.asked = True
                    known.deadline = max(known.deadline, now + known.hold * 0.3)
                known.ask_at = now + self._settings.heartbeat_interval / 2
                self._announce((known.member.address, known.member.port), please_answer=True)
        self._challenges.expire(now)
        due = [at for at in self._asks if at <= now]
        del self._asks[: len(due)]
        if due or now >= self._beat_at:
            self._announce(None, please_answer=bool(due))
            self._beat_at = now + self._settings.heartbeat_interval * self._jitter()
        self._set_deadline()

    def _set_deadline(self) -> None:
        deadline = min([self._beat_at, *self._asks[:1]])
        for known in self._known.values():
            deadline = min(deadline, known.deadline, known.ask_at)
        self.deadline = deadline

    def _jitter(self) -> float:
        """Between 0.9 and 1.1, so that members do not speak all at once."""
        return 0.9 + 0.2 * self._random_bytes(1)[0] / 255

    # Packets

    def receive(self, datagram: bytes, source: Endpoint, now: float) -> None:
        """Take in an untrusted datagram; what is not for us changes nothing."""
        try:
            packet = decode(datagram, self._settings.key)
        except PacketError:
            return
        if packet.group != self._settings.group or packet.instance in (self._instance, NONE):
            return
        known = self._known.get(packet.instance)
        if known is None:
            self._receive_from_stranger(packet, source, now)
        elif (known.member.address, known.member.port) != source or (
            self._settings.key and not known.window.accept(packet.counter)
        ):
            return  # somebody else's, or seen before
        else:
            self._receive_from_member(packet, known, source, now)
        self._set_deadline()

    def _receive_from_member(
        self, packet: Packet, known: _Known, source: Endpoint, now: float
    ) -> None:
        if packet.kind is Kind.GOODBYE:
            del self._known[packet.instance]
            self.effects.append(Left(known.member))
            return
        self._heard(known, packet.identity, now)
        if packet.kind is Kind.GROUP_MESSAGE:
            self.effects.append(Received(packet.command, packet.data, source))
        elif packet.kind is Kind.CHALLENGE:
            self._answer_challenge(packet, source, now, back=NONE)
        elif packet.identity is not None and packet.identity.please_answer:
            self._answer(source, now)

    def _receive_from_stranger(self, packet: Packet, source: Endpoint, now: float) -> None:
        if packet.kind is Kind.GROUP_MESSAGE:
            if not self._settings.key:
                self.effects.append(Received(packet.command, packet.data, source))
        elif packet.identity is None:
            return
        elif not self._settings.key:
            if packet.kind is Kind.ANNOUNCE:
                self._take_in(packet, source, now)
                if packet.identity.please_answer:
                    self._answer(source, now)
        elif packet.kind is Kind.ANNOUNCE:
            self._challenge(packet.instance, source, now)
        elif packet.target == self._instance:
            self._shake_hands(packet, source, now)

    def _shake_hands(self, packet: Packet, source: Endpoint, now: float) -> None:
        """A stranger challenges us, answers, or both."""
        proven = self._challenges.settle(packet.instance, source, packet.answer, now)
        if proven:
            self._take_in(packet, source, now)
        if packet.challenge != NONE:
            back = NONE if proven else self._challenges.nonce_for(packet.instance, source, now)
            self._answer_challenge(packet, source, now, back)

    def _take_in(self, packet: Packet, source: Endpoint, now: float) -> None:
        identity = packet.identity
        assert identity is not None
        if len(self._known) + 1 >= self._settings.maximum_members:
            return
        member = Member(packet.instance.hex(), *source, identity.name, identity.metadata)
        known = _Known(member, ReplayWindow(packet.counter), 0.0, now, now)
        self._heard(known, identity, now)
        self._known[packet.instance] = known
        self.effects.append(Joined(member))

    def _heard(self, known: _Known, identity: Identity | None, now: float) -> None:
        if identity is not None:
            known.hold = min(max(identity.hold / 1000, 0.05), _LONGEST_HOLD)
        known.asked = False
        known.deadline = now + known.hold
        known.ask_at = now + known.hold * 0.4

    # Answers

    def _answer(self, to: Endpoint, now: float) -> None:
        if self._answers.allows(now):
            self._announce(to, please_answer=False)

    def _challenge(self, instance: bytes, source: Endpoint, now: float) -> None:
        if self._answers.allows(now):
            nonce = self._challenges.nonce_for(instance, source, now)
            self.effects.append(Send(self.packets.challenge(instance, nonce), source))

    def _answer_challenge(self, packet: Packet, source: Endpoint, now: float, back: bytes) -> None:
        """Prove that we have the key now, and challenge back whom we do not know."""
        if packet.challenge != NONE and self._answers.allows(now):
            response = self.packets.response(packet.instance, packet.challenge, back)
            self.effects.append(Send(response, source))

    def _announce(self, to: Endpoint | None, *, please_answer: bool) -> None:
        packet = self.packets.announcement(please_answer=please_answer)
        self.effects.append(Send(packet, to))

"""The packets that one member of a group sends, each with the next counter and the group's key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .packets import NONE, Identity, Kind, Packet, encode


@dataclass(slots=True, kw_only=True)
class Settings:
    """What a member is and how it behaves; seconds."""

    group: str = ""
    name: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    key: bytes | None = None
    heartbeat_interval: float = 1.0
    expiry: float = 6.0
    maximum_members: int = 1024


class PacketWriter:
    """Makes the packets of one member.

    Args:
        settings: what it is.
        instance: the bytes that tell it from all others.
    """

    __slots__ = ("_counter", "_instance", "_settings")

    def __init__(self, settings: Settings, instance: bytes) -> None:
        self._settings = settings
        self._instance = instance
        self._counter = 0

    def announcement(self, *, please_answer: bool, receiver: bytes = NONE) -> bytes:
        """An announcement of this member.

        Args:
            please_answer: whether the members that receive it should announce themselves.
            receiver: one member's instance, or ``NONE`` for all.
        """
        identity = self._identity(please_answer)
        return self._encode(Kind.ANNOUNCE, receiver=receiver, identity=identity)

    def goodbye(self) -> bytes:
        """This member leaves the group."""
        return self._encode(Kind.GOODBYE)

    def challenge(self, receiver: bytes, nonce: bytes) -> bytes:
        """A challenge, whose answer shows that the receiver is at its address.

        Args:
            receiver: its instance.
            nonce: what it has to send back.
        """
        return self._encode(
            Kind.CHALLENGE, receiver=receiver, challenge=nonce, identity=self._identity()
        )

    def response(self, receiver: bytes, answer: bytes, nonce: bytes = NONE) -> bytes:
        """The answer to another member's challenge.

        Args:
            receiver: the other member's instance.
            answer: the nonce of its challenge.
            nonce: a challenge to the other member, or ``NONE``.
        """
        return self._encode(
            Kind.RESPONSE,
            receiver=receiver,
            challenge=nonce,
            answer=answer,
            identity=self._identity(),
        )

    def message(self, command: int, data: bytes, receiver: bytes = NONE) -> bytes:
        """A message, to all members or to one, whose instance is ``receiver``."""
        return self._encode(Kind.GROUP_MESSAGE, receiver=receiver, command=command, data=data)

    def _identity(self, please_answer: bool = False) -> Identity:
        settings = self._settings
        hold = round(settings.expiry * 1000)
        return Identity(please_answer, hold, settings.name, settings.metadata)

    def _encode(
        self,
        kind: Kind,
        *,
        receiver: bytes = NONE,
        challenge: bytes = NONE,
        answer: bytes = NONE,
        identity: Identity | None = None,
        command: int = 0,
        data: bytes = b"",
    ) -> bytes:
        self._counter += 1
        packet = Packet(
            kind,
            self._settings.group,
            self._instance,
            self._counter,
            receiver,
            challenge,
            answer,
            identity,
            command,
            data,
        )
        return encode(packet, self._settings.key)

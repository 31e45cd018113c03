"""What one member of a group says: its packets, each with the next counter and the group's key."""

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

    def announcement(self, *, please_answer: bool) -> bytes:
        """It is there; those who hear it may be asked to say the same."""
        return self._encode(Kind.ANNOUNCE, identity=self._identity(please_answer))

    def goodbye(self) -> bytes:
        """It leaves."""
        return self._encode(Kind.GOODBYE)

    def challenge(self, target: bytes, nonce: bytes) -> bytes:
        """A stranger has to answer this before it is taken in.

        Args:
            target: the stranger's instance.
            nonce: what it has to send back.
        """
        return self._encode(
            Kind.CHALLENGE, target=target, challenge=nonce, identity=self._identity()
        )

    def response(self, target: bytes, answer: bytes, nonce: bytes = NONE) -> bytes:
        """Another's challenge, answered.

        Args:
            target: the other's instance.
            answer: its challenge.
            nonce: a challenge to the other, or ``NONE``.
        """
        return self._encode(
            Kind.RESPONSE,
            target=target,
            challenge=nonce,
            answer=answer,
            identity=self._identity(),
        )

    def message(self, command: int, data: bytes) -> bytes:
        """A message, to the group or to one member."""
        return self._encode(Kind.GROUP_MESSAGE, command=command, data=data)

    def _identity(self, please_answer: bool = False) -> Identity:
        settings = self._settings
        hold = round(settings.expiry * 1000)
        return Identity(please_answer, hold, settings.name, settings.metadata)

    def _encode(
        self,
        kind: Kind,
        *,
        target: bytes = NONE,
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
            target,
            challenge,
            answer,
            identity,
            command,
            data,
        )
        return encode(packet, self._settings.key)

"""What a member says, read by those who hear it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from trio_xsock._machines.member_packets import PacketWriter, Settings
from trio_xsock._machines.packets import NONE, Identity, Kind, Packet, PacketError, decode

INSTANCE, OTHER, NONCE, ANSWER = (bytes([number]) * 16 for number in range(1, 5))
OPEN = Settings(group="g", name="n", metadata={"a": "b"}, expiry=1.5)
KEYED = Settings(group="g", name="n", metadata={"a": "b"}, expiry=1.5, key=b"key")
SELF = Identity(False, 1500, "n", {"a": "b"})


@pytest.mark.parametrize("settings", [OPEN, KEYED], ids=["open", "key"])
@pytest.mark.parametrize(
    ("write", "expected"),
    [
        (
            lambda writer: writer.announcement(please_answer=True),
            Packet(Kind.ANNOUNCE, "g", identity=SELF._replace(please_answer=True)),
        ),
        (
            lambda writer: writer.announcement(please_answer=False),
            Packet(Kind.ANNOUNCE, "g", identity=SELF),
        ),
        (lambda writer: writer.goodbye(), Packet(Kind.GOODBYE, "g")),
        (
            lambda writer: writer.challenge(OTHER, NONCE),
            Packet(Kind.CHALLENGE, "g", receiver=OTHER, challenge=NONCE, identity=SELF),
        ),
        (
            lambda writer: writer.response(OTHER, ANSWER),
            Packet(Kind.RESPONSE, "g", receiver=OTHER, answer=ANSWER, identity=SELF),
        ),
        (
            lambda writer: writer.response(OTHER, ANSWER, NONCE),
            Packet(
                Kind.RESPONSE, "g", receiver=OTHER, challenge=NONCE, answer=ANSWER, identity=SELF
            ),
        ),
        (
            lambda writer: writer.message(7, b"hello"),
            Packet(Kind.GROUP_MESSAGE, "g", command=7, data=b"hello"),
        ),
        (
            lambda writer: writer.message(7, b"hello", OTHER),
            Packet(Kind.GROUP_MESSAGE, "g", receiver=OTHER, command=7, data=b"hello"),
        ),
        (
            lambda writer: writer.announcement(please_answer=False, receiver=OTHER),
            Packet(Kind.ANNOUNCE, "g", receiver=OTHER, identity=SELF),
        ),
    ],
    ids=[
        "ask",
        "announce",
        "goodbye",
        "challenge",
        "answer",
        "answer and challenge",
        "message",
        "message to one",
        "announce to one",
    ],
)
def test_each_says_who_it_is_and_what_it_wants(
    settings: Settings, write: Callable[[PacketWriter], bytes], expected: Packet
) -> None:
    """And counts on, whatever it says."""
    writer = PacketWriter(settings, INSTANCE)
    for counter in (1, 2):
        packet = decode(write(writer), settings.key)
        assert packet == expected._replace(instance=INSTANCE, counter=counter)


def test_who_has_another_key_does_not_understand() -> None:
    """Nor who has none, nor the other way round."""
    for settings, key in ((KEYED, b"another"), (KEYED, None), (OPEN, b"key")):
        packet = PacketWriter(settings, INSTANCE).challenge(OTHER, NONE)
        with pytest.raises(PacketError):
            decode(packet, key)

"""The wire format of the UDP sockets that move messages: documented bytes, and hostile ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_xsock._machines.packets import (
    PADDED_SIZE,
    Identity,
    Kind,
    Packet,
    PacketError,
    decode,
    encode,
    encode_group_message,
    tag,
)
from trio_xsock._sockets.easy_udp import group_address

VECTORS = json.loads(
    (Path(__file__).resolve().parents[2] / "docs/topics/wire_formats.json").read_text("utf-8")
)["udp"]
KEY = b"key"

texts = st.text("aä€\0", max_size=8)
ids = st.binary(min_size=16, max_size=16)


@st.composite
def packets(draw: st.DrawFn) -> Packet:
    """Any packet of ``AutoDiscovery``."""
    kind = draw(st.sampled_from([kind for kind in Kind if kind is not Kind.MESSAGE]))
    packet = Packet(kind, draw(texts), draw(ids), draw(st.integers(0, 2**64 - 1)), draw(ids))
    if kind is Kind.GROUP_MESSAGE:
        command, data = draw(st.integers(0, 2**31 - 1)), draw(st.binary(max_size=100))
        return packet._replace(command=command, data=data)
    if kind in (Kind.CHALLENGE, Kind.RESPONSE):
        packet = packet._replace(challenge=draw(ids), answer=draw(ids))
    if kind is Kind.GOODBYE:
        return packet
    metadata = draw(st.dictionaries(texts, texts, max_size=3))
    hold = draw(st.integers(0, 2**32 - 1))
    return packet._replace(identity=Identity(draw(st.booleans()), hold, draw(texts), metadata))


def changed_at(packet: Packet, place: int, piece: bytes) -> bytes:
    """A packet of which one byte was replaced."""
    data = encode(packet, None)
    return data[:place] + piece + data[place + 1 :]


def by_name(vector: dict[str, Any]) -> str:
    return str(vector["name"])


@pytest.mark.parametrize("vector", VECTORS["messages"], ids=by_name)
def test_vectors_of_messages(vector: dict[str, Any]) -> None:
    """The documented bytes, both ways; and the address of the group."""
    packet, data = bytes.fromhex(vector["packet"]), bytes.fromhex(vector["data"])
    assert encode_group_message(vector["group"], vector["command"], data) == packet
    read = decode(packet, KEY)
    assert (read.kind, read.group) == (Kind.MESSAGE, vector["group"])
    assert (read.command, read.data) == (vector["command"], data)
    if vector["group"]:
        assert group_address(vector["group"]) == vector["address"]


@pytest.mark.parametrize("vector", VECTORS["discovery"], ids=by_name)
def test_vectors_of_discovery(vector: dict[str, Any]) -> None:
    """The documented bytes, both ways, with a key and without."""
    key = bytes.fromhex(vector["key"]) or None
    wire = wire_bytes(vector)
    packet = decode(wire, key)
    assert packet.kind.name == vector["kind"]
    assert packet.group == vector["group"]
    assert packet.instance.hex() == vector["instance"]
    assert packet.counter == vector["counter"]
    assert packet.receiver.hex() == vector["receiver"]
    if "challenge" in vector:
        assert packet.challenge.hex() == vector["challenge"]
        assert packet.answer.hex() == vector["answer"]
    if "command" in vector:
        assert (packet.command, packet.data.hex()) == (vector["command"], vector["data"])
    assert encode(packet, key) == wire
    if packet.identity is not None:
        assert packet.identity.name == vector["sender"]["name"]
        assert dict(packet.identity.metadata) == vector["sender"]["metadata"]
        assert packet.identity.hold == vector["sender"]["hold"]
        assert packet.identity.please_answer == vector["sender"]["please_answer"]


def wire_bytes(vector: dict[str, Any]) -> bytes:
    """A documented packet, with the zeros that are only counted there."""
    parts = vector["packet"]
    return bytes.fromhex(parts["head"]) + bytes(parts["zeros"]) + bytes.fromhex(parts["tail"])


@pytest.mark.parametrize("vector", VECTORS["refused"], ids=by_name)
def test_vectors_of_what_is_refused(vector: dict[str, Any]) -> None:
    """What would be answered with more bytes than it has, and what is not signed."""
    with pytest.raises(PacketError):
        decode(wire_bytes(vector), bytes.fromhex(vector["key"]) or None)


@given(packets(), st.sampled_from([None, KEY]), st.integers(0, PADDED_SIZE - 1))
def test_a_packet_that_is_answered_cannot_be_shorter_than_the_answer(
    packet: Packet, key: bytes | None, size: int
) -> None:
    """Cut short anywhere, and rightly signed."""
    if packet.identity is not None:
        short = encode(packet, None)[: max(0, size - 16) if key else size]
        short += tag(short, key) if key else b""
        with pytest.raises(PacketError):
            decode(short, key)


@given(packets(), st.sampled_from([None, KEY]))
def test_what_is_written_is_read(packet: Packet, key: bytes | None) -> None:
    """Whatever a member says of itself; those that are answered have all the same size."""
    data = encode(packet, key)
    assert decode(data, key) == packet
    if packet.identity is not None:
        assert len(data) == PADDED_SIZE


@given(packets(), st.integers(0, 2**20), st.integers(1, 255))
def test_with_a_key_nothing_can_be_changed(packet: Packet, place: int, change: int) -> None:
    """Any byte, any other key, none, or something that follows."""
    data = encode(packet, KEY)
    place %= len(data)
    changed = data[:place] + bytes([data[place] ^ change]) + data[place + 1 :]
    if place != 3 or changed[3] != Kind.MESSAGE:  # plain messages are not signed
        with pytest.raises(PacketError):
            decode(changed, KEY)
    for other in (encode(packet, b"other"), encode(packet, None), data + b"\0", data[:-1]):
        with pytest.raises(PacketError):
            decode(other, KEY)


@given(
    st.one_of(
        st.binary(max_size=100),
        st.builds(lambda rest: b"XU\x01" + rest, st.binary(max_size=100)),
        st.builds(changed_at, packets(), st.integers(0, 511), st.binary(max_size=2)),
    ),
    st.sampled_from([None, KEY]),
)
def test_hostile_bytes_raise_only_the_one_error(data: bytes, key: bytes | None) -> None:
    """And what is read is within the bounds."""
    try:
        packet = decode(data, key)
    except PacketError:
        return
    assert 0 <= packet.command < 2**31
    assert len(packet.group.encode()) <= 64
    if packet.identity is not None:
        assert len(packet.identity.name.encode()) <= 64
        metadata = packet.identity.metadata.items()
        assert sum(len((key + value).encode()) + 2 for key, value in metadata) <= 256


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"XU",
        b"XM\x01\x00\x00\x00\x00\x00\x00",
        b"XU\x02\x00\x00\x00\x00\x00\x00",
        b"XU\x01\x09\x00\x00\x00\x00\x00",
        b"XU\x01\x00\x41" + b"x" * 100,
        b"XU\x01\x00\x01\xff\x00\x00\x00\x00",
        b"XU\x01\x00\x00\xff\xff\xff\xff",
        b"XU\x01\x00\x00\x00\x00\x00",
        b"XU\x01\x04\x00" + bytes(40) + b"more",
        (b"XU\x01\x01\x00" + bytes(45) + b"\x00\x02" + (b"\x40" + b"k" * 64) * 4 + b"x").ljust(
            PADDED_SIZE, b"\0"
        ),
        (b"XU\x01\x01\x00" + bytes(45) + b"\x00\x03" + (b"\x40" + b"k" * 64) * 6).ljust(
            PADDED_SIZE, b"\0"
        ),
        (b"XU\x01\x01\x00" + bytes(45) + b"\x41" + b"n" * 70).ljust(PADDED_SIZE, b"\0"),
    ],
)
def test_packets_that_are_none(data: bytes) -> None:
    """Another protocol or version, too long, too short, not text, out of range."""
    with pytest.raises(PacketError):
        decode(data)

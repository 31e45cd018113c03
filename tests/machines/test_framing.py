"""The framer: the documented bytes, any pieces, and hostile ones."""

from __future__ import annotations

import itertools
import json
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trio_xsock import FramingError, Message, MessageDecoder, encode_message
from trio_xsock._machines import framing

VECTORS = json.loads(
    (Path(__file__).resolve().parents[2] / "docs/topics/wire_formats.json").read_text("utf-8")
)["tcp"]

commands = st.integers(0, 2**31 - 1)
messages = st.builds(Message, commands, st.binary(max_size=40))
hostile = st.one_of(
    st.binary(max_size=60),
    st.builds(lambda message, rest: encode_message(*message) + rest, messages, st.binary()),
    st.builds(  # one bit of a good stream, flipped
        lambda several, bit: flipped(b"".join(encode_message(*each) for each in several), bit),
        st.lists(messages, min_size=1, max_size=4),
        st.integers(0, 2**20),
    ),
)


def flipped(data: bytes, bit: int) -> bytes:
    """``data`` with one bit turned over."""
    bit %= len(data) * 8
    return bytes(byte ^ (1 << bit % 8 if bit // 8 == i else 0) for i, byte in enumerate(data))


def take_all(decoder: MessageDecoder, limit: int = 64) -> list[Message]:
    """All messages that ``decoder`` can give now."""
    taken: list[Message] = []
    while decoder.pending:
        some = decoder.decode(limit)
        assert len(some) <= limit
        taken += some
    assert decoder.decode() == []
    return taken


def by_name(vector: dict[str, Any]) -> str:
    return str(vector["name"])


# The format


@pytest.mark.parametrize("vector", VECTORS["messages"], ids=by_name)
def test_vectors_both_ways(vector: dict[str, Any]) -> None:
    """The documented bytes, and no others."""
    message = Message(vector["command"], bytes.fromhex(vector["data"]))
    frame = bytes.fromhex(vector["frame"])
    assert encode_message(*message) == frame
    decoder = MessageDecoder()
    decoder.feed(frame)
    assert take_all(decoder) == [message]


@pytest.mark.parametrize("vector", VECTORS["refused"], ids=by_name)
def test_refusals_come_with_the_last_byte_needed(vector: dict[str, Any]) -> None:
    """One byte earlier nobody could have known; later ones are not waited for."""
    refused = bytes.fromhex(vector["bytes"])
    decoder = MessageDecoder()
    for byte in refused[:-1]:
        decoder.feed(bytes([byte]))
        assert take_all(decoder) == []
    decoder.feed(refused[-1:])
    for _ in range(2):
        with pytest.raises(FramingError):
            decoder.decode()
        decoder.feed(b"more")
    assert decoder.held == decoder.missing == 0
    whole = MessageDecoder()
    whole.feed(encode_message(1, b"good") + refused)
    assert whole.decode() == [(1, b"good")]
    with pytest.raises(FramingError):
        take_all(whole)


@pytest.mark.parametrize(
    ("data", "sent"),
    [
        (b"ab", b"ab"),
        (bytearray(b"ab"), b"ab"),
        (memoryview(b"a-b-")[::2], b"ab"),
        ("ä", b"\xc3\xa4"),
        ("", b""),
    ],
)
def test_what_may_be_sent(data: Any, sent: bytes) -> None:
    """Any buffer, and text as UTF-8."""
    assert encode_message(3, data) == b"XM\x01\x00" + bytes([0, 0, 0, 3, 0, 0, 0, len(sent)]) + sent


def test_what_may_not_be_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other types, commands out of range, and what a header cannot tell the size of."""
    with pytest.raises(ValueError, match="command"):
        encode_message(-1)
    with pytest.raises(TypeError):
        encode_message(1, 5)  # type: ignore[arg-type]
    monkeypatch.setattr(framing, "LARGEST_SIZE", 3)
    assert encode_message(1, b"abc")
    with pytest.raises(ValueError, match="at most 3 bytes"):
        encode_message(1, b"abcd")


# Any pieces


def test_every_splitting_of_three_frames() -> None:
    """The same messages, wherever the stream is cut, at all pairs of places and bytewise."""
    expected = [Message(1, b""), Message(2, b"abc"), Message(2**31 - 1, bytes(13))]
    stream = b"".join(encode_message(*message) for message in expected)
    cuts = [()] + [cut for n in (1, 2) for cut in itertools.combinations(range(1, len(stream)), n)]
    for cut in [*cuts, tuple(range(1, len(stream)))]:
        decoder, taken = MessageDecoder(), []
        for begin, end in itertools.pairwise((0, *cut, len(stream))):
            decoder.feed(stream[begin:end])
            taken += take_all(decoder)
        assert taken == expected, cut
        assert decoder.held == decoder.missing == 0


@given(
    st.lists(messages, max_size=12),
    st.lists(st.integers(1, 40), max_size=60),
    st.integers(1, 5),
    st.booleans(),
)
def test_any_splitting_of_any_messages(
    expected: list[Message], sizes: list[int], limit: int, at_once: bool
) -> None:
    """Also where pieces are fed before the last one was used up."""
    stream = b"".join(encode_message(*message) for message in expected)
    decoder, taken, fed = MessageDecoder(), [], 0
    for size in [*sizes, len(stream)]:
        decoder.feed(stream[fed : fed + size])
        fed += size
        assert decoder.held <= len(stream)
        taken += decoder.decode(limit) if at_once else take_all(decoder, limit)
    taken += take_all(decoder, limit)
    assert taken == expected
    assert decoder.held == 0


# Hostile bytes


@given(hostile, st.integers(1, 20), st.integers(0, 50))
@example(b"\x00" * 12, 1, 0)
def test_hostile_bytes_give_messages_or_the_documented_error(
    data: bytes, piece: int, largest: int
) -> None:
    """Nothing else is raised, nothing is kept after it, and it is the same for any pieces."""
    outcomes = []
    for step in (piece, len(data) or 1):
        decoder, taken, failed = MessageDecoder(largest), [], False
        try:
            for start in range(0, len(data), step):
                decoder.feed(data[start : start + step])
                while decoder.pending:
                    taken += decoder.decode()
        except FramingError:
            failed = True
            assert decoder.held == 0
        assert all(len(message.data) <= largest for message in taken)
        outcomes.append((taken, failed))
    assert outcomes[0] == outcomes[1]


def test_a_claim_costs_nothing_until_its_bytes_come() -> None:
    """No room is made for what was only announced; a too large one is refused at its header."""
    tracemalloc.start()
    try:
        for largest in (2**30, 2**20):
            decoder = MessageDecoder(largest)
            decoder.feed(b"XM\x01\x00\x00\x00\x00\x01" + (2**30).to_bytes(4, "big"))
            if largest < 2**30:
                with pytest.raises(FramingError, match=r"1073741824 bytes, more than .*1048576"):
                    decoder.decode()
            else:
                assert decoder.decode() == []
                assert decoder.missing == 2**30
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_a_storm_comes_in_portions_and_in_linear_time() -> None:
    """64 at a time; 200,000 empty messages, and one large one byte by byte."""
    storm = encode_message(1) * 200_000
    decoder = MessageDecoder()
    decoder.feed(storm)
    assert len(decoder.decode()) == 64
    assert decoder.pending
    began, longest, count = time.process_time(), 0.0, 64
    while decoder.pending:
        before = time.process_time()
        count += len(decoder.decode())
        longest = max(longest, time.process_time() - before)
    assert count == 200_000
    large = encode_message(2, bytes(100_000))
    for start in range(len(large)):
        decoder.feed(large[start : start + 1])
        if messages := decoder.decode():
            assert start == len(large) - 1
            assert messages == [(2, bytes(100_000))]
    assert time.process_time() - began < 5
    assert longest < 0.5


@pytest.mark.parametrize("position", range(30))
def test_frame_end(position: int) -> None:
    """The end of the frame that a position is inside of; itself between two."""
    frames = encode_message(1, b"abc") + encode_message(2)
    expected = 0 if position == 0 else 15 if position <= 15 else 27
    assert framing.frame_end(frames, position) == (expected if position else 0)

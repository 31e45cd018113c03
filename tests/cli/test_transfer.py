"""The wire format: what is made can be read back, and hostile bytes give one error only."""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_xsock._cli._errors import TransferFormatError
from trio_xsock._cli._transfer import (
    END,
    PATH_LIMIT,
    SIZE_LIMIT,
    TEXT_LIMIT,
    Header,
    Reply,
    Resume,
    Status,
    Trailer,
    UntrustedHeaderParser,
    UntrustedParser,
    UntrustedReplyParser,
    UntrustedResumeParser,
    UntrustedTrailerParser,
)

DIGEST = hashlib.sha256(b"x").digest()
PARSERS = [
    UntrustedHeaderParser,
    UntrustedTrailerParser,
    UntrustedReplyParser,
    UntrustedResumeParser,
]
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60)


def feed(parser: UntrustedParser[Any], data: bytes, step: int = 1 << 20) -> object | None:
    """Feed as a reader does: never more than is wanted."""
    frame = None
    while data and frame is None:
        count = min(step, parser.wanted)
        frame, data = parser.feed(data[:count]), data[count:]
    return frame


@given(names, st.integers(0, SIZE_LIMIT), st.integers(1, 40))
def test_header_survives_the_wire(name: str, size: int, step: int) -> None:
    header = Header(name, size)
    parser = UntrustedHeaderParser()
    assert feed(parser, header.encode(), step) == header
    assert parser.wanted == 0


@given(
    st.sampled_from(Status), st.integers(0, 2**64 - 1), st.text(max_size=100), st.integers(1, 40)
)
def test_reply_survives_the_wire(status: Status, count: int, text: str, step: int) -> None:
    reply = Reply(status, count, DIGEST, text)
    shown = text.encode(errors="backslashreplace").decode()
    expected = Reply(status, count, DIGEST, shown)
    assert feed(UntrustedReplyParser(), reply.encode(), step) == expected


@given(names, st.integers(0, SIZE_LIMIT), st.booleans(), st.integers(1, 40))
def test_headers_of_several_survive_the_wire(name: str, size: int, folder: bool, step: int) -> None:
    header = Header(name, 0 if folder else size, more=True, folder=folder)
    assert feed(UntrustedHeaderParser(), header.encode(), step) == header
    assert not header.is_end


def test_the_end_survives_the_wire() -> None:
    header = feed(UntrustedHeaderParser(), END, 7)
    assert isinstance(header, Header)
    assert header.is_end
    assert b"XSOCK-FT" + b"\x02\x04" + bytes(10) == END


@given(st.booleans(), st.integers(0, 2**64 - 1), st.integers(1, 40))
def test_resume_survives_the_wire(ready: bool, offset: int, step: int) -> None:
    resume = Resume(ready, offset)
    assert feed(UntrustedResumeParser(), resume.encode(), step) == resume


def test_trailer_survives_the_wire() -> None:
    assert feed(UntrustedTrailerParser(), Trailer(DIGEST).encode(), 1) == Trailer(DIGEST)


def test_bytes_are_as_documented() -> None:
    header = Header("a.txt", 258).encode()
    assert header == b"XSOCK-FT" + b"\x02\x00" + b"\x00\x05" + b"\x00" * 6 + b"\x01\x02" + b"a.txt"
    assert Header("d/e", 0, more=True, folder=True).encode()[9:12] == b"\x03\x00\x03"
    assert Resume(True, 258).encode() == b"XRSM" + b"\x01" + bytes(9) + b"\x01\x02"
    assert Trailer(DIGEST).encode() == b"XEND" + DIGEST
    reply = Reply(Status.REFUSED, 258, text="no").encode()
    assert reply == (
        b"XREP" + b"\x02\x00" + b"\x00\x02" + b"\x00" * 6 + b"\x01\x02" + bytes(32) + b"no"
    )


@given(st.sampled_from(PARSERS), st.binary(max_size=400), st.integers(1, 100))
def test_any_bytes_give_a_frame_or_the_documented_error(
    kind: Callable[[], UntrustedParser[Any]], data: bytes, step: int
) -> None:
    try:
        feed(kind(), data, step)
    except TransferFormatError as exc:
        assert str(exc).isprintable()


@given(
    st.sampled_from(
        [
            (UntrustedHeaderParser, Header("some name.txt", 12345).encode()),
            (UntrustedTrailerParser, Trailer(DIGEST).encode()),
            (UntrustedReplyParser, Reply(Status.REFUSED, 7, text="some reason").encode()),
        ]
    ),
    st.integers(0, 60),
    st.binary(min_size=1, max_size=12),
    st.integers(1, 100),
)
def test_damaged_frames_give_a_frame_or_the_documented_error(
    kind_and_frame: tuple[Callable[[], UntrustedParser[Any]], bytes],
    position: int,
    damage: bytes,
    step: int,
) -> None:
    kind, frame = kind_and_frame
    damaged = frame[:position] + damage + frame[position + len(damage) :]
    parser = kind()
    try:
        feed(parser, damaged, step)
    except TransferFormatError as exc:
        assert str(exc).isprintable()
        with pytest.raises(TransferFormatError) as again:
            parser.feed(b"")
        assert again.value is exc


@pytest.mark.parametrize("kind", PARSERS)
def test_first_wrong_byte_is_enough(kind: Callable[[], UntrustedParser[Any]]) -> None:
    with pytest.raises(TransferFormatError):
        kind().feed(b"G")


def raw_header(*, version: int = 2, flags: int = 0, length: int = 1, size: int = 0) -> bytes:
    return struct.pack("!8sBBHQ", b"XSOCK-FT", version, flags, length, size)


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (raw_header(version=1), "speaks version 1"),
        (raw_header(flags=0x80), "unknown flags"),
        (raw_header(flags=2), "unknown flags"),
        (raw_header(flags=5, length=0), "unknown flags"),
        (raw_header(flags=3, size=1), "unknown flags"),
        (raw_header(flags=4, length=0, size=1), "unknown flags"),
        (raw_header(flags=4), "a name of 1 bytes"),
        (raw_header(length=0), "a name of 0 bytes"),
        (raw_header(length=PATH_LIMIT + 1), "a name of 4097 bytes"),
        (raw_header(length=65535), "a name of 65535 bytes"),
        (raw_header(size=SIZE_LIMIT + 1), "impossible size"),
        (raw_header(length=2) + b"\xff\xfe", "not valid UTF-8"),
        (raw_header(length=3) + b"\xed\xa0\x80", "not valid UTF-8"),
    ],
)
def test_headers_that_are_refused(raw: bytes, text: str) -> None:
    with pytest.raises(TransferFormatError, match=text):
        feed(UntrustedHeaderParser(), raw)


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (struct.pack("!4sBBHQ32s", b"XREP", 9, 0, 0, 0, b""), "unknown status"),
        (struct.pack("!4sBBHQ32s", b"XREP", 0, 1, 0, 0, b""), "unknown flags"),
        (struct.pack("!4sBBHQ32s", b"XREP", 0, 0, TEXT_LIMIT + 1, 0, b""), "text of 1001 bytes"),
        (struct.pack("!4sBBHQ32s", b"XREP", 0, 0, 1, 0, b"") + b"\xff", "not valid UTF-8"),
    ],
)
def test_replies_that_are_refused(raw: bytes, text: str) -> None:
    with pytest.raises(TransferFormatError, match=text):
        feed(UntrustedReplyParser(), raw)


def test_oversized_header_is_refused_before_its_name_is_taken_in() -> None:
    parser = UntrustedHeaderParser()
    with pytest.raises(TransferFormatError):
        parser.feed(raw_header(length=65535))
    assert len(parser._raw) == 20


def test_long_text_is_cut_at_a_character() -> None:
    reply = feed(UntrustedReplyParser(), Reply(Status.REFUSED, text="\u20ac" * 999).encode())
    assert isinstance(reply, Reply)
    assert reply.text == "\u20ac" * (TEXT_LIMIT // 3)


def test_feeding_too_much_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="37 bytes were fed, 36 were wanted"):
        UntrustedTrailerParser().feed(bytes(37))


@pytest.mark.parametrize(
    "header",
    [
        Header("", 0),
        Header("x" * 4097, 0),
        Header("\udcff", 0),
        Header("x", -1),
        Header("x", 2**63),
    ],
)
def test_headers_that_cannot_be_made(header: Header) -> None:
    with pytest.raises(ValueError):
        header.encode()


def test_a_trailer_needs_a_whole_digest() -> None:
    with pytest.raises(ValueError):
        Trailer(b"short").encode()


def test_started() -> None:
    parser = UntrustedTrailerParser()
    assert not parser.started
    parser.feed(b"X")
    assert parser.started


def test_documented_example() -> None:
    """The bytes of the example in the documentation are those of a transfer of ``hi``."""
    page = Path(__file__).parents[2] / "docs" / "howto" / "transfer.md"
    example = page.read_text("utf-8").split("### Example")[1].split("```text")[1].split("```")[0]
    shown = example.replace("(32 zeros)", " ".join(["00"] * 32))
    sender, receiver = bytearray(), bytearray()
    side = sender
    for line in shown.strip().splitlines():
        if line.startswith(("sender", "receiver")):
            side = sender if line.startswith("sender") else receiver
        side += bytes.fromhex(re.sub(r"^(sender|receiver)", "", line))
    digest = hashlib.sha256(b"hi").digest()
    assert sender == Header("a.txt", 2).encode() + b"hi" + Trailer(digest).encode()
    assert receiver == (
        Reply(Status.GO_AHEAD).encode() + Reply(Status.STORED, 2, digest, "a.txt").encode()
    )

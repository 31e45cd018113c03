"""The receive buffer, compared with one ``bytearray``."""

from __future__ import annotations

import codecs
import random
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trio_xsock._machines.buffer import ReceiveBuffer

# Sizes around the limit under which chunks are joined, and tiny ones.
chunks = st.one_of(
    st.text("ab\n", min_size=1, max_size=12).map(str.encode),
    st.builds(
        lambda size, byte: byte * size,
        st.sampled_from([1023, 1024, 1025, 3000]),
        st.binary(min_size=1, max_size=1),
    ),
)
SEPARATORS = [b"\n", b"a", b"ab", b"aa", b"abab", b"\r\n", b"aba\n", b"a" * 1100]
counts = st.one_of(st.integers(0, 12), st.sampled_from([1023, 1024, 1025, 5000, 2**40]))

programs = st.lists(
    st.one_of(
        st.tuples(st.just("append"), chunks),
        st.tuples(st.sampled_from(["take", "peek", "skip"]), counts),
        st.tuples(st.just("find"), st.sampled_from(SEPARATORS)),
        st.tuples(st.sampled_from(["take_all", "peek_all", "clear"])),
    ),
    max_size=40,
)


def run(buffer: ReceiveBuffer, model: bytearray, operation: str, *arguments: Any) -> None:
    """Do one thing to both, and compare."""
    match operation, *arguments:
        case ["append", data]:
            buffer.append(data)
            model += data
        case ["take", count]:
            assert buffer.take(count) == model[:count]
            del model[:count]
        case ["peek", count]:
            assert buffer.peek(count) == model[:count]
        case ["skip", count]:
            count = min(count, len(model))
            buffer.skip(count)
            del model[:count]
        case ["find", separator]:
            assert buffer.find(separator) == model.find(separator)
        case ["take_all"]:
            assert buffer.take_all() == model
            model.clear()
        case ["peek_all"]:
            assert buffer.peek_all() == model
        case ["clear"]:
            assert buffer.clear() == len(model)
            model.clear()
    assert buffer.size == len(model)


@given(programs)
@example([("append", b"a" * 1024), ("append", b"b" * 1024), ("find", b"ab"), ("find", b"ab")])
@example([("append", b"xa"), ("find", b"ab"), ("skip", 1), ("append", b"b"), ("find", b"ab")])
@example([("append", b"aba"), ("find", b"ab"), ("skip", 1), ("find", b"ab"), ("find", b"a")])
@example(
    [("append", b"a" * 1100), ("append", b"a" * 1023), ("append", b"a" * 77), ("find", b"a" * 1100)]
)
@example([("append", b"aba\n"), ("find", b"\n"), ("clear",), ("append", b"\naba"), ("find", b"\n")])
def test_the_buffer_does_what_a_bytearray_does(program: list[tuple[Any, ...]]) -> None:
    """After every operation both hold the same bytes, and gave the same answer."""
    buffer, model = ReceiveBuffer(), bytearray()
    for operation in program:
        run(buffer, model, *operation)
    assert buffer.peek_all() == model


@given(
    st.lists(st.sampled_from([b"a", b"b", b"ab", b"a" * 1030, b"b" * 1030]), max_size=12),
    st.sampled_from(SEPARATORS),
    st.integers(0, 3000),
)
def test_separators_are_found_across_chunks(
    pieces: list[bytes], separator: bytes, taken: int
) -> None:
    """Wherever chunks end and however much was taken before, the first place is found."""
    buffer, model = ReceiveBuffer(), bytearray()
    for piece in pieces:
        run(buffer, model, "append", piece)
    run(buffer, model, "take", taken)
    run(buffer, model, "find", separator)
    run(buffer, model, "take", 1)
    run(buffer, model, "find", separator)


@given(st.lists(st.text("ab\n", min_size=1, max_size=30).map(str.encode), max_size=30))
def test_lines_come_out_as_they_went_in(pieces: list[bytes]) -> None:
    """Finding, taking and skipping over a separator in turns gives what ``split`` gives."""
    buffer, lines = ReceiveBuffer(), []
    for piece in pieces:
        buffer.append(piece)
        while (end := buffer.find(b"\n")) >= 0:
            lines.append(buffer.take(end))
            buffer.skip(1)
    assert [*lines, buffer.take_all()] == b"".join(pieces).split(b"\n")


@pytest.mark.parametrize("peek_first", [False, True])
def test_what_is_taken_is_bytes(peek_first: bool) -> None:
    """Answers are ``bytes`` objects of the caller's own, also when a chunk is given out whole."""
    buffer = ReceiveBuffer()
    buffer.append(b"abc" * 1000)
    buffer.append(b"def" * 1000)
    if peek_first:
        assert type(buffer.peek_all()) is bytes
    assert type(buffer.take(2)) is type(buffer.take(4000)) is type(buffer.take_all()) is bytes
    assert buffer.take(1) == buffer.take_all() == buffer.peek(1) == b""


# Text

ENCODINGS = [
    "utf-8",
    "utf-8-sig",
    "utf-16",
    "utf-16-le",
    "utf-32",
    "latin-1",
    "ascii",
    "shift_jis",
    "gb18030",
    "iso2022_jp",
    "utf-7",
]
ALPHABET = {"latin-1": "aé\n", "ascii": "ab\n", "shift_jis": "aあ漢", "iso2022_jp": "aあ漢"}


@given(st.data(), st.sampled_from(ENCODINGS))
def test_text_comes_out_as_it_went_in(data: st.DataObject, encoding: str) -> None:
    """Read in any pieces that arrive in any pieces, it is the same text; nothing stays behind."""
    text = data.draw(st.text(ALPHABET.get(encoding, "aé漢😀\n"), max_size=20))
    payload = text.encode(encoding)
    buffer, result = ReceiveBuffer(), ""
    while payload or buffer.size:
        if payload:
            size = data.draw(st.integers(1, len(payload)))
            buffer.append(payload[:size])
            payload = payload[size:]
        count = data.draw(st.integers(1, 12))
        if not payload:
            count = buffer.size
        if data.draw(st.booleans()):
            buffer.decode(buffer.size, encoding, final=False)  # a look changes nothing
        piece, used = buffer.decode(count, encoding, final=not payload)
        assert used <= count
        assert used <= buffer.size
        buffer.skip(used)
        result += piece
    assert result == text


@given(st.binary(max_size=12), st.integers(0, 12), st.booleans())
@example(b"\xf0\x9f", 2, True)
@example(b"\xf0\x9f", 2, False)
@example(b"\xf0\x9fa", 2, True)
@example(b"\xff", 1, False)
def test_broken_text_is_an_error_that_consumes_nothing(
    payload: bytes, count: int, final: bool
) -> None:
    """Exactly what ``codecs`` refuses is refused, every time, and the bytes stay."""
    buffer = ReceiveBuffer()
    if payload:
        buffer.append(payload)
    really_final = final and count >= len(payload)
    for _ in range(2):
        try:
            expected, used = codecs.utf_8_decode(payload[:count], "strict", really_final)
        except UnicodeDecodeError:
            with pytest.raises(UnicodeDecodeError):
                buffer.decode(count, "utf-8", final=final)
        else:
            assert buffer.decode(count, "utf-8", final=final) == (expected, used)
        assert buffer.peek_all() == payload


def test_a_missing_byte_order_mark_is_a_decode_error() -> None:
    """Python calls it a ``UnicodeError`` only; for users it is undecodable like the rest."""
    buffer = ReceiveBuffer()
    buffer.append("ab".encode("utf-16-le"))
    with pytest.raises(UnicodeDecodeError, match="does not start with BOM"):
        buffer.decode(4, "utf-16", final=False)
    assert buffer.size == 4


@pytest.mark.parametrize("encoding", ["no such encoding", "hex", "base64", "rot13", "zip"])
@pytest.mark.parametrize("payload", [b"", b"6162"])
def test_what_is_no_encoding_of_text_is_refused(encoding: str, payload: bytes) -> None:
    """As ``bytes.decode`` does, and also when there is nothing to decode."""
    buffer = ReceiveBuffer()
    if payload:
        buffer.append(payload)
    with pytest.raises(LookupError):
        buffer.decode(4, encoding, final=False)


def test_a_purge_ends_what_a_decoder_remembers() -> None:
    """What comes after a purge, or from the next connection, begins with a byte order mark."""
    buffer = ReceiveBuffer()
    buffer.append("a".encode("utf-16-be").join([codecs.BOM_UTF16_BE, b""]))
    text, used = buffer.decode(4, "utf-16", final=False)
    buffer.skip(used)
    assert text == "a"
    buffer.append("b".encode("utf-16-be"))
    assert buffer.decode(2, "utf-16", final=False) == ("b", 2)
    buffer.clear()
    buffer.append(codecs.BOM_UTF16_LE + "c".encode("utf-16-le"))
    assert buffer.decode(4, "utf-16", final=False) == ("c", 4)


# Cost. The bounds are a hundred times what it takes; what is quadratic takes much longer.


def test_single_bytes_are_taken_in_linear_time() -> None:
    """FAULTS F30: 20,000 reads of one byte from 4 MiB in one chunk, and in many."""
    for size in (1500, 2**22):
        buffer = ReceiveBuffer()
        for _ in range(2**22 // size):
            buffer.append(b"x" * size)
        begin = time.process_time()
        for _ in range(20_000):
            assert buffer.take(1) == b"x"
        assert time.process_time() - begin < 2


def test_a_separator_that_comes_bytewise_is_found_in_linear_time() -> None:
    """FAULTS F31: a search goes on where the one before ended, over many single bytes."""
    buffer = ReceiveBuffer()
    begin = time.process_time()
    for _ in range(20_000):
        buffer.append(b"x")
        assert buffer.find(b"\r\n") < 0
    buffer.append(b"\r")
    assert buffer.find(b"\r\n") < 0
    buffer.append(b"\n")
    assert buffer.find(b"\r\n") == 20_000
    assert time.process_time() - begin < 5


@pytest.mark.parametrize("size", [1100, 65536])
def test_lines_of_a_full_buffer_are_found_in_linear_time(size: int) -> None:
    """Each line costs its own length, not that of all chunks behind it."""
    buffer = ReceiveBuffer()
    data = b"0123456\n" * (2**18 // 8)
    for start in range(0, len(data), size):
        buffer.append(data[start : start + size])
    begin = time.process_time()
    count = 0
    while (end := buffer.find(b"\n")) >= 0:
        buffer.take(end)
        buffer.skip(1)
        count += 1
    assert count == 2**18 // 8
    assert time.process_time() - begin < 5


def test_single_bytes_cost_little_memory() -> None:
    """Packets of one byte are kept in not much more than one byte each."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        buffer = ReceiveBuffer()
        for number in range(20_000):
            buffer.append(bytes([number & 127]))
        assert tracemalloc.get_traced_memory()[0] - before < 40_000
    finally:
        tracemalloc.stop()
    assert buffer.size == 20_000


def test_taken_chunks_are_let_go() -> None:
    """A buffer that is never empty does not hold on to what was taken from it."""
    buffer = ReceiveBuffer()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(2000):
            buffer.append(random.randbytes(4096))
            if buffer.size > 8 * 4096:
                buffer.take(4096)
        assert tracemalloc.get_traced_memory()[0] - before < 100_000
        assert len(buffer._chunks) < 200
    finally:
        tracemalloc.stop()


def test_bytes_can_be_put_back() -> None:
    """Whatever was taken before, and found since."""
    takes: list[Callable[[ReceiveBuffer], bytes]] = [
        ReceiveBuffer.take_all,
        lambda buffer: buffer.take(3),
        lambda buffer: buffer.take(5000),
    ]
    for take in takes:
        buffer = ReceiveBuffer()
        for chunk in (b"a\nc" + b"x" * 4000, b"\n" * 3000, b"end"):
            buffer.append(chunk)
        whole = buffer.peek_all()
        taken = take(buffer)
        assert buffer.find(b"\n") == whole[len(taken) :].find(b"\n")
        buffer.put_back(taken[1:])
        assert buffer.find(b"\n") == 0
        assert buffer.size == len(whole) - 1
        assert buffer.peek_all() == whole[1:]
        assert buffer.take(2) + buffer.take_all() == whole[1:]

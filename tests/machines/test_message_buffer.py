"""The receive queue of a message socket: what it counts, and when it is full."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_xsock import FramingError, Message, encode_message
from trio_xsock._machines.message_buffer import MessageBuffer

programs = st.lists(
    st.one_of(
        st.tuples(st.just("arrive"), st.integers(0, 3), st.integers(0, 50)),
        st.tuples(st.sampled_from(["take", "decode"]), st.just(0), st.just(0)),
        st.tuples(st.just("take command"), st.integers(0, 3), st.just(0)),
        st.tuples(st.just("clear"), st.just(0), st.just(0)),
    ),
    max_size=40,
)


def decode_all(buffer: MessageBuffer) -> None:
    while buffer.pending:
        for message in buffer.decode():
            buffer.add(message)


@given(programs, st.integers(1, 30))
def test_like_a_list(program: list[tuple[str, int, int]], piece: int) -> None:
    """Taken in order, or by command; sizes are those on the wire, at every instant."""
    buffer, model = MessageBuffer(1000), []
    for operation, command, size in program:
        match operation:
            case "arrive":
                frame = encode_message(command, bytes(size))
                for start in range(0, len(frame), piece):
                    buffer.append(frame[start : start + piece])
                    decode_all(buffer)
                model.append(Message(command, bytes(size)))
            case "decode":
                assert buffer.decode() == []
            case "take":
                assert buffer.take() == (model.pop(0) if model else None)
            case "take command":
                found = next((each for each in model if each.command == command), None)
                assert buffer.take_command(command) == found
                if found is not None:
                    model.remove(found)
            case _:
                buffer.clear()
                model.clear()
        assert list(buffer.messages) == model
        assert buffer.size == sum(12 + len(message.data) for message in model)


def test_a_message_that_has_begun_outlives_a_purge() -> None:
    """Else the stream could not be understood any more."""
    buffer = MessageBuffer(1000)
    buffer.append(encode_message(1) * 100 + encode_message(2, b"abc")[:13])
    buffer.add(buffer.decode()[0])
    buffer.clear()
    assert (buffer.size, list(buffer.messages), buffer.pending) == (13, [], False)
    assert buffer.incomplete
    buffer.append(b"bc")
    assert buffer.decode() == [(2, b"abc")]
    assert not buffer.incomplete
    buffer.append(b"?")
    buffer.clear()
    with pytest.raises(FramingError):
        buffer.decode()
    buffer.restart()
    assert (buffer.size, buffer.pending, buffer.max_message_size) == (0, False, 1000)


def test_how_much_it_wants() -> None:
    """A begun message may be completed, however large, unless enough others wait."""
    buffer = MessageBuffer(1000)
    assert (buffer.wanted(100), buffer.needed(100)) == (100, 0)
    buffer.append(encode_message(1, bytes(500))[:20])
    assert buffer.decode() == []
    assert (buffer.wanted(100), buffer.needed(100)) == (512, 512)
    buffer.add(Message(2, bytes(30)))
    assert buffer.wanted(100) == buffer.needed(100) == 42 + 512
    assert not buffer.is_full(1000)
    buffer.add(Message(2, bytes(50)))
    assert (buffer.wanted(100), buffer.needed(100)) == (100, 0)
    assert buffer.is_full(300)
    assert not MessageBuffer(1).is_full(1)

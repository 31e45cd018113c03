"""The plain reads: from the buffer only, as bytes or as text."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import accept, raw_listener, until
from tests.support.pairs import linked
from trio_xsock import DataAvailable, LostConnectionError, SocketState, TCPSocket

SMILE = "\N{SLIGHTLY SMILING FACE}"


def filled(data: bytes) -> TCPSocket:
    """A socket that has received something; its connection is of no interest."""
    sock = TCPSocket()
    sock._inbox.buffer.append(data)
    return sock


async def test_a_fresh_socket_has_nothing_to_read() -> None:
    """Plain reads need no connection: there is just nothing."""
    sock = TCPSocket()
    assert sock.bytes_available == 0
    assert sock.end_of_file
    assert sock.at_eof
    assert sock.read(10) == sock.read_all() == sock.lookahead() == b""
    assert sock.read(10, "utf-8") == sock.read_all("utf-8") == sock.lookahead("utf-8") == ""


async def test_read_takes_what_it_is_asked_for_or_what_there_is() -> None:
    """n counts bytes; fewer come when there are fewer, and none when there are none."""
    async with linked() as (sock, peer):
        peer.send_nowait(b"abcdef")
        await until(lambda: sock.bytes_available == 6)
        assert not sock.end_of_file
        assert sock.read(0) == b""
        assert sock.read(2) == b"ab"
        assert sock.lookahead() == b"cdef"
        assert sock.read(3) == b"cde"
        assert sock.read(3) == b"f"
        assert sock.read(3) == b""
        assert sock.end_of_file
        assert not sock.at_eof


async def test_read_all_and_lookahead_give_everything() -> None:
    """One takes it, the other leaves it there."""
    async with linked() as (sock, peer):
        peer.send_nowait(b"abcdef")
        await until(lambda: sock.bytes_available == 6)
        assert sock.lookahead() == sock.lookahead() == b"abcdef"
        assert sock.read_all() == b"abcdef"
        assert sock.lookahead() == b""


@pytest.mark.parametrize(
    ("count", "error"),
    [(-1, ValueError), (1.0, TypeError), ("1", TypeError), (None, TypeError), (True, TypeError)],
)
def test_a_count_has_to_be_a_whole_number_from_0_on(count: Any, error: type[Exception]) -> None:
    """Anything else is refused, and nothing is taken."""
    sock = filled(b"abc")
    with pytest.raises(error, match="n must be"):
        sock.read(count)
    assert sock.bytes_available == 3


async def test_text_never_splits_a_character() -> None:
    """An incomplete tail stays in the buffer until the rest has come."""
    async with linked() as (sock, peer):
        peer.send_nowait(b"a" + SMILE.encode()[:3])
        await until(lambda: sock.bytes_available == 4)
        assert sock.lookahead("utf-8") == "a"
        assert sock.read_all("utf-8") == "a"
        assert sock.read_all("utf-8") == ""
        assert sock.bytes_available == 3
        peer.send_nowait(SMILE.encode()[3:] + b"b")
        await until(lambda: sock.bytes_available == 5)
        assert sock.read(3, "utf-8") == ""
        assert sock.read(4, "utf-8") == SMILE
        assert sock.read_all("ascii") == "b"


@pytest.mark.parametrize(
    "call",
    [
        lambda sock: sock.read(9, "utf-8"),
        lambda sock: sock.read_all("utf-8"),
        lambda sock: sock.lookahead("utf-8"),
    ],
)
async def test_undecodable_bytes_raise_and_stay(call: Any) -> None:
    """Every call raises, none consumes; without an encoding they can be had."""
    async with linked() as (sock, peer):
        peer.send_nowait(b"ab\xffcd")
        await until(lambda: sock.bytes_available == 5)
        for _ in range(3):
            with pytest.raises(UnicodeDecodeError):
                call(sock)
        assert sock.bytes_available == 5
        assert sock.read(2, "utf-8") == "ab"
        assert sock.read_all() == b"\xffcd"


@pytest.mark.parametrize("end", ["fin", "reset", "close"])
async def test_a_stream_that_ends_inside_a_character_raises(end: str) -> None:
    """A loop of read_all("utf-8") until at_eof ends, by raising, on every call (F33)."""
    async with linked() as (sock, peer):
        peer.send_nowait(b"ab" + SMILE.encode()[:2])
        await until(lambda: sock.bytes_available == 4)
        assert sock.read_all("utf-8") == "ab"
        if end == "close":
            sock.close()
        else:
            getattr(peer, end)()
            await until(lambda: sock.last_error)
        text = ""
        with pytest.raises(UnicodeDecodeError):
            while not sock.at_eof:
                text += sock.read_all("utf-8")
        assert text == ""
        with pytest.raises(UnicodeDecodeError):
            sock.read(2, "utf-8")
        assert sock.read_all() == SMILE.encode()[:2]
        assert sock.at_eof
        assert sock.read_all("utf-8") == ""


def test_an_unknown_encoding_is_refused() -> None:
    """LookupError, and nothing is taken."""
    sock = filled(b"abc")
    with pytest.raises(LookupError):
        sock.read(2, "no-such-encoding")
    with pytest.raises(LookupError):
        sock.read_all("no-such-encoding")
    with pytest.raises(LookupError):
        sock.lookahead("no-such-encoding")
    assert sock.read_all() == b"abc"


@settings(max_examples=50)
@given(
    text=st.text(max_size=40),
    encoding=st.sampled_from(["utf-8", "utf-16-le", "utf-32-be", "gb18030"]),
    sizes=st.lists(st.integers(1, 9), min_size=1),
)
def test_text_comes_out_as_it_went_in(text: str, encoding: str, sizes: list[int]) -> None:
    """However the bytes are split on the way in, the text is the same."""
    data = text.encode(encoding, "surrogatepass" if "utf" in encoding else "strict")
    try:
        data.decode(encoding)
    except UnicodeDecodeError:  # a lone surrogate
        return
    sock = TCPSocket()
    sock._connection.state = SocketState.CONNECTED
    got, position = "", 0
    while position < len(data):
        for size in sizes:
            if piece := data[position : position + size]:
                sock._inbox.buffer.append(piece)
            position += size
            got += sock.read_all(encoding)
    sock._connection.ends.may_receive = False
    assert got + sock.read_all(encoding) == text
    assert sock.at_eof


async def test_read_all_takes_back_a_waiting_announcement() -> None:
    """What was read needs no DataAvailable any more; read(n) leaves it."""
    async with linked() as (sock, peer):
        events = sock.events
        peer.send_nowait(b"abc")
        await until(lambda: sock.bytes_available == 3)
        sock.read(3)
        assert events.statistics().current_buffer_used == 2  # with Connected
        assert sock.read_all() == b""
        assert events.statistics().current_buffer_used == 1
        peer.send_nowait(b"abc")
        await until(lambda: sock.bytes_available == 3)
        events.receive_nowait()
        assert events.receive_nowait() == DataAvailable(sock)


async def test_the_buffer_outlives_the_connection() -> None:
    """After any end, plain reads go on and receive what came before (F34)."""
    async with linked() as (sock, peer):
        peer.send_nowait(b"abcdef")
        await until(lambda: sock.bytes_available == 6)
        peer.reset()
        await until(lambda: sock.last_error)
        assert isinstance(sock.last_error, LostConnectionError)
        assert sock.lookahead() == b"abcdef"
        assert sock.read(2) == b"ab"
        sock.close()
        sock.close()
        assert sock.lookahead("ascii") == "cdef"
        assert sock.read(1, "ascii") == "c"
        assert not sock.at_eof
    assert sock.bytes_available == 3
    assert sock.read_all() == b"def"
    assert sock.at_eof
    assert sock.read_all() == b""
    sock.purge()
    sock.purge()


async def test_reading_after_the_end_announces_nothing() -> None:
    """No phantom DataAvailable, whatever is done with the buffer after the end (F34)."""
    async with linked() as (sock, peer):
        events = sock.events
        peer.send_nowait(b"abcdef")
        await until(lambda: sock.bytes_available == 6)
        peer.close()
        await until(lambda: sock.last_error)
        names = [type(event).__name__ async for event in events]
        assert names == ["Connected", "DataAvailable", "ErrorOccurred"]
        sock.read(1)
        sock.lookahead()
        sock.purge()
        assert sock.read_all() == b""
        assert [event async for event in events] == []


async def test_at_eof_waits_for_what_the_os_still_holds() -> None:
    """A paused socket is not at its end, though its buffer is empty for a moment."""
    async with linked(receive_buffer_limit=2) as (sock, peer):
        sock.subscribe()  # so that input is taken in as it comes
        peer.send_nowait(b"abcd")
        peer.fin()
        await until(lambda: sock.statistics().read_pauses)
        assert sock.read_all() == b"ab"
        assert sock.end_of_file
        assert not sock.at_eof
        await until(lambda: sock.bytes_available)
        assert sock.read_all() == b"cd"
        await until(lambda: sock.at_eof)


async def test_a_million_reads_of_one_byte_are_linear() -> None:
    """Reading a large buffer bytewise costs the bytes, not their square (F30)."""
    sock = filled(bytes(2**20))
    sock._inbox.buffer.append(bytes(2**22))
    for _ in range(20000):
        assert sock.read(1) == b"\0"
    assert sock.bytes_available == 2**20 + 2**22 - 20000


async def test_a_new_connection_starts_with_an_empty_buffer() -> None:
    """What the last one left is gone once the next one is up."""
    async with linked() as (sock, peer):
        peer.send_nowait(b"abc")
        await until(lambda: sock.bytes_available == 3)
        sock.close()
        assert sock.bytes_available == 3
        with raw_listener() as listener:
            sock.port = listener.getsockname()[1]
            await sock.connect()
            with await accept(listener) as second:
                assert sock.bytes_available == 0
                second.send_nowait(b"x")
                assert await sock.receive_some() == b"x"


# Undecodable bytes


@pytest.mark.parametrize("errors", ["replace", "ignore", "backslashreplace", "surrogateescape"])
async def test_undecodable_bytes_may_be_replaced(errors: str) -> None:
    """As ``bytes.decode`` does it; a character that is not complete yet is none of them."""
    data = b"caf\xe9!\xff " + SMILE.encode()
    async with linked() as (sock, peer):
        for call in (sock.lookahead, sock.read_all, lambda *a, **k: sock.read(99, *a, **k)):
            peer.send_nowait(data + SMILE.encode()[:2])
            await until(lambda: sock.bytes_available == len(data) + 2)
            with pytest.raises(UnicodeDecodeError):
                sock.lookahead("utf-8")
            assert call("utf-8", errors=errors) == data.decode("utf-8", errors)
            sock.purge()
        assert sock.read_all(errors=errors) == b""


async def test_an_incomplete_character_at_the_end_may_be_replaced() -> None:
    """Nothing can follow: it is undecodable then."""
    async with linked() as (sock, peer):
        peer.send_nowait(b"abc\xe2\x82")
        await until(lambda: sock.bytes_available == 5)
        assert sock.lookahead("utf-8", errors="replace") == "abc"
        peer.fin()
        await until(lambda: sock.bytes_available == 5 and not sock._connection.ends.may_receive)
        assert sock.lookahead("utf-8", errors="replace") == "abc\ufffd"
        assert sock.read_all("utf-8", errors="replace") == "abc\ufffd"
        assert sock.at_eof


@pytest.mark.parametrize("errors", ["replace", "ignore", "backslashreplace"])
@pytest.mark.parametrize("encoding", ["utf-8", "big5", "ascii"])
async def test_lines_with_undecodable_bytes(encoding: str, errors: str) -> None:
    """Each line is decoded by itself, however many came at once."""
    lines = [b"caf\xe9", b"good", b"\xff\xe2\x82", b"", b"\x81\x30", b"last\xe2"]
    for one_by_one in (False, True):
        async with linked() as (sock, peer):
            async with trio.open_nursery() as nursery:

                @nursery.start_soon
                async def send(peer: Any = peer, one_by_one: bool = one_by_one) -> None:
                    for line in lines[:-1]:
                        await peer.send(line + b"\r\n")
                        if one_by_one:
                            await trio.testing.wait_all_tasks_blocked()
                    await peer.send(lines[-1])
                    peer.fin()

                got = [line async for line in sock.lines(encoding, errors=errors)]
        assert got == [line.decode(encoding, errors) for line in lines]


def test_an_unknown_way_of_handling_errors_is_refused() -> None:
    """At the call, even where there is nothing to decode."""
    sock = TCPSocket()
    for call in (sock.read_all, sock.lookahead, sock.lines):
        with pytest.raises(LookupError, match="nonsense"):
            call("utf-8", errors="nonsense")
    with pytest.raises(LookupError, match="nonsense"):
        sock.read(1, "utf-8", errors="nonsense")

"""Lines that are split a piece at a time and handed out one by one."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.pairs import linked
from trio_xsock import DelimiterNotFoundError, TCPSocket
from trio_xsock._sockets.lines import first_lines, split_bytes, split_text

MANY = b"".join(b"line %d\n" % number for number in range(5000))


async def filled(sock: TCPSocket, size: int) -> None:
    """Wait until so many bytes are in the buffer."""
    while sock.bytes_available < size:
        await sock.poll()


@given(st.lists(st.binary().map(lambda line: line.replace(b"\n", b"")), max_size=20))
def test_bytes_are_split_like_one_line_after_the_other(lines: list[bytes]) -> None:
    """Each line end counts, and takes one CR before it along."""
    piece = b"".join(line + b"\n" for line in lines)
    assert split_bytes(piece) == [line.removesuffix(b"\r") for line in lines]


@given(st.lists(st.text().map(lambda line: line.replace("\n", "")), max_size=20))
def test_text_is_split_at_line_feeds_only(lines: list[str]) -> None:
    """Other characters that Unicode calls line ends are text here."""
    text = "".join(line + "\n" for line in lines)
    assert split_text(text) == [line.removesuffix("\r") for line in lines]


@given(st.binary(max_size=50).map(lambda data: data.replace(b"x", b"\n")), st.integers(1, 5))
def test_so_many_lines_at_a_time(piece: bytes, most: int) -> None:
    """The first ones, whole, and no more than asked for."""
    first = first_lines(piece, most)
    assert piece.startswith(first)
    assert first.endswith(b"\n" if first else b"")
    assert first.count(b"\n") == min(most, piece.count(b"\n"))


async def test_many_lines_come_one_by_one() -> None:
    """Pieces fit together without a seam."""
    async with linked() as (sock, peer), trio.open_nursery() as nursery:
        nursery.start_soon(peer.send, MANY)
        number = 0
        async for line in sock.lines():
            assert line == f"line {number}"
            number += 1
            if number == 5000:
                break
        assert sock.bytes_available == 0


@pytest.mark.parametrize("taken", [1, 2, 7, 3000])
async def test_who_looks_in_between_sees_the_rest(taken: int) -> None:
    """Lines that were split but not handed out are still in the buffer for everybody else."""
    async with linked() as (sock, peer):
        await peer.send(MANY)
        await filled(sock, len(MANY))
        lines = sock.lines()
        for number in range(taken):
            assert await anext(lines) == f"line {number}"
        rest = MANY.split(b"\n", taken)[taken]
        assert sock.bytes_available == len(rest)
        assert sock.statistics().bytes_available == len(rest)
        assert await anext(lines) == f"line {taken}"
        rest = rest.split(b"\n", 1)[1]
        assert not sock.end_of_file
        assert not sock.at_eof
        assert sock.lookahead() == rest
        assert await sock.receive_exactly(3) == rest[:3]
        assert await anext(lines) == rest[3:].split(b"\n")[0].decode()


async def test_two_iterators_share_the_lines() -> None:
    """Each line is handed out once, whoever asks."""
    async with linked() as (sock, peer):
        await peer.send(MANY)
        await filled(sock, len(MANY))
        first, second = sock.lines(), sock.lines(None)
        assert await anext(first) == "line 0"
        assert await anext(second) == b"line 1"
        assert await anext(first) == "line 2"
        assert await anext(second) == b"line 3"
        assert sock.read_all() == MANY.split(b"\n", 4)[4]


async def test_closing_keeps_what_was_not_handed_out() -> None:
    """After the end the plain calls still get at it."""
    async with linked() as (sock, peer):
        await peer.send(MANY)
        await filled(sock, len(MANY))
        lines = sock.lines()
        assert await anext(lines) == "line 0"
        sock.close()
        assert sock.read_all() == MANY.split(b"\n", 1)[1]


async def test_purging_drops_what_was_not_handed_out() -> None:
    """The iterator goes on with what comes then."""
    async with linked() as (sock, peer):
        await peer.send(MANY)
        await filled(sock, len(MANY))
        lines = sock.lines()
        assert await anext(lines) == "line 0"
        sock.purge()
        assert sock.bytes_available == 0
        await peer.send(b"new\n")
        assert await anext(lines) == "new"


async def test_only_the_line_to_blame_raises() -> None:
    """A piece that cannot be decoded or has a long line is handed out line by line."""
    async with linked() as (sock, peer):
        await peer.send(b"good\nalso\n\xff\xff\n")
        await filled(sock, 13)
        lines = sock.lines()
        assert await anext(lines) == "good"
        assert await anext(lines) == "also"
        with pytest.raises(UnicodeDecodeError):
            await anext(lines)
        assert sock.read_all() == b"\xff\xff\n"
        await peer.send(b"good\nalso\ntoo long\nshort\n")
        await filled(sock, 25)
        lines = sock.lines(max_bytes=5)
        assert await anext(lines) == "good"
        assert await anext(lines) == "also"
        with pytest.raises(DelimiterNotFoundError):
            await anext(lines)
        assert sock.lookahead() == b"too long\nshort\n"


async def test_there_is_a_checkpoint_for_each_piece() -> None:
    """Other tasks have their turn while many lines are handed out."""
    data = MANY * 10
    async with linked() as (sock, peer), trio.open_nursery() as nursery:
        nursery.start_soon(peer.send, data)
        await filled(sock, len(data))
        turns = 0

        async def count_turns() -> None:
            nonlocal turns
            while True:
                await trio.lowlevel.checkpoint()
                turns += 1

        nursery.start_soon(count_turns)
        lines = sock.lines()
        for _ in range(50_000):
            await anext(lines)
        nursery.cancel_scope.cancel()
        assert turns >= 50_000 // 2049 - 1


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.sampled_from([b"a\n", b"\r\n", b"\n", b"bb\r\r\n", b"c" * 40 + b"\n"]), max_size=60
    ),
    st.lists(st.integers(0, 5), max_size=30),
)
def test_any_mixture_of_readers_gets_every_byte_once(
    pieces: list[bytes], program: list[int]
) -> None:
    """Lines, single bytes and looks in any order: together they are what came."""
    data = b"".join(pieces)

    async def main() -> None:
        async with linked() as (sock, peer):
            await peer.send(data)
            await filled(sock, len(data))
            lines = sock.lines(None)
            rest = data
            for choice in program:
                if choice < 4 and b"\n" in rest:
                    line, rest = rest.split(b"\n", 1)
                    assert await anext(lines) == line.removesuffix(b"\r")
                elif choice == 4:
                    assert sock.read(1) == rest[:1]
                    rest = rest[1:]
                else:
                    assert sock.lookahead() == rest
            assert sock.read_all() == rest

    trio.run(main)

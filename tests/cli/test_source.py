"""Files that are sent, without a network."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import trio
import trio.testing

from trio_xsock._cli import _source
from trio_xsock._cli._errors import CommandError, UsageError
from trio_xsock._cli._source import PIECE, FileShrankError, Source

SYS_FILE = Path("/sys/class/net/lo/address")


def read_all(source: Source) -> bytes:
    pieces: list[bytes] = []
    while piece := source.read_piece():
        pieces.append(piece)
    return b"".join(pieces)


def broken(number: int) -> object:
    def fail(*args: object, **options: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize("size", [0, 1, PIECE, PIECE + 1])
def test_source_gives_the_whole_file(tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    (tmp_path / "f").write_bytes(data)
    with Source(str(tmp_path / "f")) as source:
        assert source.size == size
        assert read_all(source) == data
        assert source.digest() == hashlib.sha256(data).digest()
        assert source.growth() == 0
    source.close()


def test_source_that_shrinks(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(bytes(3 * PIECE))
    with Source(str(path)) as source:
        source.read_piece()
        os.truncate(path, PIECE + 5)
        assert len(source.read_piece()) == 5
        with pytest.raises(
            FileShrankError, match=f"had {3 * PIECE} bytes .* after {PIECE + 5} now"
        ):
            source.read_piece()


def test_source_that_grows_is_sent_as_announced(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"abc")
    with Source(str(path)) as source:
        with path.open("ab") as file:
            file.write(b"defg")
        assert read_all(source) == b"abc"
        assert source.growth() == 4


def test_sources_that_cannot_be_sent(tmp_path: Path) -> None:
    for path, reason in [
        (tmp_path / "missing\x1b", "No such file"),
        (tmp_path, "not a regular file"),
        (Path("/dev/null"), "not a regular file"),
        ("a\0b", "not a valid path"),
    ]:
        with pytest.raises(UsageError, match=reason) as caught:
            Source(str(path))
        assert str(caught.value).isprintable()


def test_disk_error_while_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "f").write_bytes(b"abc")
    with Source(str(tmp_path / "f")) as source:
        monkeypatch.setattr(os, "read", broken(errno.EIO))
        with pytest.raises(CommandError, match=r"reading .* failed: Input/output error"):
            source.read_piece()


async def collected(path: object) -> bytes:
    with Source(str(path)) as source:
        await source.collect()
        data = read_all(source)
        assert source.size == len(data)
        assert source.digest() == hashlib.sha256(data).digest()
        assert source.growth() == 0
    return data


@pytest.mark.skipif(not SYS_FILE.exists(), reason="needs Linux's /proc and /sys")
@pytest.mark.parametrize("path", [Path("/proc/version"), SYS_FILE])
async def test_files_that_state_another_size_are_read_to_their_end(path: Path) -> None:
    """0 in /proc, a page of memory in /sys."""
    with path.open("rb") as file:
        expected = file.read()
        assert os.fstat(file.fileno()).st_size != len(expected) > 0
    assert await collected(path) == expected


async def test_a_file_that_is_one_hole_is_not_copied(tmp_path: Path) -> None:
    """It has its size, though it occupies nothing."""
    hole = tmp_path / "hole"
    hole.touch()
    os.truncate(hole, 3 * PIECE)
    with Source(str(hole)) as source:
        assert source.size == 3 * PIECE
    assert await collected(hole) == bytes(3 * PIECE)


async def test_an_empty_file_is_empty(tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    assert await collected(tmp_path / "f") == b""


@pytest.mark.parametrize("size", [5, 2 * PIECE + 5])
async def test_a_named_pipe_is_read_to_its_end(tmp_path: Path, size: int) -> None:
    """It is waited for, before and between its pieces; what is large goes to the disk."""
    pipe, data = tmp_path / "pipe", os.urandom(size)
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(data,))
    with Source(str(pipe)) as source:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(source.collect)
            await trio.testing.wait_all_tasks_blocked()
            assert source.size == 0
            writer.start()
        writer.join()
        assert read_all(source) == data


async def test_waiting_for_a_pipe_is_cancelled_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with Source(str(tmp_path / "pipe")) as source:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(source.collect)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()


async def test_no_room_for_the_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        _source, "tempfile", SimpleNamespace(SpooledTemporaryFile=broken(errno.ENOSPC))
    )
    (tmp_path / "f").touch()
    with Source(str(tmp_path / "f")) as source:
        with pytest.raises(CommandError, match=r"temporary file .* No space left .*TMPDIR"):
            await source.collect()


def test_a_disk_has_the_size_of_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its status states 0."""
    (tmp_path / "disk").write_bytes(b"12345")
    monkeypatch.setattr(_source.stat, "S_ISBLK", lambda mode: True)
    with Source(str(tmp_path / "disk")) as source:
        assert (source.size, read_all(source), source.growth()) == (5, b"12345", 0)


def test_a_source_begins_anew(tmp_path: Path) -> None:
    """As when what the receiver has proves to be something else."""
    data = os.urandom(PIECE + 5)
    (tmp_path / "f").write_bytes(data)
    with Source(str(tmp_path / "f")) as source:
        assert source.read_piece(3) == data[:3]
        assert source.digest() == hashlib.sha256(data[:3]).digest()
        source.rewind()
        assert read_all(source) == data
        assert source.digest() == hashlib.sha256(data).digest()


async def test_standard_input_from_where_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that somebody read a part of, a pipe, and none at all."""
    (tmp_path / "f").write_bytes(b"read before, sent now")
    real = os.dup
    with (tmp_path / "f").open("rb") as file:
        os.lseek(file.fileno(), 13, os.SEEK_SET)
        monkeypatch.setattr(os, "dup", lambda fd: real(file.fileno()))
        with Source("-") as source:
            await source.collect()
            assert (source.size, source.is_stream) == (8, True)
            assert read_all(source) == b"sent now"
            source.rewind()
            assert read_all(source) == b"sent now"
            assert source.growth() == 0
    read, write = os.pipe()
    os.write(write, b"through a pipe")
    os.close(write)
    monkeypatch.setattr(os, "dup", lambda fd: read)
    with Source("-") as source:
        await source.collect()
        assert read_all(source) == b"through a pipe"
        source.rewind()
        assert read_all(source) == b"through a pipe"
    nothing = os.open("/dev/null", os.O_RDONLY)
    monkeypatch.setattr(os, "dup", lambda fd: nothing)
    with Source("-") as source:
        await source.collect()
        assert read_all(source) == b""
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(UsageError, match="standard input: it is closed"):
        Source("-")

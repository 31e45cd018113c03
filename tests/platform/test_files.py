"""Calls on files, and what stands for them where they are missing."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from trio_xsock._platform import files


@pytest.fixture(params=["the call", "its substitute"], autouse=True)
def minimal(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test with the system's call, and without."""
    if request.param == "its substitute":
        monkeypatch.setattr(files, "MINIMAL", True)


def test_reading_at_a_position(tmp_path: Path) -> None:
    """The descriptor's own position stays where it was."""
    (tmp_path / "f").write_bytes(b"0123456789")
    with open(tmp_path / "f", "rb", buffering=0) as file:
        assert file.read(2) == b"01"
        assert files.pread(file.fileno(), 3, 6) == b"678"
        assert files.pread(file.fileno(), 3, 20) == b""
        assert file.read(2) == b"23"


def test_a_locked_file(tmp_path: Path) -> None:
    """It is locked until it is closed; another file is not."""
    one, two, other = (
        os.open(tmp_path / name, os.O_RDWR | os.O_CREAT) for name in ("f", "f", "other")
    )
    files.lock_file(one)
    with pytest.raises(BlockingIOError):
        files.lock_file(two)
    files.lock_file(other)
    files.close_file(one)
    files.lock_file(two)
    files.close_file(two)
    files.close_file(other)


def test_the_room_on_a_disk(tmp_path: Path) -> None:
    """As ``shutil`` has it, more or less: others write to the same disk."""
    folder = os.open(tmp_path, os.O_RDONLY)
    room = files.room_on_disk(folder, os.fsencode(tmp_path))
    os.close(folder)
    assert room is not None
    assert room == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.1)


def test_a_disk_that_does_not_tell_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some file systems say 0 to everything."""
    nothing: Any = SimpleNamespace(f_blocks=0, f_bavail=0, f_frsize=0, total=0, free=0)
    monkeypatch.setattr(os, "fstatvfs", lambda fd: nothing)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: nothing)
    assert files.room_on_disk(9, b"/") is None


def test_our_own_files(tmp_path: Path) -> None:
    """What we have made is ours."""
    (tmp_path / "f").write_bytes(b"x")
    status = (tmp_path / "f").stat()
    assert files.is_ours(status)
    assert files.blocks(status) != 0


def test_what_leads_elsewhere(tmp_path: Path) -> None:
    """Links do, and what Windows has like them."""
    (tmp_path / "link").symlink_to(tmp_path)
    assert files.is_link((tmp_path / "link").lstat())
    assert not files.is_link(tmp_path.lstat())
    junction: Any = SimpleNamespace(st_mode=stat.S_IFDIR, st_file_attributes=0x410)
    assert files.is_link(junction)

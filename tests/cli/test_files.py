"""Files that are received, without a network."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from trio_xsock._cli import _incoming_file
from trio_xsock._cli._errors import RefusedError, UsageError
from trio_xsock._cli._files import (
    Folder,
    IfExists,
    IncomingFile,
    shown_path,
)
from trio_xsock._platform.files import NAMES_BY_DESCRIPTOR
from trio_xsock._platform.system import MINIMAL

NO_LINKS = [errno.EPERM, errno.EACCES, errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.EMLINK]
NO_SYNC = [errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS, errno.EPERM]


def receive(folder: Folder, name: str, data: bytes) -> str:
    file = folder.create()
    try:
        file.write(data)
        file.sync()
        return file.publish(name)
    finally:
        file.discard()


def broken(number: int) -> object:
    def fail(*args: object, **options: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


def test_received_file_appears_at_the_end_only(tmp_path: Path) -> None:
    with Folder(str(tmp_path)) as folder:
        file = folder.create()
        file.write(b"half")
        (temporary,) = tmp_path.iterdir()
        assert temporary.name.startswith(".xsock-")
        assert temporary.name.endswith(".part")
        file.sync()
        assert file.publish("name") == "name"
        file.discard()
        file.discard()
        assert [path.name for path in tmp_path.iterdir()] == ["name"]
        assert (tmp_path / "name").read_bytes() == b"half"
        assert file.digest() == hashlib.sha256(b"half").digest()


def test_discarded_file_leaves_nothing(tmp_path: Path) -> None:
    with Folder(str(tmp_path)) as folder:
        file = folder.create()
        file.write(b"half")
        file.discard()
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["file", "dangling link", "link", "folder"])
def test_existing_names_are_refused(tmp_path: Path, kind: str) -> None:
    taken = tmp_path / "in" / "name"
    taken.parent.mkdir()
    outside = tmp_path / "outside"
    if kind == "file":
        taken.write_bytes(b"old")
    elif kind == "folder":
        taken.mkdir()
    else:
        taken.symlink_to(outside)
        if kind == "link":
            outside.write_bytes(b"old")
    with Folder(str(taken.parent)) as folder:
        with pytest.raises(RefusedError, match="'name' exists already"):
            folder.check_room("name", 1)
        with pytest.raises(RefusedError, match="'name' exists already"):
            receive(folder, "name", b"new")
    assert [path.name for path in taken.parent.iterdir()] == ["name"]
    assert outside.exists() == (kind == "link")
    if kind in ("file", "link"):
        assert taken.read_bytes() == b"old"


def test_overwrite_replaces_a_link_and_not_what_it_points_to(tmp_path: Path) -> None:
    inside = tmp_path / "in"
    inside.mkdir()
    (tmp_path / "outside").write_bytes(b"old")
    (inside / "name").symlink_to(tmp_path / "outside")
    with Folder(str(inside), IfExists.OVERWRITE) as folder:
        folder.check_room("name", 1)
        assert receive(folder, "name", b"new") == "name"
    assert (tmp_path / "outside").read_bytes() == b"old"
    assert (inside / "name").read_bytes() == b"new"
    assert not (inside / "name").is_symlink()


def test_overwrite_does_not_replace_a_folder(tmp_path: Path) -> None:
    (tmp_path / "name").mkdir()
    with Folder(str(tmp_path), IfExists.OVERWRITE) as folder:
        with pytest.raises(RefusedError, match="is a folder"):
            folder.check_room("name", 1)
        with pytest.raises(RefusedError, match="naming the file failed"):
            receive(folder, "name", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["name"]


def test_rename_takes_the_next_free_name(tmp_path: Path) -> None:
    with Folder(str(tmp_path), IfExists.RENAME) as folder:
        folder.check_room("a.txt", 1)
        assert [receive(folder, "a.txt", b"%d" % n) for n in range(3)] == [
            "a.txt",
            "a (1).txt",
            "a (2).txt",
        ]
    assert (tmp_path / "a (2).txt").read_bytes() == b"2"


def test_rename_gives_up_at_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").touch()
    monkeypatch.setattr(_incoming_file, "numbered", lambda name: iter([name]))
    with Folder(str(tmp_path), IfExists.RENAME) as folder:
        with pytest.raises(RefusedError, match="exists already"):
            receive(folder, "a", b"x")


@pytest.mark.parametrize("taken", [False, True])
@pytest.mark.parametrize("number", NO_LINKS, ids=errno.errorcode.get)
def test_without_links_nothing_is_overwritten_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken: bool, number: int
) -> None:
    """Each file system has an error of its own for that."""
    monkeypatch.setattr(os, "link", broken(number))
    if taken:
        (tmp_path / "name").write_bytes(b"old")
    with Folder(str(tmp_path)) as folder:
        if taken:
            with pytest.raises(RefusedError, match="exists already"):
                receive(folder, "name", b"new")
        else:
            assert receive(folder, "name", b"new") == "name"
    assert [path.name for path in tmp_path.iterdir()] == ["name"]
    assert (tmp_path / "name").read_bytes() == (b"old" if taken else b"new")


@pytest.mark.skipif(MINIMAL, reason="links are not tried here")
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_disk_that_fails_is_not_one_without_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(os, "link", broken(number))
    with Folder(str(tmp_path)) as folder, pytest.raises(RefusedError, match="naming the file"):
        receive(folder, "name", b"new")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", NO_SYNC, ids=errno.errorcode.get)
def test_a_disk_that_does_not_say_when_it_has_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(os, "fsync", broken(number))
    with Folder(str(tmp_path)) as folder:
        receive(folder, "name", b"new")
    assert (tmp_path / "name").read_bytes() == b"new"


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fails_at_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(os, "fsync", broken(number))
    with Folder(str(tmp_path)) as folder, pytest.raises(RefusedError, match="writing the file"):
        receive(folder, "name", b"new")
    assert list(tmp_path.iterdir()) == []


def test_without_links_a_failed_replacement_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "link", broken(errno.EPERM))
    monkeypatch.setattr(os, "replace", broken(errno.EIO))
    with Folder(str(tmp_path)) as folder:
        with pytest.raises(RefusedError, match="naming the file failed"):
            receive(folder, "name", b"new")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    with Folder(str(tmp_path)) as folder:
        file = folder.create()
        monkeypatch.setattr(os, "write", broken(number))
        with pytest.raises(RefusedError, match="disk is full: writing the file failed"):
            file.write(b"x")
        file.discard()
    assert list(tmp_path.iterdir()) == []


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, bytes(data)[:3]))
    with Folder(str(tmp_path)) as folder:
        receive(folder, "name", b"0123456789")
    assert (tmp_path / "name").read_bytes() == b"0123456789"


def test_too_large_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Folder(str(tmp_path)) as folder:
        with pytest.raises(RefusedError, match=r"4.6 EB of .* only [0-9.]+ .B left"):
            folder.check_room("name", 2**62)
        unknown = SimpleNamespace(f_blocks=0, f_bavail=0, f_frsize=0, total=0, free=0)
        monkeypatch.setattr(os, "fstatvfs", lambda fd: unknown)
        monkeypatch.setattr(shutil, "disk_usage", lambda path: unknown)
        folder.check_room("name", 2**62)
        monkeypatch.setattr(os, "fstatvfs", broken(errno.EOPNOTSUPP))
        monkeypatch.setattr(shutil, "disk_usage", broken(errno.EOPNOTSUPP))
        folder.check_room("name", 2**62)
    monkeypatch.undo()
    with Folder(str(tmp_path), ask_for_room=False) as folder:
        folder.check_room("name", 2**62)


def test_name_that_the_file_system_refuses(tmp_path: Path) -> None:
    with Folder(str(tmp_path)) as folder:
        with pytest.raises(RefusedError, match="File name too long"):
            folder.check_room("x" * 256, 1)


def test_folders_that_cannot_be_received_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    for path, reason in [
        (tmp_path / "missing", "No such file"),
        (tmp_path / "file", "Not a directory"),
        ("a\0b", "not a valid path"),
    ]:
        with pytest.raises(UsageError, match=reason):
            Folder(str(path))
    monkeypatch.setattr(os, "access", lambda *args, **options: False)
    with pytest.raises(UsageError, match="not writable"):
        Folder(str(tmp_path))


@pytest.mark.skipif(not NAMES_BY_DESCRIPTOR, reason="folders are known by their paths here")
def test_folder_that_is_moved_away_still_receives(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with Folder(str(tmp_path / "in")) as folder:
        file = folder.create()
        (tmp_path / "in").rename(tmp_path / "moved")
        (tmp_path / "in").symlink_to("/")
        assert isinstance(file, IncomingFile)
        file.write(b"x")
        file.publish("name")
        file.discard()
    assert [path.name for path in (tmp_path / "moved").iterdir()] == ["name"]


def test_temporary_name_is_never_an_existing_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(secrets, "token_hex", lambda count: "0")
    (tmp_path / ".xsock-0.part").symlink_to(tmp_path / "outside")
    with Folder(str(tmp_path)) as folder:
        with pytest.raises(RefusedError, match="creating the file failed"):
            folder.create()
    assert not (tmp_path / "outside").exists()


def test_shown_path() -> None:
    assert shown_path("a", "b\x1b") == "a/b\\x1b"

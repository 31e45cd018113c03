"""A folder by its descriptor, and by its path where systems cannot name files otherwise."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from trio_xsock._cli import _place
from trio_xsock._cli._place import NEW, Place
from trio_xsock._platform import files


@pytest.fixture(params=["descriptor", "path"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How files are named."""
    if request.param == "descriptor" and not files.NAMES_BY_DESCRIPTOR:
        pytest.skip("folders are known by their paths here")
    if request.param == "path":
        monkeypatch.setattr(files, "NAMES_BY_DESCRIPTOR", False)
        monkeypatch.setattr(files, "NO_FOLLOW", 0)
        monkeypatch.setattr(_place, "_FLAGS", files.BINARY)
    way: str = request.param
    return way


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """The folder of the test, which is not closed: it is by the tests."""
    return Place(os.fsencode(tmp_path))


def test_files_in_a_folder(place: Place, tmp_path: Path) -> None:
    """They are made, looked at, named and removed, whatever the working directory is."""
    assert place.is_writable()
    assert (place.room() or 0) > 0
    fd = place.open("one", NEW)
    os.write(fd, b"data")
    os.close(fd)
    with pytest.raises(FileExistsError):
        place.open("one", NEW)
    assert place.status("one").st_size == 4
    place.replace("one", "two\xe4")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"data"]
    place.unlink("two\xe4")
    with pytest.raises(FileNotFoundError):
        place.status("two\xe4")
    place.close()
    place.close()


def test_folders_in_a_folder(place: Place, tmp_path: Path) -> None:
    """They are made where they are missing, and closed each by itself."""
    again = place.again()
    place.close()
    for _ in range(2):
        inner = again.below("inner")
        inner.below("more").close()
        inner.close()
    again.close()
    assert (tmp_path / "inner" / "more").is_dir()


def test_links_are_not_followed(place: Place, tmp_path: Path) -> None:
    """Neither to files nor to folders; one that is in the way of a new file is in use."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "folder").symlink_to("outside")
    (tmp_path / "file").symlink_to("outside/file")
    with pytest.raises(NotADirectoryError):
        place.below("folder")
    with pytest.raises(OSError, match="symbolic links") as caught:
        place.open("file", os.O_RDWR | os.O_CREAT)
    assert caught.value.errno == errno.ELOOP
    with pytest.raises(FileExistsError):
        place.open("file", NEW)
    assert list((tmp_path / "outside").iterdir()) == []
    place.close()


def test_what_is_no_folder(place: Place, tmp_path: Path) -> None:
    """A file, and nothing at all."""
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        place.below("file")
    with pytest.raises(NotADirectoryError):
        Place(os.fsencode(tmp_path / "file"))
    with pytest.raises(FileNotFoundError):
        Place(os.fsencode(tmp_path / "missing"))
    place.close()

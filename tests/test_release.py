"""What is published: both files are built, checked, installed into empty environments, and run."""

from __future__ import annotations

import email
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

import trio_xsock

ROOT = Path(__file__).resolve().parents[1]
EPOCH = 1_700_000_000
"""The time that all files get, in seconds."""
NOT_PUBLISHED = shutil.ignore_patterns(
    ".git", ".venv*", ".*_cache", ".tox", "__pycache__", "_build", "*.so"
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    """Run a program that must succeed, and return what it printed."""
    result = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert result.returncode == 0, f"{command}\n{result.stdout}"
    return result.stdout


def build(folder: Path, *options: str, compiled: bool = False) -> Path:
    """Build both files from a copy of the source, as a release does, and return their folder."""
    source = folder / "source"
    shutil.copytree(ROOT, source, ignore=NOT_PUBLISHED)
    environment = {"SOURCE_DATE_EPOCH": str(EPOCH), "TRIO_XSOCK_COMPILE": str(int(compiled))}
    run(sys.executable, "-m", "build", *options, cwd=source, **environment)
    return source / "dist"


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skip where no package index can be reached: building installs the build system."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "-q", "hatchling"]
    folder = tmp_path_factory.mktemp("index")
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        pytest.skip(f"no package index: {result.stderr.strip().splitlines()[-1]}")


@pytest.fixture(scope="module")
def published(index: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the wheel and the source archive."""
    return build(tmp_path_factory.mktemp("release"))


@pytest.fixture(scope="module")
def compiled(index: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the wheel whose hot path is compiled."""
    if shutil.which("cc") is None or not Path(sysconfig.get_path("include"), "Python.h").exists():
        pytest.skip("no C compiler, or no headers of Python")
    return build(tmp_path_factory.mktemp("compiled"), "--wheel", compiled=True)


def wheel_of(folder: Path) -> Path:
    """The wheel."""
    (wheel,) = folder.glob("*.whl")
    return wheel


def archive_of(folder: Path) -> Path:
    """The source archive."""
    (archive,) = folder.glob("*.tar.gz")
    return archive


def test_the_index_takes_both_files(published: Path) -> None:
    files = [wheel_of(published), archive_of(published)]
    run(sys.executable, "-m", "twine", "check", "--strict", *files, cwd=published)


def test_the_same_source_makes_the_same_files(published: Path, tmp_path: Path) -> None:
    again = build(tmp_path)
    assert wheel_of(again).read_bytes() == wheel_of(published).read_bytes()
    assert archive_of(again).read_bytes() == archive_of(published).read_bytes()
    with tarfile.open(archive_of(published)) as archive:
        assert {member.mtime for member in archive} == {EPOCH}


def files_of_the_library() -> set[str]:
    """Those in the source tree, less what Python and an editable install have made."""
    return {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "trio_xsock").rglob("*")
        if path.is_file() and path.suffix not in {".pyc", ".so"}
    }


def test_the_wheel_has_the_library_and_nothing_else(published: Path) -> None:
    with zipfile.ZipFile(wheel_of(published)) as wheel:
        names = wheel.namelist()
        (metadata,) = (name for name in names if name.endswith("/METADATA"))
        fields = email.message_from_bytes(wheel.read(metadata))
    assert wheel_of(published).name.endswith("-py3-none-any.whl")
    assert fields["Version"] == trio_xsock.__version__
    package = {name for name in names if ".dist-info/" not in name}
    assert package == files_of_the_library()
    assert any(name.endswith("/licenses/LICENSE") for name in names)


def test_the_compiled_wheel_has_the_same_and_its_libraries(compiled: Path) -> None:
    hooks = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    modules = hooks["targets"]["wheel"]["hooks"]["custom"]["modules"]
    with zipfile.ZipFile(wheel_of(compiled)) as wheel:
        package = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert not wheel_of(compiled).name.endswith("-any.whl")
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    libraries = {name.removesuffix(".py") + suffix for name in modules}
    assert package == files_of_the_library() | libraries | {f"trio_xsock/_compiled__mypyc{suffix}"}


def test_the_source_archive_has_what_its_tests_need(published: Path) -> None:
    with tarfile.open(archive_of(published)) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for name in (
        "README.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "LICENSE",
        "pyproject.toml",
        "hatch_build.py",
        "tests/run.py",
        "examples/echo.py",
        "docs/index.md",
        "docs/topics/states.svg",
        "benchmarks/__main__.py",
        ".ci/run",
    ):
        assert name in names


@pytest.mark.parametrize(
    ("find", "folder_of"),
    [
        pytest.param(wheel_of, "published", id="wheel"),
        pytest.param(archive_of, "published", id="source archive"),
        pytest.param(wheel_of, "compiled", id="compiled wheel"),
    ],
)
def test_installed_into_an_empty_environment_the_demo_runs(
    find: object, folder_of: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    assert callable(find)
    file: Path = find(request.getfixturevalue(folder_of))
    folder = tmp_path / "environment"
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    run(python, "-m", "pip", "install", "-q", f"{file}[cli]", cwd=tmp_path)
    where = run(python, "-c", "import trio_xsock; print(trio_xsock.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(folder)
    how = "from trio_xsock.testing import is_compiled; print(is_compiled())"
    assert run(python, "-c", how, cwd=tmp_path) == f"{folder_of == 'compiled'}\n"
    printed = run(folder / "bin" / "xsock", "demo", cwd=tmp_path)
    assert "SHA-256" in printed

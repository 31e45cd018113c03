"""The command line as a whole: usage, exit codes, and a missing extra."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest
import trio

import trio_xsock
from trio_xsock._cli import main
from trio_xsock._cli._registry import COMMANDS

from .support import Program, Raw, environment


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "COMMAND"),
        (["speak", "7000"], "invalid choice"),
        (["connect", "localhost"], "not of the form HOST:PORT, such as localhost:7000"),
        (["connect", "localhost:7000", "--keep-open"], "unrecognized"),
        (["listen"], "PORT"),
        (["listen", "localhost:7000"], "'localhost:7000' is not a port"),
        (["send", "FILE"], "HOST:PORT"),
        (["send", "FILE", "localhost"], "not of the form HOST:PORT"),
        (["send", "FILE", "localhost:0"], "port 0 cannot be connected to"),
        (["send", "FILE", "localhost:70000"], "'70000' is not a port"),
        (["send", "FILE", "::1:7000"], "in brackets"),
        (["receive"], "PORT"),
        (["receive", "-1"], "PORT"),
        (["receive", "65536"], "'65536' is not a port"),
        (["receive", "7000", "--max-size", "big"], "'big' is not a size"),
        (["receive", "7000", "--timeout", "-1"], "number of seconds"),
        (["receive", "7000", "--overwrite", "--rename"], "not allowed with"),
        (["receive", "7000", "--keep"], "unrecognized"),
        (["demo", "--size", "1M"], "at least 33554432 bytes"),
    ],
)
def test_wrong_usage(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert says in err
    assert out == ""


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["send", "missing", "127.0.0.1:7"], "cannot read 'missing': No such file"),
        (["send", "/dev/zero", "127.0.0.1:7"], "cannot send '/dev/zero': it is not a regular file"),
        (["send", "-", "127.0.0.1:7"], "standard input has no name; give it one with --name"),
        (["send", "f", "f", "127.0.0.1:7"], "'f' and 'f' would both be called 'f'"),
        (["send", "f", "g", "127.0.0.1:7", "--name", "h"], "--name is for one file or folder"),
        (["send", "f", "127.0.0.1:7", "--name", "a/b"], "'a/b' is a path; a name has no /"),
        (["receive", "0", ".", "--resume", "--rename"], "--resume and --rename exclude each other"),
        (["send", "f", "127.0.0.1:7", "--name", ""], "a name has 1 to 255 bytes"),
        (["send", "f", "127.0.0.1:7", "--name", "x" * 256], "has 256"),
        (["send", "f\udcff", "127.0.0.1:7"], "'f\\udcff' is not valid Unicode"),
        (["receive", "0", "missing"], "cannot receive into 'missing': No such file"),
        (["receive", "0", "f"], "cannot receive into 'f': Not a directory"),
    ],
)
def test_files_that_are_not_there(
    arguments: list[str],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "f").touch()
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert err.startswith("xsock: ")
    assert says in err
    assert out == ""


def test_usage_errors_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["send", "--json", "/missing", "127.0.0.1:7"]) == 2
    out, err = capsys.readouterr()
    assert '"event": "failed"' in out
    assert err == ""


@pytest.mark.parametrize("command", [None, *(command.name for command in COMMANDS)])
def test_help(command: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"] if command is None else [command, "--help"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "130 interrupted" in out
    for other in COMMANDS:
        if command in (None, other.name):
            assert other.name in out


def test_version_and_module(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"xsock {trio_xsock.__version__}\n"
    command = [sys.executable, "-m", "trio_xsock", "--version"]
    done = subprocess.run(command, capture_output=True, env=environment(), timeout=15)
    assert done.stdout.decode() == f"xsock {trio_xsock.__version__}\n"
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(
    "arguments",
    [["receive", "7000", "--keep"], ["send", "f", "here"], ["udp", "7000", "more"], ["discover"]],
)
def test_errors_show_the_usage_of_their_command(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    usage, _, error = capsys.readouterr().err.rpartition("xsock ")
    assert usage.startswith(f"usage: xsock {arguments[0]} ")
    assert error.startswith(f"{arguments[0]}: error: ")


def test_network_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "f").touch()
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert main(["send", str(tmp_path / "f"), f"127.0.0.1:{port}"]) == 1
    assert f"127.0.0.1:{port}" in capsys.readouterr().err


def test_without_rich() -> None:
    """Every help is there all the same; a command says what is missing."""
    code = (
        "import sys; sys.modules['rich'] = None;from trio_xsock._cli import main; sys.exit(main())"
    )
    for arguments in (["--help"], ["--version"], ["send", "--help"], ["discover", "--help"]):
        with Program(*arguments, code=code) as program:
            assert program.end() == 0
        assert program.out.seen[0].startswith(("usage: xsock", "xsock 0."))
        assert program.err.seen == []
    with Program("interfaces", code=code) as program:
        assert program.end() == 2
    assert program.err.seen[0] == "xsock: the command line needs 'rich', which is not installed."
    assert program.trouble == "    python -m pip install 'trio-xsock[cli]'"


def test_output_that_nobody_reads_is_no_failure(tmp_path: Path) -> None:
    """As in ``xsock receive 7000 | head -1``."""
    (tmp_path / "f").write_bytes(b"data")
    (tmp_path / "in").mkdir()
    with Raw("receive", 0, tmp_path / "in", stdin=subprocess.DEVNULL) as receiver:
        assert receiver.process.stdout is not None
        port = int(receiver.process.stdout.readline().split()[-1])
        receiver.process.stdout.close()
        receiver.process.stdout = None
        with Program("send", tmp_path / "f", f"127.0.0.1:{port}") as sender:
            assert sender.end() == 0
        assert receiver.end()[0] == 0
    assert (tmp_path / "in" / "f").read_bytes() == b"data"
    assert receiver.err.seen == []


def test_broken_installation_is_not_taken_for_a_missing_extra() -> None:
    code = (
        "import sys; sys.modules['mmap'] = None;"
        "from trio_xsock._cli import main; sys.exit(main(['--help']))"
    )
    with Program(code=code) as program:
        assert program.end() == 1
    assert "mmap" in program.trouble


def test_ctrl_c_before_anything_began(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(trio, "run", run)
    assert main(["demo"]) == 130
    assert capsys.readouterr().err == "xsock: interrupted\n"

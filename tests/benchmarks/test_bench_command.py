"""``xsock bench``: finds the benchmarks of a checkout, or says that there are none."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from trio_xsock._cli import _bench, main

ROOT = Path(__file__).resolve().parent.parent.parent


def test_in_a_checkout(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    if not sys.platform.startswith("linux"):
        pytest.skip("they need Linux")
    monkeypatch.setattr(_bench, "_ROOT", ROOT)
    monkeypatch.chdir(tmp_path)
    names = ["--only", "nothing", "--contenders", "raw", "--rounds", "1"]
    assert main(["bench", "--quick", *names, "--json", "out.json"]) == 2
    assert "no workload 'nothing'" in capfd.readouterr().err


def test_arguments(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    seen: list[list[str]] = []

    async def call(command: list[str]) -> int:
        seen.append(command)
        return 0

    monkeypatch.setattr(_bench, "_ROOT", ROOT)
    monkeypatch.setattr(_bench, "_call", call)
    assert main(["bench", "--only", "send", "--svg", "a.svg", "--rounds", "3"]) == 0
    expected = ["-m", "benchmarks", "--only=send", "--rounds=3", f"--svg={tmp_path / 'a.svg'}"]
    assert [command[1:] for command in seen] == [expected]


def test_outside_a_checkout(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(_bench, "_ROOT", tmp_path)
    assert main(["bench"]) == 2
    assert "not part of the installed package" in capsys.readouterr().err


def test_crash_is_told_of(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def call(command: list[str]) -> int:
        return -9

    monkeypatch.setattr(_bench, "_ROOT", ROOT)
    monkeypatch.setattr(_bench, "_call", call)
    assert main(["bench"]) == 1
    assert "exit code -9" in capsys.readouterr().err

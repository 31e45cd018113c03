"""The harness runs: every workload with every contender, in the smallest size."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.command import main
from benchmarks.contenders import CONTENDERS, Contender
from benchmarks.processes import MeasurementError
from benchmarks.runner import Runner
from benchmarks.workload import Measure, Size, Workload
from benchmarks.workloads import WORKLOADS

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="they need Linux")

PRESENT = [contender for contender in CONTENDERS if not contender.is_missing]


@pytest.fixture(scope="module")
def runner() -> Iterator[Runner]:
    made = Runner(PRESENT, Size.TINY, print)
    with made.processes():
        yield made


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.name)
def test_workload(workload: Workload, runner: Runner) -> None:
    for contender in PRESENT:
        if workload.is_known_to(contender):
            sample = runner.measure(workload, contender)
            assert sample.cpu > 0, contender.name
            assert sample.wall > 0, contender.name
            assert sample.operations > 0, contender.name
            if workload.measure is Measure.LATENESS:
                assert sample.late_p99 is not None, contender.name
            assert (sample.load_cpu > 0) == (workload.measure is Measure.CPU_PER_GB)


@pytest.mark.parametrize("is_client", [False, True])
def test_program_that_fails_is_told_of(is_client: bool, runner: Runner) -> None:
    """And the next measurement is none the worse."""
    (workload,) = [
        one for one in WORKLOADS if one.name == ("client-connect" if is_client else "connect")
    ]
    sizes = {size: {} for size in Size}  # the program misses its parameters
    broken = Workload(
        "broken",
        "a program that fails",
        "client_connect" if is_client else "sink",
        "loads.connect:from_client" if is_client else "loads.bulk:to_server",
        {size: {"count": 1, "warm": 1} if is_client else {"units": 1} for size in sizes},
        is_client=is_client,
        module="tests.benchmarks.broken",
    )
    contender = PRESENT[0]
    with pytest.raises(MeasurementError, match="on purpose"):
        runner.measure(broken, contender)
    assert runner.measure(workload, contender).cpu > 0


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [tmp_path / name for name in ("out.json", "out.svg", "out.md")]
    arguments = [
        f"--{name}={file}" for name, file in zip(("json", "svg", "markdown"), files, strict=True)
    ]
    assert (
        main(["--tiny", "--rounds=2", "--only=ping-1", "--contenders=trio-stream,raw", *arguments])
        == 0
    )
    out = capsys.readouterr().out
    assert "ping-1: ping-pong 64 B, 1 connection" in out
    whole = json.loads(files[0].read_text())
    assert set(whole["workloads"]["ping-1"]["contenders"]) == {"trio-stream", "raw"}
    assert whole["workloads"]["ping-1"]["contenders"]["raw"]["rounds"] == 2
    assert files[1].read_text().startswith("<svg")
    assert files[2].read_text().startswith("| times better")


def test_missing_peers_are_skipped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    absent = Contender("absent", "not there", "trio_stream", "trio", "no_such_package")
    monkeypatch.setattr("benchmarks.contenders.CONTENDERS", (*CONTENDERS, absent))
    assert main(["--tiny", "--rounds=1", "--only=ping-1", "--contenders=absent"]) == 0
    assert "absent is skipped: no_such_package is not installed" in capsys.readouterr().out


@pytest.mark.parametrize("argument", ["--only=nothing", "--contenders=nobody"])
def test_unknown_names(argument: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([argument]) == 2
    assert "there are" in capsys.readouterr().err


def test_other_systems(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    assert main([]) == 1
    assert "need Linux" in capsys.readouterr().out

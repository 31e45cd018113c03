"""What is made of the samples: medians, spreads, ratios, rows, JSON."""

from __future__ import annotations

import json

import pytest

from benchmarks.contenders import CONTENDERS, Contender, choose
from benchmarks.control import percentile
from benchmarks.results import Results
from benchmarks.statistics import ratio, summary
from benchmarks.workload import Measure, Sample, Size, Workload

OURS, TRIO, RAW = choose(["trio-stream", "raw", "xsock-handler"])


def workload(measure: Measure = Measure.CPU) -> Workload:
    sizes = {size: {"messages": 1} for size in Size}
    return Workload("w", "a title", "echo", "loads.ping:to_server", sizes, measure=measure)


def results(figures: dict[Contender, list[float]]) -> Results:
    made, one = Results(), workload()
    for contender, seconds in figures.items():
        for number, cpu in enumerate(seconds):
            made.add(one, contender, number, Sample(cpu=cpu, wall=2 * cpu, operations=10))
    return made


def test_summary() -> None:
    made = summary([3.0, 1.0, 2.0])
    assert (made.median, made.lowest, made.highest, made.count) == (2.0, 1.0, 3.0, 3)
    assert made.spread == 1.0


def test_spread_of_many_is_of_their_middle_half() -> None:
    assert summary([1.0, 2.0, 3.0, 4.0, 1000.0]).spread == pytest.approx(2 / 3)


def test_ratio_is_taken_within_each_round() -> None:
    """A machine that becomes twice as slow in a round changes nothing."""
    assert ratio({0: 4.0, 1: 8.0, 2: 4.0}, {0: 2.0, 1: 4.0, 2: 2.0}) == 2.0


def test_ratio_without_common_rounds() -> None:
    assert ratio({}, {0: 1.0}) is None
    assert ratio({1: 1.0}, {0: 1.0}) is None


def test_percentile() -> None:
    values = [float(value) for value in range(100)]
    assert percentile(values, 50) == 50.0
    assert percentile(values, 99) == 99.0
    assert percentile([1.0], 99) == 1.0


@pytest.mark.parametrize(
    ("measure", "figure"),
    [
        (Measure.CPU, 2e5),
        (Measure.CPU_PER_GB, 5e11),
        (Measure.WALL, 4e5),
        (Measure.RESIDENT, 500.0),
        (Measure.LATENESS, 7.0),
    ],
)
def test_figure(measure: Measure, figure: float) -> None:
    sample = Sample(2.0, 4.0, operations=10, resident=5000, late_p99=0.007, load_cpu=3.0)
    assert sample.figure(measure) == pytest.approx(figure)


def test_rows() -> None:
    made = results({TRIO: [4.0, 4.4], RAW: [1.0, 1.1], OURS: [2.0, 2.2]})
    (one,) = made.samples
    rows = {row.contender: row for row in made.rows(one, CONTENDERS)}
    assert [row.contender for row in made.rows(one, CONTENDERS)] == [OURS, TRIO, RAW]
    assert rows[OURS].to_baseline == pytest.approx(2.0)
    assert rows[OURS].to_limit == pytest.approx(0.5)
    assert rows[TRIO].to_baseline == 1.0
    assert rows[OURS].figure.median == pytest.approx(2.1e5)


def test_rows_without_baseline() -> None:
    made = results({OURS: [2.0]})
    (one,) = made.samples
    (row,) = made.rows(one, CONTENDERS)
    assert (row.to_baseline, row.to_limit) == (None, None)


def test_json() -> None:
    made = results({TRIO: [4.0], OURS: [2.0]})
    made.add_failure(next(iter(made.samples)), RAW, "it hung")
    whole = json.loads(made.to_json(CONTENDERS, "python -m benchmarks --quick"))
    assert whole["command"] == "python -m benchmarks --quick"
    assert whole["workloads"]["w"]["contenders"]["xsock-handler"]["to_baseline"] == 2.0
    assert whole["workloads"]["w"]["samples"]["trio-stream"][0]["cpu"] == 4.0
    assert whole["failures"] == {"w, raw": "it hung"}
    assert {"date", "processor", "cores", "python", "trio"} <= set(whole["machine"])

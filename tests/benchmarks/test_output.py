"""The tables and the plot."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from benchmarks import matrix, table
from benchmarks.contenders import CONTENDERS, choose
from benchmarks.results import Results
from benchmarks.svg import Scale, plot
from benchmarks.workload import Measure, Sample, Size
from benchmarks.workloads import WORKLOADS

PRESENT = [contender for contender in CONTENDERS if not contender.is_missing]
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def everything() -> Results:
    made = Results()
    for place, workload in enumerate(WORKLOADS):
        for number, contender in enumerate(CONTENDERS):
            if contender in PRESENT and workload.is_known_to(contender):
                cpu = 0.1 * (number + 1) * (place + 1)
                late = cpu if workload.measure is Measure.LATENESS else None
                sample = Sample(cpu, cpu, 1000, 5000, p50=0.001, p99=0.0021, late_p99=late)
                made.add(workload, contender, 0, sample)
    return made


def test_plain_table(everything: Results) -> None:
    blocks = table.plain(everything, CONTENDERS).split("\n\n")
    assert len(blocks) == len(WORKLOADS)
    heading, names, *lines = blocks[2].splitlines()
    assert heading == "ping-1: ping-pong 64 B, 1 connection (us CPU)"
    assert names.split() == [
        "median",
        "spread",
        "x",
        "baseline",
        "x",
        "limit",
        *["p50", "ms"],
        *["p99", "ms"],
    ]
    assert len(lines) == len(PRESENT)
    assert lines[0].split() == [
        "trio_xsock,",
        "handler",
        "300",
        "0%",
        "5.00",
        "11.00",
        "1.00",
        "2.10",
    ]


def test_table_by_rich(everything: Results, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("rich")
    table.show(everything, CONTENDERS)
    assert "│ trio_xsock, handler │" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("value", "text"), [(0.1234, "0.12"), (12.34, "12.3"), (123.4, "123"), (12345.6, "12,346")]
)
def test_numbers(value: float, text: str) -> None:
    assert table.number(value) == text


def test_matrix(everything: Results) -> None:
    lines = matrix.matrix(everything, CONTENDERS)
    assert len(lines) == len(WORKLOADS) + 1
    assert {len(line) for line in lines} == {len(PRESENT) + 1}
    by_title = {line[0]: dict(zip(lines[0], line, strict=True)) for line in lines}
    assert by_title["bulk receive"]["xsock-handler"] == "5.00"
    assert by_title["40-byte lines, one by one"]["trio-stream"] == "-"
    assert len(matrix.plain(lines).splitlines()) == len(lines)


def test_matrix_of_nothing() -> None:
    assert matrix.plain(matrix.matrix(Results(), CONTENDERS)) == "times better than the baseline"


def test_markdown(everything: Results) -> None:
    text = matrix.markdown(matrix.matrix(everything, CONTENDERS), "python -m benchmarks")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == len(WORKLOADS) + 2
    assert len({line.count("|") for line in rows}) == 1
    assert "`python -m benchmarks`" in text


def test_plot_is_well_formed_and_complete(everything: Results) -> None:
    root = ElementTree.fromstring(plot(everything, CONTENDERS, "a <note> & more"))
    bars = [bar for bar in root.iter(f"{SVG}rect") if bar.find(f"{SVG}title") is not None]
    samples = sum(len(by_contender) for by_contender in everything.samples.values())
    assert len(bars) == samples
    words = "".join(text.text or "" for text in root.iter(f"{SVG}text"))
    assert "a <note> & more" in words
    assert "asyncio streams" in words
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    for bar in bars:
        assert 0 <= float(bar.attrib["x"]) < width
        assert 0 < float(bar.attrib["height"]) < height
        assert 0 <= float(bar.attrib["y"]) < height


def test_plot_of_nothing_is_well_formed() -> None:
    ElementTree.fromstring(plot(Results(), CONTENDERS))


def test_scale() -> None:
    scale = Scale([0.3, 5.0])
    assert [label for _, label in scale.ticks()] == ["1/4", "1/2", "1x", "2x", "4x", "8x"]
    assert scale.y(8.0) == 0.0
    assert scale.y(1.0) - scale.y(2.0) == pytest.approx(scale.y(0.5) - scale.y(1.0))
    assert scale.y(1000.0) == 0.0


def test_names_are_told_apart() -> None:
    assert len({workload.name for workload in WORKLOADS}) == len(WORKLOADS)
    assert len({contender.name for contender in CONTENDERS}) == len(CONTENDERS)
    with pytest.raises(ValueError, match="no contender 'twisted'"):
        choose(["raw", "twisted"])


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.name)
def test_sizes_have_the_same_parameters(workload: object) -> None:
    (known,) = [one for one in WORKLOADS if one is workload]
    names = {frozenset(known.params(size)) for size in Size}
    assert len(names) == 1

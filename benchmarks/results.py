"""What came out of a run: all samples, what they amount to, and the machine they are from."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from typing import Any

from trio_xsock.testing import is_compiled

from . import linux
from .contenders import LIMIT, Contender
from .statistics import Summary, ratio, summary
from .workload import Sample, Workload

_PACKAGES = ("trio", "anyio", "uvloop")


@dataclass(frozen=True, slots=True)
class Row:
    """What a contender did in a workload.

    Attributes:
        figure: the median of what is compared, and its spread.
        to_baseline: how many times better than the baseline, ``None`` without one.
        to_limit: how many times better than bare sockets.
        p50, p99: medians of the latencies, in seconds; those of the sleeper where there is one.
    """

    contender: Contender
    figure: Summary
    to_baseline: float | None
    to_limit: float | None
    wall: float
    p50: float | None
    p99: float | None


@dataclass(slots=True)
class Results:
    """Collects samples, by workload, contender and round."""

    samples: dict[Workload, dict[Contender, dict[int, Sample]]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    def add(self, workload: Workload, contender: Contender, number: int, sample: Sample) -> None:
        """One more sample."""
        self.samples.setdefault(workload, {}).setdefault(contender, {})[number] = sample

    def add_failure(self, workload: Workload, contender: Contender, reason: str) -> None:
        """There is no sample, because it failed."""
        self.samples.setdefault(workload, {})
        self.failures[_label(workload, contender)] = reason

    def has_failed(self, workload: Workload, contender: Contender) -> bool:
        """Whether it is not worth another try."""
        return _label(workload, contender) in self.failures

    def rows(self, workload: Workload, order: Sequence[Contender]) -> Iterator[Row]:
        """One row for each contender that has samples."""
        by_contender = self.samples[workload]
        figures = {
            contender.name: {
                number: sample.figure(workload.measure) for number, sample in samples.items()
            }
            for contender, samples in by_contender.items()
        }
        for contender in order:
            if contender not in by_contender:
                continue
            samples = list(by_contender[contender].values())
            own = figures[contender.name]
            yield Row(
                contender=contender,
                figure=summary(own.values()),
                to_baseline=ratio(figures.get(workload.baseline, {}), own),
                to_limit=ratio(figures.get(LIMIT, {}), own),
                wall=summary(sample.wall for sample in samples).median,
                p50=_median_of(sample.late_p50 or sample.p50 for sample in samples),
                p99=_median_of(sample.late_p99 or sample.p99 for sample in samples),
            )

    def to_json(self, order: Sequence[Contender], command: str) -> str:
        """Everything, for other programs."""
        workloads: dict[str, Any] = {}
        for workload, by_contender in self.samples.items():
            workloads[workload.name] = {
                "title": workload.title,
                "unit": workload.measure.value,
                "baseline": workload.baseline,
                "contenders": {
                    row.contender.name: _facts(row) for row in self.rows(workload, order)
                },
                "samples": {
                    contender.name: [asdict(sample) for sample in samples.values()]
                    for contender, samples in by_contender.items()
                },
            }
        whole = {
            "command": command,
            "machine": machine(),
            "workloads": workloads,
            "failures": self.failures,
        }
        return json.dumps(whole, indent=1) + "\n"


def _label(workload: Workload, contender: Contender) -> str:
    return f"{workload.name}, {contender.name}"


def _facts(row: Row) -> dict[str, float | None]:
    return {
        "median": row.figure.median,
        "lowest": row.figure.lowest,
        "highest": row.figure.highest,
        "spread": row.figure.spread,
        "rounds": row.figure.count,
        "to_baseline": row.to_baseline,
        "to_limit": row.to_limit,
        "wall": row.wall,
        "p50": row.p50,
        "p99": row.p99,
    }


def _median_of(values: Iterator[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return summary(known).median if known else None


def machine() -> Mapping[str, str | int]:
    """Where and when, and with which versions."""
    facts: dict[str, str | int] = {
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "processor": _processor(),
        "cores": len(linux.sched_getaffinity(0)),
        "system": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
    }
    facts["hot path"] = "compiled" if is_compiled() else "pure Python"
    if readiness := os.environ.get("TRIO_XSOCK_READINESS"):
        facts["TRIO_XSOCK_READINESS"] = readiness
    for package in _PACKAGES:
        try:
            facts[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            pass
    return facts


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                name, _, value = line.partition(":")
                if name.strip() == "model name":
                    return value.strip()
    except OSError:
        pass
    return platform.machine()

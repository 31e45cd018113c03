"""The command line of ``python -m benchmarks``."""

from __future__ import annotations

import argparse
import math
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from . import contenders, linux, matrix, svg, table, workloads
from .placement import Placement
from .processes import MeasurementError
from .results import Results, machine
from .runner import Runner
from .workload import Size

ROUNDS = {Size.FULL: 7, Size.QUICK: 3, Size.TINY: 1}
SECONDS = {Size.FULL: 465.0, Size.QUICK: 65.0, Size.TINY: 60.0}
"""After which no other round begins, unless the number of rounds was given."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run what was asked for; returns the exit code."""
    options = _parser().parse_args(argv)
    if not linux.is_here():
        print("benchmarks: they need Linux (epoll, /proc, passing of descriptors)")
        return 1
    try:
        chosen = contenders.choose(options.contenders)
        work = workloads.choose(options.only)
    except ValueError as exc:
        print(f"benchmarks: {exc}", file=sys.stderr)
        return 2
    present = []
    for contender in chosen:
        if contender.is_missing:
            print(f"{contender.name} is skipped: {contender.requires} is not installed")
        else:
            present.append(contender)
    size = Size.TINY if options.tiny else Size.QUICK if options.quick else Size.FULL
    most_seconds = math.inf if options.rounds else SECONDS[size]
    results = Results()
    runner = Runner(present, size, _say, Placement(options.placement))
    began, interrupted = time.monotonic(), False
    try:
        with runner.processes():
            runner.run(work, options.rounds or ROUNDS[size], results, most_seconds)
    except MeasurementError as exc:
        print(f"benchmarks: {exc}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        interrupted = True
        _say("interrupted; this is what there is so far")
    _say(f"{time.monotonic() - began:.0f} s in all")
    command = shlex.join(["python", "-m", "benchmarks", *(sys.argv[1:] if argv is None else argv)])
    _show(results, present, command, options)
    for name, reason in results.failures.items():
        print(f"failed: {name}: {reason.strip().splitlines()[-1]}")
    if interrupted:
        return 130
    return 1 if results.failures else 0


def _show(
    results: Results,
    order: Sequence[contenders.Contender],
    command: str,
    options: argparse.Namespace,
) -> None:
    table.show(results, order)
    ratios = matrix.matrix(results, order)
    print("\n" + matrix.plain(ratios) + "\n")
    if options.json:
        options.json.write_text(results.to_json(order, command))
    if options.svg:
        note = ", ".join(f"{name} {value}" for name, value in machine().items())
        options.svg.write_text(svg.plot(results, order, note))
    if options.markdown:
        options.markdown.write_text(matrix.markdown(ratios, command))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _rounds(text: str) -> int:
    rounds = int(text)
    if not 1 <= rounds <= 1000:
        raise argparse.ArgumentTypeError("must be 1..1000")
    return rounds


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Let trio_xsock and its peers do the same work, and compare.",
        epilog="workloads: "
        + ", ".join(workload.name for workload in workloads.WORKLOADS)
        + "; contenders: "
        + ", ".join(one.name for one in contenders.CONTENDERS),
        allow_abbrev=False,
    )
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="less work, within 90 s")
    size.add_argument("--tiny", action="store_true", help="hardly any work, to see that all runs")
    parser.add_argument(
        "--only",
        type=_names,
        default=[],
        metavar="NAMES",
        help="these workloads, with commas between (default: all)",
    )
    parser.add_argument(
        "--contenders",
        type=_names,
        default=[],
        metavar="NAMES",
        help="these contenders, with commas between (default: all)",
    )
    parser.add_argument(
        "--rounds",
        type=_rounds,
        metavar="N",
        help=f"measure each so often (default: {ROUNDS[Size.FULL]}, quick: {ROUNDS[Size.QUICK]}, "
        "or less when time is up)",
    )
    parser.add_argument(
        "--placement",
        choices=[placement.value for placement in Placement],
        default=Placement.ONE_CORE.value,
        help="both ends on one core, and a load that sleeps; each end on a core of its own, and a "
        "load that never sleeps; or as the scheduler likes (default: one-core)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to a file")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="write a plot to a file")
    parser.add_argument(
        "--markdown", type=Path, metavar="FILE", help="write the table of ratios to a file"
    )
    return parser

"""All ratios in one table: a row for each workload, a column for each contender."""

from __future__ import annotations

from collections.abc import Sequence

from .contenders import Contender
from .results import Results, machine
from .table import times

Lines = list[list[str]]


def matrix(results: Results, order: Sequence[Contender]) -> Lines:
    """The headings, and then the ratios to the baseline, all as text."""
    shown = [one for one in order if any(one in samples for samples in results.samples.values())]
    lines = [["times better than the baseline", *(contender.name for contender in shown)]]
    for workload in results.samples:
        ratios = {row.contender: row.to_baseline for row in results.rows(workload, order)}
        lines.append([workload.title, *(times(ratios.get(contender)) for contender in shown)])
    return lines


def plain(lines: Lines) -> str:
    """With spaces between the columns."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def markdown(lines: Lines, command: str) -> str:
    """For a README: the table, and where and how it was made."""
    first, *rest = lines
    rows = [first, ["---", *("---:" for _ in first[1:])], *rest]
    table = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    facts = ", ".join(f"{name} {value}" for name, value in machine().items())
    return f"{table}\n\nBigger is better. Made by `{command}`: {facts}.\n"

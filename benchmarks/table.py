"""The table: one block for each workload, one line for each contender."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

from .contenders import Contender
from .results import Results, Row
from .workload import Workload

_WIDTH = 100
HEADINGS = ("", "median", "spread", "x baseline", "x limit", "p50 ms", "p99 ms")


def cells(row: Row) -> tuple[str, ...]:
    """One line of the table."""
    return (
        row.contender.title,
        number(row.figure.median),
        f"{row.figure.spread:.0%}",
        times(row.to_baseline),
        times(row.to_limit),
        "" if row.p50 is None else number(row.p50 * 1e3),
        "" if row.p99 is None else number(row.p99 * 1e3),
    )


def number(value: float) -> str:
    """Three digits that matter."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def times(ratio: float | None) -> str:
    """A ratio, or a dash."""
    return "-" if ratio is None else f"{ratio:.2f}"


def heading(workload: Workload) -> str:
    """The title of a workload's block."""
    return f"{workload.name}: {workload.title} ({workload.measure.value})"


def plain(results: Results, order: Sequence[Contender]) -> str:
    """The table as text."""
    blocks = []
    for workload in results.samples:
        lines = [HEADINGS, *(cells(row) for row in results.rows(workload, order))]
        widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
        blocks.append(
            "\n".join(
                [heading(workload)]
                + [
                    "  ".join(
                        cell.rjust(width) if column else cell.ljust(width)
                        for column, (cell, width) in enumerate(zip(line, widths, strict=True))
                    ).rstrip()
                    for line in lines
                ]
            )
        )
    return "\n\n".join(blocks)


def show(results: Results, order: Sequence[Contender]) -> None:
    """Print the table, by rich if it is there."""
    try:
        rich_table = importlib.import_module("rich.table")
        console = importlib.import_module("rich.console").Console()
        console.width = max(console.width, _WIDTH)
    except ModuleNotFoundError:
        print(plain(results, order))
        return
    for workload in results.samples:
        table: Any = rich_table.Table(title=heading(workload), title_justify="left")
        for column, name in enumerate(HEADINGS):
            table.add_column(name, justify="right" if column else "left", no_wrap=True)
        for row in results.rows(workload, order):
            style = "bold" if row.contender.name.startswith("xsock") else ""
            table.add_row(*cells(row), style=style)
        console.print(table)

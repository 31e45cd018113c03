"""Write the table of speed into the README: ``python docs/make_speed_table.py``.

Run it after a run of the benchmarks. The figures are those of ``docs/topics/benchmarks.json``, like
those of the chart. The rows are chosen here once, among them such in which others are ahead; the
best figure of a row that is not ours is in bold if it is ahead of all of ours.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from make_speed_chart import FIGURES, ratio
from marked import between

PAGE = Path(__file__).resolve().parent.parent / "README.md"
BEGIN = "<!-- made by docs/make_speed_table.py -->\n"
END = "<!-- end of what it made -->\n"

ROWS = {
    "receive": "receive in bulk",
    "send": "send in bulk",
    "ping-1": "64 bytes and back, 1 connection",
    "ping-100": "the same, 100 connections",
    "connect": "connect, 1 byte, close",
    "client-connect": "client: connect, 1 byte, close",
    "tls-receive": "TLS: receive in bulk",
    "tls-ping-100": "TLS: 64 bytes and back, 100",
    "udp-echo": "datagrams and back",
}
"""Workloads of the benchmarks, and what the table calls them."""
COLUMNS = {
    "handler": ("xsock-handler",),
    "channel": ("xsock-channel",),
    "`write`": ("xsock-caller",),
    "`send_all`": ("xsock-stream",),
    "Trio": ("trio-stream",),
    "AnyIO": ("anyio",),
    "asyncio": ("asyncio-streams", "asyncio-protocol"),
    "uvloop": ("uvloop-streams", "uvloop-protocol"),
}
"""What the head says, and the contenders of which the best is shown; the first four are ours."""
_OURS = 4


def row(words: str, workload: Mapping[str, Any]) -> str:
    """One row, in Markdown."""
    values = [ratio(workload, contenders) for contenders in COLUMNS.values()]
    ours = max(value for value in values[:_OURS] if value is not None)
    texts = []
    for number, value in enumerate(values):
        text = "" if value is None else f"{value:.1f}"
        ahead = (
            number >= _OURS and value is not None and float(f"{value:.1f}") > float(f"{ours:.1f}")
        )
        texts.append(f"**{text}**" if ahead else text)
    return f"| {words} | {' | '.join(texts)} |"


def table(figures: Mapping[str, Any]) -> str:
    """The table, in Markdown."""
    lines = [f"| | {' | '.join(COLUMNS)} |", "|---" + "|---:" * len(COLUMNS) + "|"]
    lines += [
        row(words, figures["workloads"][name])
        for name, words in ROWS.items()
        if name in figures["workloads"]
    ]
    return "\n".join(lines) + "\n"


def page_with_table(page: str) -> str:
    """The page with the figures of today."""
    figures = json.loads(FIGURES.read_text(encoding="utf-8"))
    return between(page, BEGIN, table(figures), END)


if __name__ == "__main__":
    PAGE.write_text(page_with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")

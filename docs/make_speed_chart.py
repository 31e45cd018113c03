"""Draw ``docs/topics/speed.svg``, the small chart of the README.

Run ``python docs/make_speed_chart.py`` after a run of the benchmarks.

The figures are those of ``docs/topics/benchmarks.json``, so that both charts come from one run. The
rows are chosen here once, among them such in which others are ahead.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path

from svg import frame

TOPICS = Path(__file__).resolve().parent / "topics"
FIGURES = TOPICS / "benchmarks.json"
CHART = TOPICS / "speed.svg"

ROWS = {
    "receive": "receive in bulk",
    "send": "send in bulk, with progress",
    "ping-1": "64 bytes and back, 1 connection",
    "ping-100": "64 bytes and back, 100 connections",
    "connect": "connect, 1 byte, close",
    "tls-ping-100": "TLS, 100 connections",
    "udp-echo": "datagrams and back",
}
"""Workloads of the benchmarks and what the chart calls them."""
DOTS = {
    "handler": ("trio_xsock, handler", ("xsock-handler",)),
    "calls": ("trio_xsock, calls with write", ("xsock-caller",)),
    "stream": ("trio_xsock, calls with send_all", ("xsock-stream",)),
    "asyncio": ("asyncio, its best", ("asyncio-streams", "asyncio-protocol")),
    "uvloop": ("uvloop, its best", ("uvloop-streams", "uvloop-protocol")),
}
"""A class of the style, what the legend says, and the contenders of which the best is shown."""

WIDTH, LEFT, RIGHT, TOP, ROW = 760, 250, 24, 66, 30
LOWEST, HIGHEST = 0.5, 8.0

STYLE = """
  svg { color-scheme: light dark; }
  rect.back { fill: #ffffff; }
  text { font-family: sans-serif; font-size: 12px; fill: #333333; }
  text.small { font-size: 11px; fill: #666666; }
  line { stroke: #dddddd; }
  line.one { stroke: #555555; stroke-width: 1.5; }
  .handler { fill: #b3261e; }
  .calls { fill: #e0832f; }
  .stream { fill: #e8bd4a; }
  .asyncio { fill: #3a78b5; }
  .uvloop { fill: #3f9142; }
  @media (prefers-color-scheme: dark) {
    rect.back { fill: #131416; }
    text { fill: #d6d6d6; }
    text.small { fill: #a0a0a0; }
    line { stroke: #3a3d42; }
    line.one { stroke: #b0b0b0; }
    .handler { fill: #f2776d; }
    .calls { fill: #f0a35c; }
    .stream { fill: #f0d070; }
    .asyncio { fill: #74a9dd; }
    .uvloop { fill: #7cc47f; }
  }
"""


def ratio(workload: Mapping[str, object], contenders: tuple[str, ...]) -> float | None:
    """How many times less than the baseline the best of these contenders needs."""
    measured = workload["contenders"]
    assert isinstance(measured, dict)
    found = [measured[name]["to_baseline"] for name in contenders if name in measured]
    return max(found, default=None)


def x_of(value: float) -> float:
    """Where a ratio is on the logarithmic axis."""
    part = math.log(value / LOWEST) / math.log(HIGHEST / LOWEST)
    return LEFT + part * (WIDTH - LEFT - RIGHT)


def draw_axis(bottom: float) -> Iterator[str]:
    """A line for each power of two; the one of the baseline is stronger."""
    value = LOWEST
    while value <= HIGHEST:
        x, kind = x_of(value), ' class="one"' if value == 1 else ""
        yield f'<line{kind} x1="{x:.0f}" x2="{x:.0f}" y1="{TOP - 8}" y2="{bottom:.0f}"/>'
        label = "1x: SocketStream" if value == 1 else f"{value:g}x"
        place = f'x="{x:.0f}" y="{bottom + 16:.0f}" text-anchor="middle"'
        yield f'<text class="small" {place}>{label}</text>'
        value *= 2


def draw_row(y: float, words: str, workload: dict[str, object]) -> Iterator[str]:
    """The name of a workload, and a dot for each contender."""
    yield f'<text x="{LEFT - 14}" y="{y + 4:.0f}" text-anchor="end">{escape(words)}</text>'
    for kind, (title, contenders) in reversed(DOTS.items()):
        value = ratio(workload, contenders)
        if value is not None:
            yield (
                f'<circle class="{kind}" cx="{x_of(min(value, HIGHEST)):.1f}" cy="{y:.0f}" r="6">'
                f"<title>{escape(title)}: {value:.2f}</title></circle>"
            )


def draw_legend() -> Iterator[str]:
    """What the dots mean."""
    for number, (kind, (title, _)) in enumerate(DOTS.items()):
        x, y = 20 + 240 * (number % 3), 24 + 20 * (number // 3)
        yield f'<circle class="{kind}" cx="{x}" cy="{y - 4}" r="6"/>'
        yield f'<text x="{x + 12}" y="{y}">{escape(title)}</text>'


def draw(figures: dict[str, dict[str, dict[str, object]]]) -> str:
    """The whole chart, as SVG."""
    shown = {name: words for name, words in ROWS.items() if name in figures["workloads"]}
    bottom = TOP + ROW * len(shown) - 8
    height = bottom + 28
    parts = [*draw_legend(), *draw_axis(bottom)]
    for number, (name, words) in enumerate(shown.items()):
        parts += draw_row(TOP + ROW * number + 8, words, figures["workloads"][name])
    title = "How many times less CPU than trio.SocketStream: farther right is better"
    return frame(WIDTH, height, title, STYLE, parts, head="")


def main() -> None:
    """Write the chart."""
    CHART.write_text(draw(json.loads(FIGURES.read_text(encoding="utf-8"))), encoding="utf-8")


if __name__ == "__main__":
    main()

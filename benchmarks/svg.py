"""The plot: for each workload a group of bars, how many times better than the baseline.

The scale is logarithmic and the baseline is the line at 1: twice as fast goes up by as much
as half as fast goes down.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Sequence
from xml.sax.saxutils import escape, quoteattr

from .contenders import CONTENDERS, Contender
from .results import Results, Row
from .workload import Workload

COLOURS = {
    "xsock-handler": "#b3261e",
    "xsock-channel": "#e0685f",
    "xsock-caller": "#eb9a93",
    "xsock-stream": "#f4c7c3",
    "trio-stream": "#1a1a1a",
    "anyio": "#7a5ea8",
    "asyncio-streams": "#a8c4e0",
    "asyncio-protocol": "#3a78b5",
    "uvloop-streams": "#b5d8b0",
    "uvloop-protocol": "#3f9142",
    "raw": "#9e9e9e",
}
_OTHER = "#d4a017"
_PER_ROW = 6
_BAR, _GAP, _LEFT, _RIGHT = 11, 26, 44, 16
_HEIGHT, _ABOVE, _BELOW, _HEAD, _FOOT = 190, 14, 50, 64, 20
_FONT = 'font-family="sans-serif"'

Group = tuple[Workload, list[Row]]


def plot(results: Results, order: Sequence[Contender], note: str = "") -> str:
    """The whole file; workloads without a baseline are left out."""
    groups: list[Group] = []
    for workload in results.samples:
        rows = [row for row in results.rows(workload, order) if row.to_baseline is not None]
        if rows:
            groups.append((workload, rows))
    span = _BAR * max((len(rows) for _, rows in groups), default=1)
    columns = max(1, min(_PER_ROW, len(groups)))
    width = max(_LEFT + columns * (span + _GAP) + _RIGHT, 640)
    lines = max(1, math.ceil(len(groups) / _PER_ROW))
    height = _HEAD + lines * (_ABOVE + _HEIGHT + _BELOW) + _FOOT
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} {_FONT} font-size="11">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        _text(_LEFT, 18, "times better than trio.SocketStream, higher is better", 14),
        _text(_LEFT, height - 6, note, 9, fill="#555555") if note else "",
        *_legend(groups, width),
    ]
    for line in range(lines):
        top = _HEAD + line * (_ABOVE + _HEIGHT + _BELOW) + _ABOVE
        members = groups[line * _PER_ROW : (line + 1) * _PER_ROW]
        scale = Scale([row.to_baseline or 1.0 for _, rows in members for row in rows])
        parts += _axis(scale, top, width)
        for column, group in enumerate(members):
            parts += _group(group, scale, _LEFT + column * (span + _GAP) + _GAP / 2, top, span)
    parts.append("</svg>")
    return "\n".join(part for part in parts if part) + "\n"


class Scale:
    """From ratios to heights, in powers of two."""

    def __init__(self, ratios: Sequence[float]) -> None:
        steps = [math.log2(max(ratio, 1 / 64)) for ratio in ratios] or [0.0]
        self.lowest = min(-1, math.floor(min(steps)))
        self.highest = max(1, math.ceil(max(steps)))

    def y(self, ratio: float) -> float:
        """How far below the top a ratio is."""
        step = min(max(math.log2(max(ratio, 1e-9)), self.lowest), self.highest)
        return _HEIGHT * (self.highest - step) / (self.highest - self.lowest)

    def ticks(self) -> Iterator[tuple[float, str]]:
        """The lines of the axis."""
        for step in range(self.lowest, self.highest + 1):
            yield 2.0**step, f"{2**step}x" if step >= 0 else f"1/{2**-step}"


def _axis(scale: Scale, top: float, width: float) -> Iterator[str]:
    for ratio, label in scale.ticks():
        y = top + scale.y(ratio)
        colour = "#000000" if ratio == 1 else "#dddddd"
        yield (
            f'<line x1="{_LEFT}" x2="{width - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" '
            f'stroke="{colour}" stroke-width="1"/>'
        )
        yield _text(_LEFT - 6, y + 4, label, 10, anchor="end")


def _group(group: Group, scale: Scale, left: float, top: float, span: float) -> Iterator[str]:
    workload, rows = group
    base = top + scale.y(1.0)
    middle = left + span / 2
    left = middle - len(rows) * _BAR / 2
    for place, row in enumerate(rows):
        ratio = row.to_baseline or 1.0
        end = top + scale.y(ratio)
        x = left + place * _BAR
        title = escape(f"{row.contender.title}: {ratio:.2f}")
        yield (
            f'<rect x="{x:.1f}" y="{min(base, end):.1f}" width="{_BAR - 2}" '
            f'height="{max(abs(base - end), 1):.1f}" fill="{colour(row.contender)}">'
            f"<title>{title}</title></rect>"
        )
    words = workload.title
    if workload.baseline != "trio-stream":
        words += f" (1x: {_title(workload.baseline)})"
    for number, line in enumerate(textwrap.wrap(words, max(14, int((span + _GAP) / 6)))):
        yield _text(middle, top + _HEIGHT + 14 + number * 12, line, 10, anchor="middle")


def _legend(groups: Sequence[Group], width: float) -> Iterator[str]:
    shown = {row.contender for _, rows in groups for row in rows}
    x, y = float(_LEFT), 38.0
    for contender in CONTENDERS:
        if contender not in shown:
            continue
        length = 20 + 6.2 * len(contender.title)
        if x + length > width - _RIGHT:
            x, y = float(_LEFT), y + 18
        yield (
            f'<rect x="{x:.1f}" y="{y - 9:.1f}" width="10" height="10" '
            f"fill={quoteattr(colour(contender))}/>"
        )
        yield _text(x + 14, y, contender.title, 11)
        x += length


def _text(
    x: float, y: float, words: str, size: int, *, anchor: str = "start", fill: str = "#000000"
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" '
        f'fill="{fill}">{escape(words)}</text>'
    )


def colour(contender: Contender) -> str:
    """The colour of a contender's bars."""
    return COLOURS.get(contender.name, _OTHER)


def _title(name: str) -> str:
    return next((one.title for one in CONTENDERS if one.name == name), name)

"""Draw the states of a socket from its state table: ``python docs/make_state_diagram.py``.

What is drawn comes from ``trio_xsock._machines.state``; only where the boxes are is said here. A
state that has no place yet is an error, so that the picture cannot miss one. ``CLOSED``, which all
others lead to, is a bar at the top; arrows from and to it are vertical.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from svg import arrow, frame, text

from trio_xsock import SocketState
from trio_xsock._machines.state import TRANSITIONS

PICTURE = Path(__file__).resolve().parent / "topics" / "states.svg"

WIDTH, HEIGHT = 860, 330
BOX_WIDTH, BOX_HEIGHT = 108, 38
LETTER_WIDTH, LINE_HEIGHT, WRAP = 6.3, 15, 14
APART = 16
"""Half the distance between an arrow down and its neighbour up."""


class Point(NamedTuple):
    """A place in the picture."""

    x: float
    y: float


TOP = SocketState.CLOSED
PLACES = {
    SocketState.CLOSED: Point(WIDTH / 2, 76),
    SocketState.LISTENING: Point(80, 290),
    SocketState.CONNECTING: Point(255, 200),
    SocketState.CONNECTED: Point(470, 250),
    SocketState.CLOSING: Point(655, 250),
    SocketState.BOUND: Point(785, 250),
}
"""The middles of the boxes."""

STYLE = """
  svg { color-scheme: light dark; }
  rect.back { fill: #ffffff; }
  rect.state { fill: #eef3fa; stroke: #34527a; stroke-width: 1.5; }
  text { font-family: sans-serif; font-size: 12px; fill: #333333; }
  text.state { font-size: 13px; font-weight: bold; fill: #1d3557; text-anchor: middle; }
  path.arrow { fill: none; stroke: #6b7a90; stroke-width: 1.4; marker-end: url(#head); }
  path.head { fill: #6b7a90; }
  @media (prefers-color-scheme: dark) {
    rect.back { fill: #131416; }
    rect.state { fill: #1f2a3a; stroke: #7d9cc8; }
    text { fill: #d6d6d6; }
    text.state { fill: #cfe0f7; }
    path.arrow { stroke: #94a3b8; }
    path.head { fill: #94a3b8; }
  }
"""


def arrows() -> dict[tuple[SocketState, SocketState], list[str]]:
    """For each pair of states the moves from the one to the other."""
    found: dict[tuple[SocketState, SocketState], list[str]] = {}
    for (before, move), after in TRANSITIONS.items():
        found.setdefault((before, after), []).append(move.value)
    return found


def size(state: SocketState) -> tuple[float, float]:
    """The width and the height of a box."""
    return (WIDTH - 2 * 26 if state is TOP else BOX_WIDTH), BOX_HEIGHT


def draw_arrow(before: SocketState, after: SocketState, lone: bool) -> Iterator[str]:
    """The arrow from one box to another, with its label; ``lone`` if there is none back."""
    moves = textwrap.wrap(", or ".join(arrows()[before, after]), WRAP)
    if before is after:
        yield from draw_loop(PLACES[before], moves)
    elif before is TOP:
        yield from draw_vertical(after, -APART, moves, down=True)
    elif after is TOP:
        yield from draw_vertical(before, 0 if lone else APART, moves, down=False)
    else:
        yield from draw_slanted(before, after, moves)


def draw_loop(middle: Point, label: list[str]) -> Iterator[str]:
    """An arrow from a box back to itself, above it."""
    top = middle.y - BOX_HEIGHT / 2
    yield arrow(
        f"M {middle.x - 16:.0f} {top:.0f} C {middle.x - 34:.0f} {top - 48:.0f} "
        f"{middle.x + 34:.0f} {top - 48:.0f} {middle.x + 16:.0f} {top:.0f}"
    )
    yield from draw_label(Point(middle.x + 28, top - 22), label, "start")


def draw_vertical(
    state: SocketState, aside: float, label: list[str], *, down: bool
) -> Iterator[str]:
    """An arrow between the bar and a box, with the label on its outer side."""
    x = PLACES[state].x + aside
    upper, lower = PLACES[TOP].y + BOX_HEIGHT / 2, PLACES[state].y - BOX_HEIGHT / 2
    start, end = (upper, lower) if down else (lower, upper)
    yield arrow(f"M {x:.0f} {start:.0f} L {x:.0f} {end:.0f}")
    anchor = "end" if down else "start"
    # All at one height, above the box that is highest.
    yield from draw_label(Point(x + (-6 if down else 6), upper + 42), label, anchor)


def draw_slanted(before: SocketState, after: SocketState, label: list[str]) -> Iterator[str]:
    """A straight arrow between two boxes, with the label above its middle."""
    start = border(PLACES[before], PLACES[after])
    end = border(PLACES[after], PLACES[before])
    yield arrow(f"M {start.x:.0f} {start.y:.0f} L {end.x:.0f} {end.y:.0f}")
    slope = abs((end.y - start.y) / (end.x - start.x))
    half_width = max(map(len, label)) * LETTER_WIDTH / 2
    height = 10 + (len(label) - 1) * LINE_HEIGHT / 2 + slope * half_width
    middle = Point((start.x + end.x) / 2, (start.y + end.y) / 2 - height)
    yield from draw_label(middle, label, "middle")


def border(middle: Point, towards: Point) -> Point:
    """Where the line from the middle of a box to a point leaves the box."""
    x, y = towards.x - middle.x, towards.y - middle.y
    scale = min(
        BOX_WIDTH / 2 / abs(x) if x else math.inf,
        BOX_HEIGHT / 2 / abs(y) if y else math.inf,
    )
    return Point(middle.x + x * scale, middle.y + y * scale)


def draw_label(at: Point, lines: list[str], anchor: str) -> Iterator[str]:
    """Lines of text, the middle of their block at the height of a point."""
    top = at.y - (len(lines) - 1) * LINE_HEIGHT / 2 + 4
    for number, line in enumerate(lines):
        y = top + number * LINE_HEIGHT
        yield text(at.x, y, line, anchor=anchor)


def draw_state(state: SocketState) -> Iterator[str]:
    """One box."""
    middle = PLACES[state]
    width, height = size(state)
    yield (
        f'<rect class="state" x="{middle.x - width / 2:.0f}" y="{middle.y - height / 2:.0f}" '
        f'width="{width:.0f}" height="{height:.0f}" rx="8"/>'
    )
    yield f'<text class="state" x="{middle.x:.0f}" y="{middle.y + 5:.0f}">{state.name}</text>'


def draw() -> str:
    """The whole picture, as SVG."""
    parts: list[str] = []
    pairs = arrows()
    for before, after in pairs:
        parts += draw_arrow(before, after, (after, before) not in pairs)
    for state in SocketState:
        parts += draw_state(state)
    return frame(WIDTH, HEIGHT, "The states of a socket", STYLE, parts)


if __name__ == "__main__":
    PICTURE.write_text(draw(), encoding="utf-8")

"""Draw the pictures of the documentation from code and data: ``python docs/make_pictures.py``.

The layers come from the import contract in ``pyproject.toml``, the phases of a connection from the
table that connections obey, the cancelled send from the send ledger itself, and the message from
the encoder. A test compares the pictures with what this script draws.
"""

from __future__ import annotations

import textwrap
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from svg import arrow, frame, text

from trio_xsock import Message, encode_message
from trio_xsock._machines.end_steps import TABLE, Happening, Phase
from trio_xsock._machines.ledger import SendLedger

ROOT = Path(__file__).resolve().parent.parent
TOPICS = ROOT / "docs" / "topics"

STYLE = """
  svg { color-scheme: light dark; }
  rect.back { fill: #ffffff; }
  rect.box { fill: #eef3fa; stroke: #34527a; stroke-width: 1.5; }
  rect.a { fill: #b9d7b4; stroke: #3f7a3a; }
  rect.b { fill: #f2d59a; stroke: #96701f; }
  rect.c { fill: #f0b6b0; stroke: #a1372d; }
  rect.d { fill: #c8d8ee; stroke: #34527a; }
  text { font-family: sans-serif; font-size: 12px; fill: #333333; }
  text.name { font-size: 13px; font-weight: bold; fill: #1d3557; }
  text.small { font-size: 11px; fill: #555555; }
  text.code, text.byte { font-family: monospace; font-size: 13px; fill: #1d1d1d; }
  path.arrow { fill: none; stroke: #6b7a90; stroke-width: 1.4; marker-end: url(#head); }
  path.head { fill: #6b7a90; }
  rect.behind { fill: #ffffff; }
  @media (prefers-color-scheme: dark) {
    rect.back, rect.behind { fill: #131416; }
    rect.box { fill: #1f2a3a; stroke: #7d9cc8; }
    text { fill: #d6d6d6; }
    text.name { fill: #cfe0f7; }
    text.small { fill: #a8a8a8; }
    text.code { fill: #e4e4e4; }
    path.arrow { stroke: #94a3b8; }
    path.head { fill: #94a3b8; }
  }
"""


def picture(width: int, height: int, title: str, parts: Iterator[str]) -> str:
    """A whole SVG file around its parts."""
    return frame(width, height, title, STYLE, parts)


def box(x: float, y: float, width: float, height: float, kind: str = "box", corner: int = 6) -> str:
    """A rectangle; ``x`` and ``y`` are its left upper corner."""
    size = f'width="{width:.0f}" height="{height:.0f}" rx="{corner}"'
    return f'<rect class="{kind}" x="{x:.0f}" y="{y:.0f}" {size}/>'


# The layers


def layers() -> list[str]:
    """The folders of the package, the highest first, as the import contract has them.

    The contract's first name, ``__main__``, is a file that calls the folder below it.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = project["tool"]["importlinter"]["contracts"]
    found: list[str] = next(one["layers"] for one in contracts if one["id"] == "layers")
    names = [name.strip() for level in found for name in level.split("|")]
    return [name for name in names if name != "__main__"]


def descriptions() -> dict[str, tuple[str, str]]:
    """What each folder holds and knows: the map in CONTRIBUTING."""
    contributing = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    table = contributing.partition("<!-- map -->")[2].partition("<!-- end of map -->")[0]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in table.strip().split("\n")
    ]
    return {row[0].strip("`"): (row[1].replace("`", ""), row[2]) for row in rows[2:]}


def draw_layers() -> str:
    """The layers, one upon the other."""
    known = descriptions()

    def parts() -> Iterator[str]:
        yield text(440, 26, "knows", "small")
        yield text(690, 26, "used by", "small")
        for number, name in enumerate(layers()):
            holds, knows = known[name]
            y = 36 + 50 * number
            yield box(16, y, 570, 42)
            yield text(30, y + 18, name, "name")
            yield text(30, y + 34, holds, "small")
            yield text(440, y + 26, knows, "small")
        bottom = 36 + 50 * len(layers())
        for x, y, words in (
            (690, 57, "people at a terminal"),
            (690, 107, "your tests"),
            (690, 157, "programs: servers"),
            (690, 207, "programs: all else"),
        ):
            yield arrow(f"M {x - 6} {y - 4} L 592 {y}")
            yield text(x, y, words)
        yield arrow(f"M 640 250 L 640 {bottom - 14}")
        yield text(652, (250 + bottom) / 2, "imports go down only")

    return picture(860, 36 + 50 * len(layers()) + 8, "The layers of the package", parts())


# The life of a connection


class Point(NamedTuple):
    """The middle of a box."""

    x: float
    y: float


WIDTH, HEIGHT = 164, 66
PLACES = {
    Phase.HELD: Point(110, 60),
    Phase.OPEN: Point(110, 250),
    Phase.DYING: Point(110, 560),
    Phase.OURS_ENDING: Point(390, 60),
    Phase.OURS_ENDED: Point(860, 60),
    Phase.CLOSING: Point(560, 190),
    Phase.LINGERING: Point(780, 190),
    Phase.CLOSING_LAST: Point(690, 340),
    Phase.THEIRS_ENDED: Point(330, 450),
    Phase.BOTH_ENDING: Point(590, 480),
    Phase.GONE: Point(1090, 340),
}
WORDS = {
    Happening.SEND_EOF: "send_eof()",
    Happening.FIN_SENT: "FIN sent",
    Happening.DELIVERED: "delivered",
    Happening.THEIR_END: "the peer ends",
    Happening.THEIR_END_CLOSES: "the peer ends, no half close",
    Happening.ACLOSE: "aclose()",
    Happening.DISCONNECT: "disconnect()",
    Happening.GRACE_OVER: "grace over",
    Happening.HOLD: "TLS begins",
    Happening.GO_ON: "TLS is up",
    Happening.SEND_FAILED: "a send fails",
}
AT_ONCE = {Happening.CLOSE, Happening.LOSS, Happening.THEIR_END_IS_LAST}
"""These lead to the last phase, the first two from each: said below the picture, not drawn."""
Steps = dict[tuple[Phase, Phase], list[Happening]]


def steps() -> Steps:
    """What is drawn: for each pair of phases the happenings that lead from one to the other."""
    found: Steps = {}
    for (before, what), (after, _) in TABLE.items():
        if before is not after and what not in AT_ONCE:
            found.setdefault((before, after), []).append(what)
    return found


def words_of(happenings: list[Happening]) -> list[str]:
    """The label of an arrow, in lines."""
    left = list(happenings)
    if Happening.THEIR_END in left and Happening.THEIR_END_CLOSES in left:
        left.remove(Happening.THEIR_END_CLOSES)
    return textwrap.wrap(", ".join(WORDS[what] for what in left), 22)


def border(middle: Point, towards: Point) -> Point:
    """Where the line from the middle of a box to a point leaves the box."""
    x, y = towards.x - middle.x, towards.y - middle.y
    scales = [size / 2 / abs(part) for size, part in ((WIDTH, x), (HEIGHT, y)) if part]
    return Point(middle.x + x * min(scales), middle.y + y * min(scales))


def draw_phase(phase: Phase) -> Iterator[str]:
    """A box with the name of a phase, and what it means."""
    middle = PLACES[phase]
    yield box(middle.x - WIDTH / 2, middle.y - HEIGHT / 2, WIDTH, HEIGHT)
    yield text(middle.x, middle.y - 14, phase.name, "name", "middle")
    for number, line in enumerate(textwrap.wrap(phase.value, 26)[:3]):
        yield text(middle.x, middle.y + 1 + 13 * number, line, "small", "middle")


MOVED = {
    (Phase.CLOSING, Phase.GONE): 0.35,
    (Phase.OURS_ENDING, Phase.CLOSING): 0.6,
    (Phase.OURS_ENDING, Phase.BOTH_ENDING): 0.6,
    (Phase.OPEN, Phase.CLOSING_LAST): 0.4,
}
"""How far along an arrow its label is, where the middle is taken."""


def draw_step(
    before: Phase, after: Phase, happenings: list[Happening], both: bool
) -> tuple[str, list[str]]:
    """An arrow, and its label; ``both`` if there is one back, which must not cover it."""
    aside = 26 if both and before is Phase.HELD else -26 if both else 0
    start, end = PLACES[before], PLACES[after]
    start, end = border(start, end), border(end, start)
    course = f"M {start.x + aside:.0f} {start.y:.0f} L {end.x + aside:.0f} {end.y:.0f}"
    lines = words_of(happenings)
    part = MOVED.get((before, after), 0.5)
    at = Point(start.x + (end.x - start.x) * part + aside * 2, start.y + (end.y - start.y) * part)
    width, top = 6.1 * max(map(len, lines)) + 8, at.y - 7 * len(lines)
    return arrow(f"{course}"), [
        box(at.x - width / 2, top, width, 14 * len(lines), "behind"),
        *(text(at.x, top + 11 + 14 * row, line, "", "middle") for row, line in enumerate(lines)),
    ]


def listed(before: Phase, after: Phase) -> bool:
    """Whether a step stands below the picture: arrows for it would cover the others."""
    crowded = before in {Phase.DYING, Phase.HELD} and after is Phase.GONE
    crossing = before is Phase.THEIRS_ENDED and after is Phase.HELD
    return after is Phase.DYING or crowded or crossing


def draw_life() -> str:
    """The phases and the steps between them."""

    def parts() -> Iterator[str]:
        drawn = steps()
        labels: list[str] = []
        below: dict[str, list[str]] = {}
        for (before, after), happenings in drawn.items():
            failed = [what for what in happenings if what is Happening.SEND_FAILED]
            if listed(before, after):
                for what in happenings:
                    below.setdefault(f"{WORDS[what]} -> {after.name}", []).append(before.name)
                continue
            others = [what for what in happenings if what not in failed]
            if failed:
                below.setdefault(f"{WORDS[failed[0]]} -> {after.name}", []).append(before.name)
            if others:
                arrow, label = draw_step(before, after, others, (after, before) in drawn)
                yield arrow
                labels += label
        yield from labels
        for phase in Phase:
            yield from draw_phase(phase)
        yield text(220, 548, "close(), a loss: from every phase to GONE", "small")
        yield text(220, 563, "nothing left to send, and no half close: from OPEN to GONE", "small")
        for row, (what, phases) in enumerate(below.items()):
            yield text(220, 578 + 15 * row, f"{what}: from {', '.join(phases)}", "small")

    return picture(1190, 690, "The phases of a connection", parts())


# A cancelled send


def draw_cancelled() -> str:
    """Three sends in a queue, of which the second is cancelled when the system has taken some."""
    ledger = SendLedger()
    sizes = {"a": 3000, "b": 6000, "c": 3000}
    tickets = {name: ledger.reserve(bytes(size)) for name, size in sizes.items()}
    rows = [("queued", {name: (0, size, 0) for name, size in sizes.items()})]

    def take(count: int) -> None:
        while count:
            chunk = ledger.chunk(count)
            assert isinstance(chunk, bytes | memoryview)
            ledger.account(len(chunk))
            count -= len(chunk)

    def now() -> dict[str, tuple[int, int, int]]:
        return {
            name: (
                ticket.sent,
                0 if ticket.removed else sizes[name] - ticket.sent,
                sizes[name] - ticket.sent if ticket.removed else 0,
            )
            for name, ticket in tickets.items()
        }

    take(5000)
    rows.append(("the system took 5000", now()))
    ledger.remove(tickets["b"])
    rows.append(("the second is cancelled", now()))
    take(3000)
    rows.append(("the rest goes out", now()))
    batch = ledger.end_batch()
    assert batch is not None

    def parts() -> Iterator[str]:
        kinds = (("a", "sent"), ("b", "queued"), ("c", "removed, never sent"))
        for number, (kind, words) in enumerate(kinds):
            yield box(180 + 130 * number, 14, 14, 14, kind, 2)
            yield text(200 + 130 * number, 26, words)
        for number, (title, state) in enumerate(rows):
            y = 50 + 44 * number
            yield text(16, y + 18, title)
            x = 180.0
            for pieces in state.values():
                for kind, count in zip("acb", (pieces[0], pieces[2], pieces[1]), strict=True):
                    if count:
                        yield box(x, y, count / 20, 26, kind, 2)
                        yield text(x + count / 40, y + 17, str(count), "byte", "middle")
                        x += count / 20
                x += 6
        y = 50 + 44 * len(rows) + 14
        words = f"SendComplete(user_aborted=True, bytes_sent={batch.sent}, "
        yield text(16, y, f"{words}bytes_unsent={batch.unsent})", "code")

    return picture(830, 254, "What a cancelled send leaves", parts())


# A message on the wire


def draw_message() -> str:
    """The bytes of a message, by field."""
    message = Message(7, b"hello")
    frame = encode_message(message.command, message.data)
    fields = (
        ("mark", 2, "a"),
        ("version", 1, "b"),
        ("reserved", 1, "c"),
        (f"command: {message.command}", 4, "d"),
        (f"size: {len(message.data)}", 4, "b"),
        (f"data: {message.data.decode()!r}", len(message.data), "a"),
    )
    assert sum(size for _, size, _ in fields) == len(frame)

    def parts() -> Iterator[str]:
        yield text(16, 24, f"Message({message.command}, {message.data!r})", "code")
        x, at = 16.0, 0
        for name, size, kind in fields:
            for byte in frame[at : at + size]:
                yield box(x, 40, 42, 34, kind, 2)
                yield text(x + 21, 62, f"{byte:02x}", "byte", "middle")
                x, at = x + 44, at + 1
            yield text(x - 22 * size, 94 + 16 * (name == "reserved"), name, "", "middle")
            x += 4

    return picture(804, 124, "A message on the wire", parts())


PICTURES: dict[str, Callable[[], str]] = {
    "architecture.svg": draw_layers,
    "life.svg": draw_life,
    "cancelled_send.svg": draw_cancelled,
    "message.svg": draw_message,
}

if __name__ == "__main__":
    for name, draw in PICTURES.items():
        (TOPICS / name).write_text(draw(), encoding="utf-8")

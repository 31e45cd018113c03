"""Drawing on a terminal: bars that fit its width, and coloured lines.

The modules that import rich are this one and ``_member_table``. They are imported where a
terminal is drawn on, and not before: ``--help`` and ``--version`` work without rich.
"""

from __future__ import annotations

from rich.console import Console
from rich.progress import Progress, ProgressColumn, Task
from rich.text import Text

from ._stream import Stream
from ._text import amount, amounts, clock

_LEAST_NAME = 8
_BAR = range(4, 41)
"""Characters of a bar; where there is no room for the least of them there is none."""
_GOOD_BAR = 16
"""As long as a bar is shorter than that, names are shortened for it."""
_ROOMY = 72
"""The least width at which the amounts are shown; below it, the percentage is."""


def print_styled(stream: Stream, sentence: str, style: str) -> None:
    """Write ``sentence`` in rich's ``style``."""
    console = Console(file=stream.screen(moves=False), highlight=False, soft_wrap=True)
    console.print(Text(sentence, style=style))


def bars(stream: Stream) -> Progress:
    """A display of bars on the terminal behind ``stream``."""
    console = Console(file=stream.screen(moves=True), highlight=False)
    return Progress(
        _Line(console),
        console=console,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
        refresh_per_second=8,
    )


class _Line(ProgressColumn):
    """A transfer in one line that is never longer than the width of the terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
        super().__init__()

    def render(self, task: Task) -> Text:
        """The line of ``task``."""
        figures = Figures(int(task.completed), int(task.total or 0), task.speed)
        return progress_line(task.description, figures, self._console.width)


class Figures:
    """The numbers of a transfer.

    Args:
        done: bytes so far.
        total: bytes in all.
        rate: bytes in a second; ``None`` if that is not known yet.
    """

    def __init__(self, done: int, total: int, rate: float | None) -> None:
        self.share = min(1.0, done / total) if total else 1.0
        left = "-:--:--" if not rate else clock((total - done) / rate)
        speed = f"{amount(rate or 0)}/s"
        self.long = f"{amounts(done, total)}  {speed}  {left}"
        self.short = f"{self.share:3.0%} {speed} {left.removeprefix('0:')}"


def progress_line(name: str, figures: Figures, width: int) -> Text:
    """``name``, a bar and the numbers, in at most ``width`` columns.

    If there is little room the name is shortened first, then the bar, and then some of the
    numbers are left out.
    """
    label = Text(name)
    numbers = figures.long if width >= _ROOMY else figures.short
    room = width - len(numbers) - 2
    shortest = min(label.cell_len, _LEAST_NAME)
    name_room = max(shortest, min(label.cell_len, room - 1 - _GOOD_BAR))
    bar_room = min(room - 1 - name_room, _BAR[-1])
    if bar_room not in _BAR:
        bar_room, name_room = 0, max(0, min(label.cell_len, room))
    if name_room:
        label.truncate(name_room, overflow="ellipsis")
    else:
        label = Text()
    line = Text(no_wrap=True, overflow="ellipsis", end="").append_text(label)
    if bar_room:
        full = round(figures.share * bar_room)
        line.append(" ").append("━" * full, "cyan").append("━" * (bar_room - full), "bright_black")
    line.append(f"  {numbers}" if label.cell_len or bar_room else numbers)
    line.truncate(width, overflow="ellipsis")
    return line

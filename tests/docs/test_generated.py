"""What the documentation shows of the code was made from the code of today."""

from __future__ import annotations

import json

import pytest

import trio_xsock
from trio_xsock import SocketError, SocketState
from trio_xsock._machines.end_steps import Happening, Phase
from trio_xsock._machines.state import TRANSITIONS

from .pages import DOCS, ROOT, load_script, table_rows


def test_state_diagram_is_that_of_the_table() -> None:
    """The picture in the repository is what the script draws now."""
    script = load_script("make_state_diagram")
    committed = (DOCS / "topics" / "states.svg").read_text(encoding="utf-8")
    assert script.draw() == committed, "run docs/make_state_diagram.py"


def test_state_diagram_has_everything() -> None:
    """Each state has a box, each pair of states an arrow, and each move a label."""
    script = load_script("make_state_diagram")
    picture = script.draw()
    pairs = {(before, after) for (before, _), after in TRANSITIONS.items()}
    assert picture.count('<path class="arrow"') == len(pairs)
    assert all(f">{state.name}</text>" in picture for state in SocketState)
    words = picture.split("</defs>")[1]
    assert all(word in words for _, move in TRANSITIONS for word in move.value.split())


def test_error_table_is_that_of_the_classes() -> None:
    """The table in the page is what the script writes now."""
    script = load_script("make_error_table")
    page = script.PAGE.read_text(encoding="utf-8")
    assert script.page_with_table(page) == page, "run docs/make_error_table.py"


def test_error_table_has_every_error() -> None:
    """All public errors are in it, each with its number."""
    script = load_script("make_error_table")
    rows = {row[0].split("`")[1]: row[1] for row in table_rows(script.table()) if "`" in row[0]}
    errors = [
        value
        for value in vars(trio_xsock).values()
        if isinstance(value, type) and issubclass(value, SocketError)
    ]
    assert rows == {
        error.__name__: "" if error.error_number is None else str(int(error.error_number))
        for error in errors
    }


def test_speed_chart_is_that_of_the_figures() -> None:
    """The README's chart shows what the table of the documentation shows."""
    script = load_script("make_speed_chart")
    figures = json.loads(script.FIGURES.read_text(encoding="utf-8"))
    committed = script.CHART.read_text(encoding="utf-8")
    assert script.draw(figures) == committed, "run docs/make_speed_chart.py"
    assert script.ROWS.keys() <= figures["workloads"].keys()
    assert script.CHART.relative_to(ROOT).as_posix() in (ROOT / "README.md").read_text("utf-8")


def test_speed_table_is_that_of_the_figures() -> None:
    """The README's table shows what the table of the documentation shows, in part."""
    script = load_script("make_speed_table")
    page = script.PAGE.read_text(encoding="utf-8")
    assert script.page_with_table(page) == page, "run docs/make_speed_table.py"
    assert len(script.ROWS) <= 12
    assert len(script.COLUMNS) <= 8


def test_speed_table_says_who_is_ahead() -> None:
    """A figure of another library is in bold if it is ahead of all of ours."""
    script = load_script("make_speed_table")
    values = {
        "xsock-handler": 2.0,
        "trio-stream": 1.0,
        "asyncio-streams": 1.9,
        "uvloop-protocol": 2.1,
    }
    contenders = {name: {"to_baseline": value} for name, value in values.items()}
    assert script.row("work", {"contenders": contenders}) == (
        "| work | 2.0 |  |  |  | 1.0 |  | 1.9 | **2.1** |"
    )


@pytest.mark.parametrize("name", ["architecture", "life", "cancelled_send", "message"])
def test_pictures_are_those_of_the_code(name: str) -> None:
    """Each picture in the repository is what the script draws now."""
    script = load_script("make_pictures")
    committed = (DOCS / "topics" / f"{name}.svg").read_text(encoding="utf-8")
    assert script.PICTURES[f"{name}.svg"]() == committed, "run docs/make_pictures.py"
    assert "prefers-color-scheme: dark" in committed


def test_the_life_of_a_connection_has_every_step() -> None:
    """Each phase has a box, and each step is an arrow or stands in the list below."""
    script = load_script("make_pictures")
    picture = script.draw_life()
    assert all(f">{phase.name}</text>" in picture for phase in Phase)
    arrows = picture.count('<path class="arrow"')
    listed = [line for line in picture.splitlines() if "-&gt;" in line]
    steps = script.steps()
    drawn = [pair for pair in steps if not script.listed(*pair)]
    only_failures = [pair for pair in drawn if steps[pair] == [Happening.SEND_FAILED]]
    assert arrows == len(drawn) - len(only_failures)
    for (before, after), happenings in steps.items():
        for what in happenings:
            if script.listed(before, after) or what is Happening.SEND_FAILED:
                start = f"{script.WORDS[what]} -&gt; {after.name}: from "
                assert any(start in line and before.name in line for line in listed)

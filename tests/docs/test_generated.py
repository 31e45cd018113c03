"""What the documentation shows of the code was made from the code of today."""

from __future__ import annotations

import trio_xsock
from trio_xsock import SocketError, SocketState
from trio_xsock._machines.state import TRANSITIONS

from .pages import DOCS, load_script, table_rows


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


def test_the_readme_shows_the_figures_of_the_documentation() -> None:
    """Both come from one run of the benchmarks."""
    script = load_script("make_benchmarks")
    readme = script.README.read_text(encoding="utf-8")
    table = script.TABLE.read_text(encoding="utf-8")
    assert readme.count(script.BEGIN) == readme.count(script.END) == 1
    assert script.readme_with(readme, table) == readme, "run docs/make_benchmarks.py"
    assert "`python -m benchmarks" in table

"""Lines with a bar fit the terminal, whatever its width, and stay readable."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_xsock._cli._screen import Figures, progress_line

LONG = "'a recording of the whole conference, second day.mkv'"


def line(name: str, width: int, done: int = 450_000_000, total: int = 10**9) -> str:
    return progress_line(name, Figures(done, total, 12_300_000.0), width).plain


def test_a_wide_terminal_shows_all() -> None:
    assert line("'film.mkv'", 100) == f"'film.mkv' {'━' * 40}  0.5/1.0 GB  12.3 MB/s  0:00:45"
    assert LONG in line(LONG, 120)


def test_the_name_is_shortened_first() -> None:
    shown = line(LONG, 80)
    assert shown.endswith("  0.5/1.0 GB  12.3 MB/s  0:00:45")
    assert len(shown) == 80
    assert shown.count("━") == 16


def test_forty_columns_are_readable() -> None:
    shown = line(LONG, 40)
    assert shown == f"'a reco… {'━' * 10}  45% 12.3 MB/s 00:45"
    assert line("'f'", 40).startswith("'f' ━━━━━━━━━━━━━━━")


def test_before_anything_moved() -> None:
    assert progress_line("'f'", Figures(0, 10, None), 40).plain.endswith("  0% 0 bytes/s -:--:--")


@given(st.text(max_size=60), st.integers(10, 200), st.integers(0, 10**15), st.integers(0, 10**15))
def test_no_line_is_ever_too_long(name: str, width: int, done: int, total: int) -> None:
    figures = Figures(done, total, 1.0)
    assert progress_line(name, figures, width).cell_len <= width


@pytest.mark.parametrize("width", [10, 20, 30])
def test_very_narrow(width: int) -> None:
    """The numbers are what is left."""
    assert "45%" in line(LONG, width)

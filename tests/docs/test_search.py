"""What people look for is in the title of its page, where the search finds it first."""

from __future__ import annotations

import pytest

from .pages import DOCS


@pytest.mark.parametrize(
    ("words", "page"),
    [
        ("reconnect", "howto/reconnect.md"),
        ("back-off", "howto/reconnect.md"),
        ("pool", "howto/pool.md"),
        ("progress", "howto/progress_bar.md"),
        ("test", "howto/testing.md"),
        ("other libraries", "howto/other_libraries.md"),
    ],
)
def test_title_has_the_words(words: str, page: str) -> None:
    """The first line of the page is its title."""
    title = (DOCS / page).read_text(encoding="utf-8").partition("\n")[0]
    assert title.startswith("# ")
    assert words in title.lower()

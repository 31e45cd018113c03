"""The check of the documentation's words: of a small text, and of the pages."""

from __future__ import annotations

import pytest

from tests import vocabulary


@pytest.mark.parametrize(
    "text",
    [
        "A peer shall close.",
        "Who asks late gets less.",
        "It ended. Whoever reads next gets the error.",
        "It closes in good order.",
    ],
)
def test_a_word_to_avoid_is_found(text: str) -> None:
    (finding,) = vocabulary.findings(f"A first line.\n{text}", "page.md")
    assert finding.place == "page.md:2"
    assert finding.better


@pytest.mark.parametrize(
    "text", ["Who is connected", "Who asks first?", "A client that asks late."]
)
def test_other_words_are_not(text: str) -> None:
    assert list(vocabulary.findings(text, "page.md")) == []


def test_code_is_not_read_and_lines_keep_their_numbers() -> None:
    page = "One `shall`.\n\n```python\nshall = 1\n```\n\nThey shall.\n"
    (finding,) = vocabulary.findings(vocabulary.without_code(page), "page.md")
    assert finding.place == "page.md:7"


def test_the_pages_have_none_and_the_docstrings_no_more_than_before() -> None:
    assert list(vocabulary.in_pages()) == []
    assert len(list(vocabulary.in_docstrings())) <= vocabulary.LIMIT

"""The pictures of terminals in the pages are there, and no line is wider than the terminal."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pytest

from .pages import ROOT, pages

HOWTO = ROOT / "docs" / "howto"
PICTURES = sorted((HOWTO / "pictures").glob("*.svg"))
CHARACTER = 8.4


def shown(picture: Path) -> list[str]:
    """The texts of a picture."""
    texts = re.findall(r"<text [^>]*>(.*?)</text>", picture.read_text("utf-8"))
    return [html.unescape(text) for text in texts]


@pytest.mark.parametrize("command", ["send", "receive", "discover"])
@pytest.mark.parametrize("width", [100, 40])
def test_nothing_is_wider_than_the_terminal(command: str, width: int) -> None:
    picture = HOWTO / "pictures" / f"{command}-{width}.svg"
    source = picture.read_text("utf-8")
    (edge,) = re.findall(r' width="(\d+)"', source)
    for x, length in re.findall(r'x="([\d.]+)"[^>]*textLength="([\d.]+)"', source):
        assert float(x) + float(length) <= float(edge)
    assert float(edge) <= width * CHARACTER + 24
    assert f"xsock {command} " in shown(picture)[0]
    if command != "discover":
        assert re.search(r"MB/s +[\d:]+$", shown(picture)[-1])
    else:
        assert any("3 members" in text for text in shown(picture))


def test_each_picture_is_in_a_page() -> None:
    text = "".join(page.read_text("utf-8") for page in pages(".md"))
    named = set(re.findall(r"pictures/([\w-]+\.svg)", text))
    assert named == {picture.name for picture in PICTURES}

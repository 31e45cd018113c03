"""What the scripts beside this file that draw pictures have in common: the frame of an SVG."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

HEAD = (
    '<defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" '
    'markerHeight="7" orient="auto"><path class="head" d="M 0 0 L 10 5 L 0 10 z"/></marker></defs>'
)


def frame(
    width: float, height: float, title: str, style: str, parts: Iterable[str], head: str = HEAD
) -> str:
    """A whole SVG file around its parts.

    Args:
        width: in pixels.
        height: likewise.
        title: what screen readers say.
        style: CSS; ``rect.back`` is the background.
        parts: the elements, those in front last.
        head: the head of the arrows that ``arrow`` draws; ``""`` for a picture without.
    """
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img">'
    )
    lines = [
        opening,
        f"<title>{escape(title)}</title>",
        f"<style>{style}</style>",
        *([head] if head else []),
        f'<rect class="back" width="{width}" height="{height}" rx="8"/>',
    ]
    return "\n".join([*lines, *parts, "</svg>"]) + "\n"


def text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    """One line of text; ``kind`` is its class."""
    css = f' class="{kind}"' if kind else ""
    return f'<text{css} x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}">{escape(words)}</text>'


def arrow(course: str) -> str:
    """A line with a head at its end; ``course`` is the data of an SVG path."""
    return f'<path class="arrow" d="{course}"/>'

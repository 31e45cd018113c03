"""What the scripts beside this file that write into pages have in common."""

from __future__ import annotations


def between(page: str, begin: str, text: str, end: str) -> str:
    """The page with ``text`` between the lines ``begin`` and ``end``, in place of what is there."""
    before, found_begin, rest = page.partition(begin)
    _, found_end, after = rest.partition(end)
    if not found_begin or not found_end:
        raise ValueError("the page has no place for the table")
    return f"{before}{begin}{text}{end}{after}"

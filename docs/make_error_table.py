"""Write the table of errors into ``docs/topics/errors.md``: ``python docs/make_error_table.py``.

The table is made from the classes. What a class is for is the first sentence of its docstring.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from marked import between

import trio_xsock
from trio_xsock import SocketError

PAGE = Path(__file__).resolve().parent / "topics" / "errors.md"
BEGIN = "<!-- made by docs/make_error_table.py -->\n"
END = "<!-- end of what it made -->\n"


def tree(
    base: type[SocketError] = SocketError, depth: int = 0
) -> Iterator[tuple[int, type[SocketError]]]:
    """``base`` and the public classes below it, each with its depth, in order of definition."""
    yield depth, base
    for error in base.__subclasses__():
        if getattr(trio_xsock, error.__name__, None) is error:
            yield from tree(error, depth + 1)


def other_bases(error: type[SocketError]) -> str:
    """What else the class is, for those who catch by the names they know."""
    names = [
        f"`{'' if base.__module__ == 'builtins' else 'trio.'}{base.__name__}`"
        for base in error.__bases__
        if not issubclass(base, SocketError) and base is not Exception
    ]
    return ", ".join(names)


def purpose(error: type[SocketError]) -> str:
    """The first sentence of the docstring, without the number and in Markdown."""
    paragraph, _, _ = (error.__doc__ or "").partition("\n\n")
    text = " ".join(paragraph.split()).replace("``", "`")
    text = re.sub(r" \(\d+\)", "", text)
    return text.removesuffix(".")


def table() -> str:
    """The table, in Markdown."""
    lines = [
        "| class | `error_number` | is also | when |",
        "|---|---|---|---|",
    ]
    for depth, error in tree():
        indent = "&nbsp;&nbsp;&nbsp;&nbsp;" * depth
        number = "" if error.error_number is None else str(int(error.error_number))
        row = f"{indent}`{error.__name__}`", number, other_bases(error), purpose(error)
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines) + "\n"


def page_with_table(page: str) -> str:
    """The page with the table of today."""
    return between(page, BEGIN, f"\n{table()}\n", END)


if __name__ == "__main__":
    PAGE.write_text(page_with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")

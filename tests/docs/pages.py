"""The pages of the documentation, and what of them a test has to know."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"

_FENCE = re.compile(r"(?P<fence>`{3,}|:{3,})(?P<info>[^`]*)")


class Block(NamedTuple):
    """A fenced block of a page."""

    info: str
    """What follows the opening fence, such as ``python``."""
    line: int
    """The number of its first line, counted from 1."""
    text: str


def pages(*suffixes: str) -> list[Path]:
    """All pages with one of these suffixes, in a stable order."""
    built = DOCS / "_build"
    return sorted(
        path
        for suffix in suffixes
        for path in DOCS.rglob(f"*{suffix}")
        if built not in path.parents
    )


def name_of(page: Path) -> str:
    """A page as the tests call it: ``topics/events.md``."""
    return page.relative_to(DOCS).as_posix()


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page in Markdown, from top to bottom.

    A fence of colons arranges other blocks, such as tabs: it comes without text, and then those.
    """
    lines = enumerate(page.read_text(encoding="utf-8").splitlines(), 1)
    for start, line in lines:
        opening = _FENCE.fullmatch(line.strip())
        if opening is None:
            continue
        if opening["fence"].startswith(":"):
            if opening["info"]:
                yield Block(opening["info"].strip(), start, "")
            continue
        inside: list[tuple[int, str]] = []
        for number, text in lines:
            if text.strip() == opening["fence"]:
                break
            inside.append((number, text))
        else:
            raise ValueError(f"{page}: a block is not closed")
        first = inside[0][0] if inside else 0
        yield Block(opening["info"].strip(), first, "\n".join(text for _, text in inside))


def prose(page: Path) -> str:
    """A page in Markdown without its fenced blocks."""
    text = page.read_text(encoding="utf-8")
    return re.sub(r"^(`{3,}).*?^\1$", "", text, flags=re.MULTILINE | re.DOTALL)


def table_rows(text: str) -> Iterator[list[str]]:
    """The rows of the tables in a text in Markdown, as lists of cells; rulers are left out."""
    for line in text.splitlines():
        if line.startswith("|") and not re.fullmatch(r"[|\s:-]+", line):
            cells = re.split(r"(?<!\\)\|", line.strip().strip("|"))
            yield [cell.strip().replace(r"\|", "|") for cell in cells]


def load_script(name: str) -> ModuleType:
    """Import a script of ``docs/``, which is no package; it may import others from there."""
    if str(DOCS) not in sys.path:
        sys.path.append(str(DOCS))
    spec = importlib.util.spec_from_file_location(f"docs_{name}", DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module

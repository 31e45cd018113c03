"""Words that the documentation does without: a check of ``tests/run.py lint``.

The style sheet in ``CONTRIBUTING.md`` says how to write; this is what of it a program can see. It
reads the pages of ``docs/``, the README, CONTRIBUTING, and the docstrings of the library. Pages
have none of these words. Docstrings still have some: ``LIMIT`` is their number, and may only fall.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent

BETTER = {
    r"\bin hand\b": "available, already received",
    r"\bshall\b": "must, should, will",
    r"\bthe books\b": "the counts",
    r"\bgood for nothing\b": "useless; say what does not work",
    r"\band (?:its|their) kin\b": "and similar calls; name them",
    r"\bails\b": "the error",
    r"\bknows? nothing of\b": "does not use, does not depend on",
    r"\bin the manner of\b": "like",
    r"\b(?:is|are) so\b": "is true",
    r"\bin good order\b": "gracefully, cleanly",
    r"\bnobody's\b": "belongs to no",
    r"\bof no use\b": "useless",
    r"\banew\b": "again",
    r"\bfor else\b": "otherwise",
    r"\bhence\b": "so, therefore",
    r"\bnewcomers?\b": "new connections, new clients",
    r"(?:^|[.:;] |\| )Who(?:ever)? (?!is\b)\w+s?\b(?![^.?!\n]*\?)": "a client that, a task that",
}
"""What is not written, as a pattern, and what is written in its place."""
LIMIT = 0
"""How many of these the docstrings of the library have."""

GENERATED = {"topics/benchmarks.md"}
_PATTERNS = [(re.compile(pattern, re.MULTILINE), better) for pattern, better in BETTER.items()]


class Finding(NamedTuple):
    """A word that could be plainer."""

    place: str
    word: str
    better: str


def findings(text: str, place: str, first_line: int = 1) -> Iterator[Finding]:
    """The words of a text that could be plainer, with their lines."""
    for pattern, better in _PATTERNS:
        for found in pattern.finditer(text):
            line = first_line + text.count("\n", 0, found.start())
            yield Finding(f"{place}:{line}", found[0].strip(" .:;|\n"), better)


def without_code(text: str) -> str:
    """A page with its code made blank, so that lines keep their numbers."""

    def blank(code: re.Match[str]) -> str:
        return "\n" * code[0].count("\n")

    text = re.sub(r"^(`{3,}).*?^\1$", blank, text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`]+`", lambda code: "`" + blank(code) + "`", text)


def in_pages() -> Iterator[Finding]:
    """Those of the documentation."""
    docs = ROOT / "docs"
    found = [path for path in docs.rglob("*") if path.suffix in {".md", ".rst"}]
    for path in [*sorted(found), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]:
        name = path.relative_to(ROOT).as_posix()
        if "docs/_build" not in name and name.removeprefix("docs/") not in GENERATED:
            text = path.read_text(encoding="utf-8").partition("<!-- words not to use -->")
            rest = text[2].partition("<!-- end of these words -->")
            between = "\n" * rest[0].count("\n")
            yield from findings(without_code(text[0] + between + rest[2]), name)


def in_docstrings() -> Iterator[Finding]:
    """Those of the library's docstrings."""
    holders = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    for path in sorted((ROOT / "trio_xsock").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, holders) and ast.get_docstring(node) is not None:
                statement = node.body[0]
                name = path.relative_to(ROOT).as_posix()
                text = ast.get_docstring(node, clean=False) or ""
                yield from findings(without_code(text), name, statement.lineno)


def main() -> int:
    """Print what was found and return the exit code."""
    parser = argparse.ArgumentParser(description="Look for words that could be plainer.")
    parser.add_argument("--list", action="store_true", help="show those of the docstrings, too")
    arguments = parser.parse_args()
    pages, docstrings = list(in_pages()), list(in_docstrings())
    for finding in [*pages, *(docstrings if arguments.list or len(docstrings) > LIMIT else [])]:
        print(f"{finding.place}: {finding.word!r}: better {finding.better}")
    print(f"pages: {len(pages)}; docstrings: {len(docstrings)}, at most {LIMIT}")
    if len(docstrings) < LIMIT:
        print("fewer than the limit: lower LIMIT in tests/vocabulary.py")
    return 1 if pages or len(docstrings) > LIMIT else 0


if __name__ == "__main__":
    sys.exit(main())

"""The blocks of Python in the documentation, checked by mypy.

A page's pieces become the body of one function, which knows what ``tests/docs/test_code_blocks.py``
gives them when it runs them; a block that calls ``trio.run`` is a program of its own. A piece may
define a name anew.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path

import trio_xsock
from tests.docs.pages import ROOT, Block, blocks, name_of, pages

NAMES = sorted(name for name in vars(trio_xsock) if name[0].isupper() or name.islower())
PUBLIC = [name for name in NAMES if not name.startswith("_") and name != "testing"]
HEAD = f"""import trio
from trio_xsock import {", ".join(PUBLIC)}
async def page(sock: TCPSocket, peer: TCPSocket, server: ServerSocket) -> None:
"""
MYPY = [
    *(sys.executable, "-m", "mypy", "--config-file=", "--python-version=3.11"),
    *("--check-untyped-defs", "--ignore-missing-imports", "--no-error-summary"),
    *("--allow-redefinition-new", "--local-partial-types", "--disable-error-code=no-redef"),
]


def modules(page: Path) -> Iterator[str]:
    """The source of the modules that a page makes."""
    found = [block for block in blocks(page) if block.info == "python"]
    pieces = [block for block in found if "trio.run(" not in block.text]
    yield from (block.text for block in found if block not in pieces)
    if pieces:
        yield HEAD + "".join(map(body_of, pieces))


def body_of(piece: Block) -> str:
    """A piece as a part of the function, below a comment that says where it is."""
    return f"    # line {piece.line}\n{textwrap.indent(piece.text, '    ')}\n"


def main() -> int:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for page in pages(".md"):
            for number, source in enumerate(modules(page)):
                stem = re.sub(r"\W", "_", f"{name_of(page).removesuffix('.md')}_{number}")
                (folder / f"{stem}.py").write_text(source, encoding="utf-8")
        checked = subprocess.run([*MYPY, name], cwd=ROOT, check=False)
        return checked.returncode


if __name__ == "__main__":
    sys.exit(main())

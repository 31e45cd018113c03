"""Every block of Python in the documentation is run, and prints what the page says.

A block that calls ``trio.run`` is a whole program. The others are pieces of one: they know the
public names, ``sock`` and ``peer`` as the two ends of a new connection and ``server`` as where
it came in, and what earlier pieces of the page have defined. A block of ``text`` that follows,
with nothing or a line ending in a colon between, is what must be printed; ``…`` stands for
anything. A page can also show a file of ``examples/``, or a test, which run by themselves.
"""

from __future__ import annotations

import ast
import contextlib
import inspect
import io
import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from types import CodeType
from typing import Any

import pytest
import trio

import trio_xsock
from tests.examples.test_examples import PRINTED, SHOWN

from .pages import ROOT, Block, blocks, name_of, pages

MARKDOWN = pages(".md")
PATIENCE = 5.0
"""Seconds that a piece may take."""

PUBLIC = {name: value for name, value in vars(trio_xsock).items() if not name.startswith("_")}


def python_and_output(page: Path) -> Iterator[tuple[Block, str | None]]:
    """The Python blocks of a page, each with what it must print if the page says so."""
    lines = page.read_text(encoding="utf-8").splitlines()
    found = list(blocks(page))
    for block, following in itertools.zip_longest(found, found[1:]):
        if block.info != "python":
            continue
        printed = None
        if following is not None and following.info == "text":
            end = block.line + len(block.text.splitlines())
            between = [line for line in lines[end : following.line - 2] if line.strip()]
            if not between or between == [line for line in between[:1] if line.endswith(":")]:
                printed = following.text
        yield block, printed


def translate(block: Block, page: Path) -> CodeType:
    """Compile a block so that tracebacks show the lines of the page."""
    source = "\n" * (block.line - 1) + block.text
    flags = 0 if is_program(block) else ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    code: CodeType = compile(source, str(page), "exec", flags=flags, dont_inherit=True)
    return code


def is_program(block: Block) -> bool:
    """It runs by itself."""
    return "trio.run(" in block.text


async def run_piece(code: CodeType, names: dict[str, Any]) -> None:
    """Run one piece with a connection of its own."""
    async with trio_xsock.ServerSocket(address="127.0.0.1") as server:
        await server.listen()
        async with trio_xsock.TCPSocket("127.0.0.1", server.port) as sock:
            await sock.connect()
            names.update(sock=sock, peer=await server.accept(), server=server)
            with trio.fail_after(PATIENCE):
                result = eval(code, names)
                if inspect.iscoroutine(result):
                    await result
    for name in ("sock", "peer", "server"):
        names.pop(name, None)


def check_output(printed: str, expected: str, place: str) -> None:
    """Compare what was printed with the page."""
    pattern = ".*".join(re.escape(part) for part in expected.split("…"))
    assert re.fullmatch(pattern, printed.rstrip("\n")), f"{place} printed:\n{printed}"


@pytest.mark.parametrize("page", MARKDOWN, ids=name_of)
def test_blocks_run(page: Path) -> None:
    """The Python blocks of the page do what the page says."""
    names: dict[str, Any] = {"__name__": "__page__", "trio": trio, **PUBLIC}
    for block, expected in python_and_output(page):
        code = translate(block, page)
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            if is_program(block):
                exec(code, {"__name__": "__main__"})
            else:
                trio.run(run_piece, code, names)
        if expected is not None:
            check_output(output.getvalue(), expected, f"{name_of(page)}, line {block.line}")


@pytest.mark.parametrize("page", MARKDOWN, ids=name_of)
def test_blocks_are_known(page: Path) -> None:
    """No code escapes the test above by the way it is written."""
    directives = {"{toctree}", "{note}", "{figure}", "{include}"}
    layout = {"{tab-set}", "{tab-item}", "{grid}", "{grid-item}", "{grid-item-card}"}
    known = {"python", "py", "text", "console", "toml", "xojo", *directives, *layout}
    for block in blocks(page):
        kind, _, argument = block.info.partition(" ")
        if kind == "{literalinclude}":
            shown = (page.parent / argument).resolve()
            check_is_run(shown)
            check_options(block, shown)
        else:
            assert kind in known, f"line {block.line}"
            if kind == "py":  # how it is done with another library
                assert "migrating" in page.parts
                compile(block.text, str(page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def check_is_run(shown: Path) -> None:
    """A file that a page shows is an example that runs as a test, or a test itself."""
    if shown.name.startswith("test_"):
        assert ROOT / "tests" in shown.parents
    else:
        assert shown.parent == ROOT / "examples"
        assert shown.stem in PRINTED.keys() | SHOWN


def check_options(block: Block, shown: Path) -> None:
    """An inclusion says that it is Python, and names objects that are there."""
    options = dict(re.findall(r"^:([\w-]+): *(.*)$", block.text, re.MULTILINE))
    source = shown.read_text(encoding="utf-8")
    assert options.pop("language") == "python"
    wanted = options.pop("pyobject", None)
    if wanted is not None:
        assert re.search(rf"^(class|(async )?def) {wanted}\b", source, re.MULTILINE)
    for name in ("start-at", "end-before"):
        assert options.pop(name, "") in source
    assert options.keys() <= {"caption", "dedent"}


@pytest.mark.parametrize("page", MARKDOWN, ids=name_of)
def test_shown_output_is_that_of_the_example(page: Path) -> None:
    """What a page shows as printed by an example is what the example's own test expects."""
    for block in blocks(page):
        command, _, output = block.text.partition("\n")
        found = re.fullmatch(r"\$ python examples/(\w+)\.py", command)
        if block.info == "console" and found is not None:
            lines = [line for line in output.splitlines() if line.strip() != "…"]
            assert re.fullmatch("\n".join(PRINTED[found[1]]), "\n".join(lines))


@pytest.mark.parametrize("page", pages(".rst"), ids=name_of)
def test_reference_holds_no_code(page: Path) -> None:
    """Code is in pages in Markdown, where it is run."""
    assert "code-block" not in page.read_text(encoding="utf-8")

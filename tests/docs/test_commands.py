"""Each ``xsock`` command that a page prints is one that the command line takes."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from trio_xsock._cli._main import _parser
from trio_xsock._cli._registry import COMMANDS
from trio_xsock._cli._report import Report

from .pages import ROOT, blocks, pages

PAGES = [*pages(".md"), ROOT / "README.md"]


def commands(page: Path) -> Iterator[list[str]]:
    """The arguments of each ``xsock`` in the console blocks of a page."""
    for block in blocks(page):
        if block.info == "console":
            for part in re.split(r"\n| [|&>]+ ", block.text):
                program, _, arguments = part.removeprefix("$ ").partition(" ")
                if Path(program).name == "xsock" and arguments:
                    yield shlex.split(arguments, comments=True)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_are_understood(page: Path) -> None:
    for arguments in commands(page):
        assert _parser(COMMANDS, Report()).parse_args(arguments).command.name == arguments[0]


def test_each_command_is_in_the_overview() -> None:
    overview = ROOT / "docs" / "howto" / "command_line.md"
    printed = {arguments[0] for arguments in commands(overview)}
    assert {command.name for command in COMMANDS} == printed

"""The members of a group as a table on a terminal, updated as they join and leave."""

from __future__ import annotations

import contextlib
from collections.abc import Generator

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ._stream import Stream
from ._text import escape, plural

_LEAST_NAME = 15
"""Columns for a name, and for the lines of the table, before addresses are folded."""


class MemberTable:
    """A row for each member: its name, its address, and its metadata if any member has some."""

    def __init__(self, group: str, live: Live) -> None:
        self._group = group
        self._live = live
        self._rows: dict[str, tuple[str, ...]] = {}

    def put(self, key: str, row: tuple[str, ...]) -> None:
        """Show ``row``, which must be escaped; it replaces the row of the same key."""
        self._rows[key] = row
        self._draw()

    def drop(self, key: str) -> None:
        """Remove the row, if it is there."""
        self._rows.pop(key, None)
        self._draw()

    def say(self, sentence: str) -> None:
        """Write a line above the table."""
        self._live.console.print(Text(sentence))

    def _draw(self) -> None:
        heading = f"{escape(self._group)}: {plural(len(self._rows), 'member')}"
        table = Table(title=Text(heading))
        longest = max((len(row[1]) for row in self._rows.values()), default=0)
        room = self._live.console.width - _LEAST_NAME
        table.add_column("name", overflow="fold")
        table.add_column("address", overflow="fold", min_width=min(longest, room))
        tell = any(row[2] for row in self._rows.values())
        if tell:
            table.add_column("tells", overflow="fold")
        for row in self._rows.values():
            table.add_row(*map(Text, row if tell else row[:2]))
        self._live.update(table, refresh=True)


@contextlib.contextmanager
def member_table(group: str, stream: Stream) -> Generator[MemberTable]:
    """A table on the terminal behind ``stream``."""
    console = Console(file=stream.screen(moves=True), highlight=False)
    with Live(console=console, auto_refresh=False) as live:
        yield MemberTable(group, live)

"""The cheat sheet names what is there: options with their defaults, all events, all errors."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

import pytest

import trio_xsock
from trio_xsock import Event, SocketError

from .pages import DOCS, table_rows

SHEET = DOCS / "cheat_sheet.md"


def sections() -> dict[str, str]:
    """The chapters of the page by their titles."""
    parts = re.split(r"^##+ ", SHEET.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    return {title: text for title, _, text in (part.partition("\n") for part in parts)}


def option_tables() -> Iterator[tuple[str, list[list[str]]]]:
    """The class, and the rows of its table of options."""
    for title, text in sections().items():
        owner = title.partition(",")[0]
        if hasattr(trio_xsock, owner):
            yield owner, list(table_rows(text))[1:]


@pytest.mark.parametrize(("owner", "rows"), list(option_tables()), ids=lambda part: str(part)[:16])
def test_defaults_are_those_of_the_constructor(owner: str, rows: list[list[str]]) -> None:
    parameters = inspect.signature(getattr(trio_xsock, owner)).parameters
    assert rows
    for name, default, _, _ in rows:
        value = parameters[name.strip("`")].default
        shown = value.__name__ if isinstance(value, type) else repr(value)
        assert default == f"`{shown}`", name


def test_there_is_a_table_for_each_class_with_options() -> None:
    assert [owner for owner, _ in option_tables()] == [
        "TCPSocket",
        "SSLSocket",
        "ServerSocket",
        "UDPSocket",
        "EasyTCPSocket",
        "AutoDiscovery",
    ]


def test_every_option_of_a_connection_and_of_a_server_is_listed() -> None:
    tables = dict(option_tables())
    for owner, elsewhere in {
        "TCPSocket": {"address", "port"},
        "ServerSocket": {"port", "network_interface", "handler", "trusted_proxies"},
    }.items():
        listed = {row[0].strip("`") for row in tables[owner]}
        assert listed | elsewhere == set(inspect.signature(getattr(trio_xsock, owner)).parameters)


def test_every_event_is_listed() -> None:
    rows = list(table_rows(sections()["Events"]))[1:]
    listed = {name for row in rows for name in re.findall(r"`(\w+)`", row[0])}
    assert listed == {event.__name__ for event in Event.__args__}


def test_every_error_is_listed() -> None:
    listed = {row[0].strip("`") for row in list(table_rows(sections()["Errors"]))[1:]}
    errors = {
        name
        for name, value in vars(trio_xsock).items()
        if isinstance(value, type) and issubclass(value, SocketError)
    }
    assert listed == errors - {"SocketError"}

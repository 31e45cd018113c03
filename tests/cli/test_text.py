"""Nothing that came from outside is shown as it came."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_xsock._cli._text import (
    amount,
    amounts,
    both_ways,
    clock,
    endpoint,
    escape,
    part,
    plural,
    quote,
    speed,
)


@given(st.text())
def test_what_is_escaped_is_printable(text: str) -> None:
    assert escape(text).isprintable()
    assert quote(text).isprintable()


@given(st.text(st.characters(exclude_characters="\\", categories=["L", "N", "P"]), max_size=50))
def test_ordinary_text_stays(text: str) -> None:
    assert escape(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", "\\x1b[2J"),
        ("a\nb\r\t\0", "a\\nb\\r\\t\\x00"),
        ("\x9b31m", "\\x9b31m"),
        ("exe.\u202etxt", "exe.\\u202etxt"),
        ("\udcff", "\\udcff"),
        ("\U000e0001", "\\U000e0001"),
        ("back\\slash", "back\\\\slash"),
        ("caf\u00e9 \u6f22\u5b57", "caf\u00e9 \u6f22\u5b57"),
    ],
)
def test_escapes(text: str, shown: str) -> None:
    assert escape(text) == shown


def test_long_texts_are_cut() -> None:
    assert escape("x" * 1000, longest=10) == "x" * 10 + "..."


def test_quotes_cannot_be_left() -> None:
    assert quote("it's") == "'it\\'s'"


@pytest.mark.parametrize(
    ("host", "shown"), [("a.example", "a.example:7"), ("::1", "[::1]:7"), ("\x1b", "\\x1b:7")]
)
def test_endpoint(host: str, shown: str) -> None:
    assert endpoint(host, 7) == shown


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (99_949, "99.9 kB"),
        (999_499, "999 kB"),
        (999_600, "1.0 MB"),
        (209_715_200, "210 MB"),
        (5e20, "500 EB"),
        (5e24, "5000000 EB"),
    ],
)
def test_amount(count: float, shown: str) -> None:
    assert amount(count) == shown


def test_speed_never_divides_by_zero() -> None:
    assert speed(1000, 0.0) == "1.0 MB/s"
    assert speed(1000, 2.0) == "500 bytes/s"


def test_counts_of_things() -> None:
    assert [plural(count, "member") for count in (0, 1, 2)] == [
        "0 members",
        "1 member",
        "2 members",
    ]
    assert (part(0, 1), part(3, 10)) == ("0 of 1 byte", "3 of 10 bytes")
    assert part(1_500_000, 2_000_000_000) == "1.5 MB of 2.0 GB"
    assert both_ways(1, 0) == "1 byte went out, 0 came in"
    assert both_ways(5, 2_000_000) == "5 bytes went out, 2.0 MB came in"
    assert (amounts(5, 10), amounts(500_000, 2_000_000)) == ("5/10 bytes", "0.5/2.0 MB")


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0:00:00"), (7.4, "0:00:07"), (3599.6, "1:00:00"), (1e6, "11 days"), (-1, "0:00:00")],
)
def test_clock(seconds: float, shown: str) -> None:
    assert clock(seconds) == shown

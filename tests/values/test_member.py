"""Members as values, and what fits into a packet."""

from __future__ import annotations

from typing import Any

import pytest

from trio_xsock import Member
from trio_xsock._values.member import check_metadata, check_name


def test_members_are_values() -> None:
    """They compare by all they say, hash, and cannot be changed."""
    member = Member("ab", "10.0.0.1", 5, "name", check_metadata({"a": "b"}))
    assert member == Member("ab", "10.0.0.1", 5, "name", {"a": "b"})
    assert member != Member("ab", "10.0.0.1", 5, "name")
    assert len({member, Member("ab", "10.0.0.1", 5, "name", {"a": "b"})}) == 1
    with pytest.raises(TypeError):
        member.metadata["a"] = "c"  # type: ignore[index]


@pytest.mark.parametrize("name", ["a", "ä" * 32, "x" * 64])
def test_names_that_fit(name: str) -> None:
    """Up to 64 bytes in UTF-8."""
    assert check_name("name", name, may_be_empty=False) == name


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("", ValueError),
        ("x" * 65, ValueError),
        ("ä" * 33, ValueError),
        ("\ud800", ValueError),
        (b"x", TypeError),
        (None, TypeError),
    ],
)
def test_names_that_do_not(name: Any, error: type[Exception]) -> None:
    """Refused by type or by value; only some may be empty."""
    with pytest.raises(error):
        check_name("name", name, may_be_empty=False)
    assert check_name("name", "", may_be_empty=True) == ""


@pytest.mark.parametrize(
    ("metadata", "error"),
    [
        ([("a", "b")], TypeError),
        ({"a": 1}, TypeError),
        ({1: "a"}, TypeError),
        ({"a": "x" * 254}, ValueError),
        ({str(n): "x" for n in range(100)}, ValueError),
    ],
)
def test_metadata_that_does_not_fit(metadata: Any, error: type[Exception]) -> None:
    """256 bytes with two for each pair; one less is taken, as a copy."""
    with pytest.raises(error, match="metadata must"):
        check_metadata(metadata)
    given = {"a": "x" * 253}
    copy = check_metadata(given)
    given.clear()
    assert copy == {"a": "x" * 253}

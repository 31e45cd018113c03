"""The value that ``statistics()`` returns."""

from __future__ import annotations

import dataclasses

import pytest

from trio_xsock import SocketStatistics


def test_statistics_have_the_documented_fields() -> None:
    """SPEC 3.6 lists the counters; all of them begin at 0."""
    names = [field.name for field in dataclasses.fields(SocketStatistics)]
    assert names == [
        "bytes_in",
        "bytes_out",
        "packets_in",
        "packets_out",
        "packets_dropped",
        "bytes_available",
        "bytes_left_to_send",
        "events_posted",
        "events_merged",
        "read_pauses",
    ]
    assert set(dataclasses.astuple(SocketStatistics())) == {0}


def test_statistics_are_a_value() -> None:
    """They compare by content, cannot be changed, and take no attributes."""
    first = SocketStatistics(bytes_in=1)
    assert first == SocketStatistics(bytes_in=1) != SocketStatistics(bytes_in=2)
    with pytest.raises(dataclasses.FrozenInstanceError):
        first.bytes_in = 2  # type: ignore[misc]
    assert not hasattr(first, "__dict__")

"""The options of ``AutoDiscovery``, checked at construction."""

from __future__ import annotations

from typing import Any

import pytest

from trio_xsock import (
    AutoDiscovery,
    InvalidPortError,
)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"name": "x" * 65}, ValueError),
        ({"name": 5}, TypeError),
        ({"metadata": {"a": 1}}, TypeError),
        ({"key": "text"}, TypeError),
        ({"key": b""}, ValueError),
        ({"heartbeat_interval": 0}, ValueError),
        ({"heartbeat_interval": 601, "expiry": 3000}, ValueError),
        ({"expiry": 1}, ValueError),
        ({"expiry": 4000}, ValueError),
        ({"maximum_members": 0}, ValueError),
        ({"port": 65536}, InvalidPortError),
    ],
)
def test_options_that_are_none(options: Any, error: type[Exception]) -> None:
    """Refused at construction, by type or by value."""
    with pytest.raises(error):
        AutoDiscovery(**options)

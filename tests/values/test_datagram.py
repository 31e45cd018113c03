"""``Datagram`` is a value."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from trio_xsock import Datagram, InvalidPortError


def test_a_datagram_is_a_frozen_value() -> None:
    """Equal by its parts, hashable, not to be changed."""
    datagram = Datagram("192.0.2.1", 7, b"data")
    assert (datagram.address, datagram.port, datagram.data) == ("192.0.2.1", 7, b"data")
    assert datagram == Datagram(address="192.0.2.1", port=7, data=b"data")
    assert len({datagram, Datagram("192.0.2.1", 7, b"data")}) == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        datagram.data = b""  # type: ignore[misc]
    assert dataclasses.replace(datagram, data=b"") == Datagram("192.0.2.1", 7, b"")
    assert repr(datagram) == "Datagram(address='192.0.2.1', port=7, data=b'data', local_address='')"


@pytest.mark.parametrize(
    "arguments",
    [(b"192.0.2.1", 7, b""), ("h", 7.0, b""), ("h", True, b""), ("h", 7, "text"), ("h", 7, b"", 1)],
)
def test_wrong_types_are_refused_at_construction(arguments: Any) -> None:
    with pytest.raises(TypeError, match="must be"):
        Datagram(*arguments)


def test_wrong_values_are_refused_at_construction() -> None:
    for port in (0, -1, 65536):
        with pytest.raises(InvalidPortError):
            Datagram("192.0.2.1", port, b"")
    with pytest.raises(ValueError, match="local_address"):
        Datagram("192.0.2.1", 7, b"", "name.example")

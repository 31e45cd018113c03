"""``Datagram`` is a value."""

from __future__ import annotations

import dataclasses

import pytest

from trio_xsock import Datagram


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

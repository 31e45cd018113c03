"""``Datagram`` is a value."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import Any

import pytest

from trio_xsock import Datagram, InvalidPortError
from trio_xsock._values.datagram import received_datagram


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


def test_the_address_of_ours_is_no_part_of_equality() -> None:
    """What was sent equals what was received, and both are one in a set."""
    sent = Datagram("192.0.2.1", 7, b"data")
    received = received_datagram("192.0.2.1", 7, b"data", "192.0.2.2")
    assert received == sent
    assert len({sent, received}) == 1
    assert received.local_address == "192.0.2.2"


def test_a_received_datagram_is_like_any_other() -> None:
    """However it was made: of the class, frozen, to be copied, pickled and replaced."""
    received = received_datagram("192.0.2.1", 7, b"data", "192.0.2.2")
    assert type(received) is Datagram
    assert repr(received) == repr(Datagram("192.0.2.1", 7, b"data", "192.0.2.2"))
    for again in (
        copy.copy(received),
        copy.deepcopy(received),
        pickle.loads(pickle.dumps(received)),
    ):
        assert dataclasses.astuple(again) == dataclasses.astuple(received)
    answer = dataclasses.replace(received, data=b"answer")
    assert dataclasses.astuple(answer) == ("192.0.2.1", 7, b"answer", "192.0.2.2")
    for change in (lambda: setattr(received, "port", 8), lambda: delattr(received, "port")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            change()
    assert not hasattr(received, "__dict__")

"""The events as values."""

from __future__ import annotations

import dataclasses
from typing import Any, get_args, get_origin

import pytest

from trio_xsock import (
    Connected,
    DataAvailable,
    ErrorOccurred,
    Event,
    SendComplete,
    SendProgress,
    SocketError,
)

SOCKET = object()
ERROR = SocketError("gone")

# SPEC 4.1: the fields of each event, after ``socket``.
EVENTS: list[tuple[Any, dict[str, Any]]] = [
    (Connected, {}),
    (DataAvailable, {}),
    (SendProgress, {"bytes_sent": 1, "bytes_left": 2, "total_sent": 3}),
    (SendComplete, {"user_aborted": True, "bytes_sent": 1, "bytes_unsent": 2}),
    (ErrorOccurred, {"error": ERROR}),
]


@pytest.mark.parametrize(("kind", "fields"), EVENTS)
def test_an_event_is_a_frozen_value(kind: Any, fields: dict[str, Any]) -> None:
    """It has ``socket`` and the documented fields in order, and none can be changed or added."""
    event = kind(SOCKET, *fields.values())
    assert [field.name for field in dataclasses.fields(event)] == ["socket", *fields]
    assert event == kind(SOCKET, **fields)
    assert event != kind(object(), **fields)
    assert hash(event) == hash(kind(SOCKET, **fields))
    assert not hasattr(event, "__dict__")
    for name in ("socket", *fields):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(event, name, None)


@pytest.mark.parametrize(("kind", "fields"), EVENTS)
def test_an_event_can_be_matched(kind: Any, fields: dict[str, Any]) -> None:
    """``match`` takes it apart by position, the socket first."""
    match kind(SOCKET, *fields.values()):
        case Connected(socket) | DataAvailable(socket):
            values: tuple[Any, ...] = ()
        case SendProgress(socket, sent, left, total):
            values = sent, left, total
        case SendComplete(socket, aborted, sent, unsent):
            values = aborted, sent, unsent
        case ErrorOccurred(socket, error):
            values = (error,)
    assert socket is SOCKET
    assert values == tuple(fields.values())


def test_the_union_names_every_event() -> None:
    """``Event`` is what a type checker goes through in a ``match``."""
    assert {get_origin(kind) for kind in get_args(Event)} >= {kind for kind, _ in EVENTS}

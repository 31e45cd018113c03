"""A handler object that writes down what it was called with."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from trio_xsock import LostConnectionError, SocketHandler
from trio_xsock._runtime.handlers import METHODS
from trio_xsock.testing import HandlerCall, RecordingHandler, memory_socket_pair


async def test_records_in_order_with_arguments(autojump_clock: trio.testing.MockClock) -> None:
    """A whole life of a socket."""
    handler = RecordingHandler()
    async with memory_socket_pair(left={"handler": handler}) as (left, right):
        await left.send_all(b"12345")
        await right.send_all(b"x")
        await handler.wait_for("on_data_available")
        await right.aclose()
        call = await handler.wait_for("on_error")
    assert isinstance(call.arguments[1], LostConnectionError)
    assert handler.calls == [
        HandlerCall("on_connected", (left,)),
        HandlerCall("on_send_progress", (left, 5, 0)),
        HandlerCall("on_send_complete", (left, False)),
        HandlerCall("on_data_available", (left,)),
        HandlerCall("on_error", (left, left.last_error)),
    ]
    assert handler.names == [
        "on_connected",
        "on_send_progress",
        "on_send_complete",
        "on_data_available",
        "on_error",
    ]


async def test_waits_for_the_nth_call(autojump_clock: trio.testing.MockClock) -> None:
    """Those that were made before count; clearing forgets them."""
    handler = RecordingHandler()

    async def call_later() -> None:
        for number in range(3):
            await trio.sleep(1)
            handler.on_send_complete(number, False)

    handler.on_send_complete("before", True)
    with trio.testing.assert_checkpoints():
        first = await handler.wait_for("on_send_complete")
    assert first.arguments == ("before", True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(call_later)
        third = await handler.wait_for("on_send_complete", 3)
        assert third.arguments == (1, False)
        assert trio.current_time() == 2
        handler.calls.clear()
        assert (await handler.wait_for("on_send_complete")).arguments == (2, False)


@pytest.mark.parametrize(("name", "count"), [("on_eror", 1), ("", 1), ("on_error", 0)])
async def test_refuses_what_would_wait_for_ever(name: str, count: int) -> None:
    """A wrong name is an error at once."""
    with pytest.raises(ValueError):
        await RecordingHandler().wait_for(name, count)


def test_has_every_method_of_a_handler() -> None:
    """Nothing goes unrecorded."""
    for name in METHODS:
        assert name in vars(RecordingHandler)
        assert name in vars(SocketHandler)


async def test_can_be_derived_from() -> None:
    """And may then do something as well."""

    class Echo(RecordingHandler):
        def on_data_available(self, socket: Any) -> None:
            super().on_data_available(socket)
            socket.write(socket.read_all())

    handler = Echo()
    async with memory_socket_pair(right={"handler": handler}) as (left, _):
        await left.send_all(b"echo")
        assert await left.receive_exactly(4) == b"echo"
    assert "on_data_available" in handler.names

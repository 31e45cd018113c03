"""What the machine has found, each as a short test of its own."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from trio_xsock import Event, SendComplete
from trio_xsock.testing import RecordingHandler, memory_socket_pair


async def test_the_news_of_a_send_that_failed_between_two_handler_calls() -> None:
    """An attempt to send that sends nothing may still have something to tell."""

    class ClosesThePeer(RecordingHandler):
        def on_send_progress(self, socket: Any, bytes_sent: int, bytes_left: int) -> None:
            super().on_send_progress(socket, bytes_sent, bytes_left)
            if len(self.calls) == 3:
                left.close()

    handler = ClosesThePeer()
    async with memory_socket_pair(
        progress_interval=10, right={"handler": handler}, left={"receive_buffer_limit": 1}
    ) as (left, right):
        right.write(bytes(100))
        await trio.testing.wait_all_tasks_blocked()
        assert handler.names == [
            "on_connected",
            "on_send_progress",
            "on_send_progress",
            "on_send_complete",
            "on_error",
        ]


async def test_a_channel_does_not_end_while_something_is_queued_again() -> None:
    """After the peer's end, too, and whoever asks: a waiting task or one that looks."""
    async with memory_socket_pair(100, right={"receive_buffer_limit": 1}) as (left, right):
        channel = left.subscribe()
        await right.send_eof()
        await trio.testing.wait_all_tasks_blocked()
        left.write(bytes(102))
        left.abort_send()
        left.write(b"queued again")
        events: list[Event] = []
        with pytest.raises(trio.WouldBlock):
            while True:
                events.append(channel.receive_nowait())
        assert left.bytes_left_to_send == 12

        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def read() -> None:
                while right.bytes_available or left.bytes_left_to_send:
                    right.purge()
                    await trio.testing.wait_all_tasks_blocked()

            events += [event async for event in channel]
        assert not left.bytes_left_to_send
        completes = [event for event in events if isinstance(event, SendComplete)]
        assert sum(event.bytes_sent for event in completes) == left.bytes_sent

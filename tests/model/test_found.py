"""What the machine has found, each as a short test of its own."""

from __future__ import annotations

from typing import Any

import trio
import trio.testing

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

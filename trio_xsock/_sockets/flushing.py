"""Waiting until the send queue is empty, and how the calls that send wait."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from trio_xsock._engine.writing import send_now
from trio_xsock._runtime.guard import Parking
from trio_xsock._values.errors import SocketError

if TYPE_CHECKING:
    from .facts import ConnectionFacts


async def wait_until_flushed(socket: ConnectionFacts) -> None:
    """Park until the queue is empty and the OS has taken the output of TLS."""
    socket._check_thread()
    connection = socket._connection
    outlet = connection.outlet
    parking: Parking[None] = Parking()
    outlet.wait_until_empty(parking)
    if outlet.ledger.open:
        send_now(connection)
    await park(socket, parking, lambda: outlet.waits.forget_flusher(parking))
    transport = connection.transport
    if transport is not None and transport.unsent:
        drained: Parking[None] = Parking()
        connection.link.wait_until_drained(drained)
        await park(socket, drained, lambda: connection.link.forget_drainer(drained))


async def park(socket: ConnectionFacts, parking: Parking[None], leave: Callable[[], None]) -> None:
    """Wait until woken; then the handlers of the events that ended the wait have run.

    Args:
        socket: the one that sends.
        parking: where to wait.
        leave: called when the wait is cancelled.

    Raises:
        SocketError: why there is no more to wait for.

    Cancellation: no more waiting; ``leave`` has been called.
    """
    try:
        await parking.park(leave)
    except SocketError:
        await socket._settle()  # noqa: ASYNC120 - cancelled only if a handler failed
        raise
    except BaseException:  # cancelled: no more waiting
        socket._run_handlers()
        raise
    await socket._settle()

"""``wait_for_connection``: a message socket may be used before its peer is there."""

from __future__ import annotations

import math
from typing import Final

import trio

from trio_xsock._machines.state import CONNECTED, SocketState
from trio_xsock._network.options import check_seconds
from trio_xsock._runtime.guard import Parking, protect_from_ki
from trio_xsock._values.errors import SocketError

from .queueing import QueueCalls

_UNTIL_PEER: Final = (SocketState.CONNECTING, SocketState.LISTENING)


@protect_from_ki
class ConnectionWaiting(QueueCalls):
    """What an ``EasyTCPSocket`` can do to wait for its peer."""

    __slots__ = ("_awaiting_peer",)

    def _init_waiting(self) -> None:
        self._awaiting_peer: list[Parking[bool]] = []

    async def wait_for_connection(self, timeout: float | None = None) -> bool:  # noqa: ASYNC109 - Xojo's signature
        """Wait until the peer is there, after ``listen()`` or beside ``connect()``.

        Xojo: ``WaitForConnection``.

        Args:
            timeout: seconds; ``None`` for no limit, 0 to have a look.

        Returns:
            Whether the socket is connected; False when the time is up.

        Raises:
            LostConnectionError, ConnectError, other ``SocketError``: the connection was lost, or
                could not be made.
            SocketClosedError: we closed the socket, before or meanwhile.
            InvalidStateError: neither connecting nor listening.
            ValueError, TypeError: a time-out of a wrong type, or negative.

        Cancellation: changes nothing.
        """
        seconds = math.inf if timeout is None else check_seconds("timeout", timeout)
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._state is CONNECTED:
            await trio.lowlevel.cancel_shielded_checkpoint()
            return True
        if self._state not in _UNTIL_PEER:
            raise self._why_no_peer()
        self._check_thread()
        parking: Parking[bool] = Parking()
        self._awaiting_peer.append(parking)
        there = await self._park_for(parking, seconds, lambda: self._awaiting_peer.remove(parking))
        return bool(there)

    async def connect(self) -> None:
        """Connect to ``address`` and ``port``; see ``TCPSocket.connect``."""
        try:
            await super().connect()
        finally:
            self._fail_awaiting_peer()

    async def listen(self) -> None:
        """Wait for one peer on ``port``; see ``TCPSocket.listen``."""
        try:
            await super().listen()
        finally:
            self._fail_awaiting_peer()

    def _announce_connected(self) -> None:
        super()._announce_connected()
        awaiting, self._awaiting_peer = self._awaiting_peer, []
        for parking in awaiting:
            parking.unpark(True)

    def _fail_awaiting_peer(self) -> None:
        """If there will be no peer, tell those who wait for one."""
        if self._awaiting_peer and self._state not in _UNTIL_PEER:
            awaiting, self._awaiting_peer = self._awaiting_peer, []
            for parking in awaiting:
                parking.fail(self._why_no_peer())

    def _why_no_peer(self) -> SocketError:
        if self._closed_by_us:
            return self._closed_error()
        return self._last_error or self._not_connected()

    def _release(self) -> None:
        super()._release()
        self._fail_awaiting_peer()

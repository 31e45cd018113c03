"""The limit on how long to wait for a silent peer."""

from __future__ import annotations

import contextlib
import math
import socket as stdlib_socket
import struct
from collections.abc import Awaitable, Callable, Generator
from typing import Final, TypeVar

import trio

from trio_xsock import SocketError, TCPSocket
from trio_xsock._platform import sockets as platform

from ._beside import beside
from ._errors import PeerSilentError

T = TypeVar("T")

_LOOKS: Final = 8
"""How often to look for signs of life in the time that a peer may be silent."""
_LATE: Final = 0.05
"""Seconds after which a look comes late: the program was stopped, or blocked."""

# In struct tcp_info of linux/tcp.h: tcpi_bytes_acked and tcpi_bytes_received.
_PROGRESS: Final = struct.Struct("=QQ")
_PROGRESS_OFFSET: Final = 120


class Patience:
    """A limit on the peer's silence, not on the work: each sign of life renews it.

    Received bytes, and sent bytes that the peer's system acknowledges, are signs of life. Time in
    which this program was stopped, or waited for its own disk, does not count.

    Args:
        seconds: how long the peer may be silent; ``math.inf`` for no limit.
        peer: its name in messages.
    """

    def __init__(self, seconds: float, peer: str) -> None:
        self._seconds = seconds
        self._peer = peer
        self._deadline = math.inf
        self._at_work = 0

    def renew(self) -> None:
        """There was a sign of life: the time begins again."""
        self._deadline = trio.current_time() + self._seconds

    @contextlib.contextmanager
    def at_work(self) -> Generator[None]:
        """In this block the program waits for its own disk, not for the peer."""
        self._at_work += 1
        try:
            yield
        finally:
            self._at_work -= 1
            self.renew()

    async def during(
        self,
        work: Callable[[], Awaitable[T]],
        sock: TCPSocket | None = None,
        *,
        whole: bool = False,
    ) -> T:
        """Run ``work``, until the peer is silent for too long.

        Args:
            work: an async function.
            sock: the connection to the peer, to look at for signs of life.
            whole: the time is for all of the work: signs of life do not renew it.

        Raises:
            PeerSilentError: the peer was silent for too long; the work was cancelled.
        """
        with trio.CancelScope() as scope:
            return await beside(lambda: self._watch(scope, sock, whole), work)
        raise PeerSilentError(f"{self._peer} was silent for {_seconds(self._seconds)}")

    async def _watch(self, scope: trio.CancelScope, sock: TCPSocket | None, whole: bool) -> None:
        self.renew()
        signs = _signs_of_life(sock)
        while True:
            look_at = min(self._deadline, trio.current_time() + self._seconds / _LOOKS)
            await trio.sleep_until(look_at)
            late = trio.current_time() - look_at
            if late > _LATE:
                self._deadline += late
                await _catch_up(sock)
            before, signs = signs, _signs_of_life(sock)
            if self._at_work or (signs != before and not whole):
                self.renew()
            elif trio.current_time() >= self._deadline:
                scope.cancel(reason="the peer was silent for too long")


def _seconds(number: float) -> str:
    return "1 second" if number == 1 else f"{number:g} seconds"


async def _catch_up(sock: TCPSocket | None) -> None:
    """Read what arrived while the program did not run."""
    if sock is not None:
        with contextlib.suppress(SocketError):  # the task that uses the socket gets it, too
            await sock.poll()
    await trio.lowlevel.checkpoint()


def _signs_of_life(sock: TCPSocket | None) -> tuple[int, int]:
    """Two numbers of which one changes when the peer sends or acknowledges anything."""
    if sock is None or sock.handle < 0:
        return 0, 0
    try:
        with stdlib_socket.fromfd(sock.handle, 0, stdlib_socket.SOCK_STREAM) as same:
            info = platform.tcp_info(same, _PROGRESS_OFFSET + _PROGRESS.size) or b""
        acknowledged, received = _PROGRESS.unpack_from(info, _PROGRESS_OFFSET)
    except (OSError, struct.error):  # no descriptor, or a kernel without these fields
        pass
    else:
        return acknowledged, received
    books = sock.statistics()
    return books.bytes_out, books.bytes_in

"""Frames over a connection, and the limit on how long a silent peer is waited for."""

from __future__ import annotations

from types import TracebackType
from typing import TypeVar

import trio

from ._errors import IncompleteTransferError, PeerSilentError
from ._transfer import UntrustedParser

T = TypeVar("T")

LINGER = 2.0
"""Seconds that a peer gets to take our last words when the transfer failed."""


class Patience:
    """A limit on the peer's silence, not on the work: each sign of life renews it.

    A context manager; leaving it after the time was up raises ``PeerSilentError``.
    """

    def __init__(self, seconds: float, peer: str) -> None:
        self._seconds = seconds
        self._peer = peer
        self._scope = trio.CancelScope()

    def renew(self) -> None:
        """The peer has shown that it lives."""
        self._scope.deadline = trio.current_time() + self._seconds

    def __enter__(self) -> None:
        self._scope = trio.CancelScope(deadline=trio.current_time() + self._seconds)
        self._scope.__enter__()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._scope.__exit__(exc_type, exc, traceback)
        if self._scope.cancelled_caught:
            raise PeerSilentError(f"{self._peer} was silent for {self._seconds:g} seconds")


async def read_frame(stream: trio.abc.ReceiveStream, parser: UntrustedParser[T]) -> T:
    """The next frame of the stream, and not a byte more than it.

    Raises:
        TransferFormatError: what comes is no such frame.
        IncompleteTransferError: the stream ends before the frame does.
        SocketError: the connection is lost.
    """
    while True:
        data = await stream.receive_some(parser.wanted)
        if not data:
            raise IncompleteTransferError("the connection ended early")
        frame = parser.feed(bytes(data))
        if frame is not None:
            return frame

"""Frames over a connection, and keep-alive frames while the disk is busy."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

from trio_xsock import SocketError, TCPSocket

from ._beside import beside
from ._errors import IncompleteTransferError
from ._patience import Patience
from ._transfer import UntrustedParser

T = TypeVar("T")

_REASSURE_EVERY = 1.0
"""Seconds between two frames to the peer while our disk is busy."""
LINGER = 2.0
"""Seconds that a peer gets to receive our last frame when the transfer failed."""


async def read_frame(stream: trio.abc.ReceiveStream, parser: UntrustedParser[T]) -> T:
    """The next frame of the stream, and not a byte more than it.

    Raises:
        TransferFormatError: the input is no such frame.
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


async def at_work(
    sock: TCPSocket,
    patience: Patience,
    word: Callable[[], bytes],
    work: Callable[[], Awaitable[T]],
) -> T:
    """Wait for our disk, and send a frame at intervals meanwhile.

    The time does not count as silence of the peer, and the frames keep the peer from giving up.

    Args:
        sock: the connection.
        patience: the limit on the peer's silence.
        word: makes the frame that is sent at intervals.
        work: what is waited for.
    """

    async def reassure() -> None:
        while True:
            await trio.sleep(_REASSURE_EVERY)
            try:
                # Not send_all: a cancellation must not leave half of a frame.
                sock.write(word())
            except SocketError:
                return

    with patience.at_work():
        return await beside(reassure, work)

"""Frames over a connection."""

from __future__ import annotations

from typing import TypeVar

import trio

from ._errors import IncompleteTransferError
from ._transfer import UntrustedParser

T = TypeVar("T")

LINGER = 2.0
"""Seconds that a peer gets to take our last words when the transfer failed."""


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

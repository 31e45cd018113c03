"""``receive_into``: receives into a file, piece by piece and in constant memory.

A piece leaves the receive buffer and is in the file before a cancellation is seen, so the file
always has exactly what left the buffer. While a thread writes, the buffer fills again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from trio_xsock._engine.byte_inbox import AnyReader, ByteInbox, Receiver
from trio_xsock._network.file_sink import FileSink
from trio_xsock._network.file_source import PIECE
from trio_xsock._values.errors import SocketClosedError


async def receive_into(
    sink: FileSink,
    inbox: ByteInbox,
    receive: Callable[[Receiver], Awaitable[Any]],
    count: int | None,
    progress: Callable[[int], object] | None,
) -> int:
    """Receive until ``count`` bytes are in the file, or the stream ends.

    Args:
        sink: the file; it is finished in any case.
        inbox: where bytes that could not be written are put back.
        receive: serves a reader, or lets it wait.
        count: how many bytes; ``None`` for all.
        progress: called with the number of bytes written so far.

    Returns:
        How many bytes were written.

    Raises:
        OSError: writing failed.
        SocketClosedError: the socket was connected again while the file was written.
        SocketError: the stream ended, and not cleanly.

    Cancellation: between two pieces.
    """
    connections = inbox.connections
    try:
        while count is None or sink.written < count:
            if inbox.connections != connections:
                text = "the connection has ended, and the socket has another one"
                raise SocketClosedError(text)
            most = PIECE if count is None else min(PIECE, count - sink.written)
            piece: bytes = await receive(AnyReader(inbox.buffer, most))
            if not piece:
                break
            await _write(sink, inbox, piece)
            if progress is not None:
                progress(sink.written)
    finally:
        await sink.finish()  # noqa: ASYNC102 - it is shielded, and waits for the disk only
    return sink.written


async def _write(sink: FileSink, inbox: ByteInbox, piece: bytes) -> None:
    before, connections = sink.written, inbox.connections
    try:
        await sink.write(piece)
    except BaseException:
        unwritten = piece[sink.written - before :]
        if unwritten and inbox.connections == connections:
            inbox.settle()
            inbox.buffer.put_back(unwritten)
        raise

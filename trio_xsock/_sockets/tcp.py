"""``TCPSocket``: the stream socket, with its options."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import trio

from trio_xsock._engine.byte_inbox import ByteInbox
from trio_xsock._engine.options import checked_options
from trio_xsock._network.interface import NetworkInterface
from trio_xsock._runtime.channel import EventChannel
from trio_xsock._runtime.guard import protect_from_ki
from trio_xsock._values.events import StreamEvent

from .sending import SendCalls


@protect_from_ki
class TCPSocket(SendCalls, trio.abc.HalfCloseableStream):
    """One TCP connection: buffered reads, accounted sends, events. Xojo: ``TCPSocket``.

    A ``trio.abc.HalfCloseableStream`` that lives in ``async with``::

        async with TCPSocket("example.org", 80) as sock:
            await sock.connect()
            await sock.send_all(b"...")
            async for chunk in sock:
                ...

    Args:
        address: the host name or IP address to reach.
        port: the port to reach, 1..65535.
        handler: a callback object, see ``SocketHandler``.
        events: a channel to post into, which other sockets may share.
        network_interface: the interface to connect from.
        bind_address: a local IP address to connect from; ``""`` lets the OS choose.
        bind_port: a local port to connect from; 0 lets the OS choose.
        receive_buffer_limit: unread bytes at which the socket stops reading until the reader
            catches up, so that TCP slows the peer down.
        send_buffer_limit: bytes that ``write`` queues at the most.
        progress_interval: bytes that one ``SendProgress`` reports at the most.
        allow_half_close: what to do when the peer ends its direction: True, go on sending
            until we close; False, close too, once the queue is sent; ``None``, False for a
            socket with a handler and True for others.
        keepalive: seconds of idleness, seconds between probes, and the number of unanswered
            probes after which the connection ends; ``None`` for off.
        unacknowledged_timeout: seconds after which the connection ends if the peer acknowledges
            nothing while data is in flight; ``None`` for off.
        idle_timeout: seconds without a byte in either direction after which the connection ends;
            ``None`` for off.

    All options are attributes too.

    Raises:
        InvalidPortError: ``port`` or ``bind_port`` is outside 0..65535.
        TypeError, ValueError: another option is of a wrong type, or out of its range.
    """

    __slots__ = ()

    if TYPE_CHECKING:

        @property
        def events(self) -> EventChannel[StreamEvent[Self]]: ...
        def subscribe(self) -> EventChannel[StreamEvent[Self]]: ...

    def __init__(
        self,
        address: str = "",
        port: int = 0,
        *,
        handler: object = None,
        events: EventChannel | None = None,
        network_interface: NetworkInterface | None = None,
        bind_address: str = "",
        bind_port: int = 0,
        receive_buffer_limit: int = 2**20,
        send_buffer_limit: int = 2**26,
        progress_interval: int = 65536,
        allow_half_close: bool | None = None,
        keepalive: tuple[int, int, int] | None = None,
        unacknowledged_timeout: float | None = None,
        idle_timeout: float | None = None,
    ) -> None:
        options = checked_options(
            receive_buffer_limit=receive_buffer_limit,
            send_buffer_limit=send_buffer_limit,
            progress_interval=progress_interval,
            allow_half_close=allow_half_close,
            keepalive=keepalive,
            unacknowledged_timeout=unacknowledged_timeout,
            idle_timeout=idle_timeout,
        )
        super().__init__(
            address, port, handler, events, network_interface, options, bind_address, bind_port
        )

    def _new_inbox(self) -> ByteInbox:
        return ByteInbox(self._delivery)

    async def __aenter__(self) -> Self:
        return await super().__aenter__()

"""``TCPSocket``: the stream socket, with its options."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import trio

from trio_xsock._engine.byte_inbox import ByteInbox
from trio_xsock._engine.reasons import check_sending, why_not_sending
from trio_xsock._engine.requests import end_output, queue_bytes
from trio_xsock._network.file_source import FileArgument, open_source, source_of
from trio_xsock._network.interface import NetworkInterface
from trio_xsock._runtime.channel import EventChannel
from trio_xsock._runtime.guard import Parking, protect_from_ki
from trio_xsock._values.events import StreamEvent
from trio_xsock._values.typing import Buffer

from .file_sending import FileSend
from .flushing import wait_until_flushed
from .receiving import ReceiveCalls
from .sending import as_bytes, send_bytes, snapshot


@protect_from_ki
class TCPSocket(ReceiveCalls, trio.abc.HalfCloseableStream):
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

    _INBOX = ByteInbox

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
        super().__init__(address, port, locals())

    async def __aenter__(self) -> Self:
        return await super().__aenter__()

    # Plain calls

    def write(self, data: Buffer | str, encoding: str = "utf-8") -> None:
        """Queue bytes to be sent, and return. Xojo: ``Write``.

        When nothing is queued it tries to send at once. If the connection turns out to be dead,
        the call still returns: the loss is posted, and the next call raises it.

        Args:
            data: any buffer, which is copied, or text.
            encoding: of text.

        Raises:
            OutOfMemoryError: more than ``send_buffer_limit`` bytes would be queued; nothing
                of ``data`` was.
            LostConnectionError: the connection is gone.
            SocketClosedError: we closed the socket, or our direction of it.
            InvalidStateError: not connected.
            TypeError: neither a buffer nor text.

        Events: ``SendProgress`` as it is sent, ``SendComplete`` when the queue is empty.
        """
        payload = data if type(data) is bytes else snapshot(data, encoding)
        queue_bytes(self._connection, payload, self, "send_all()")

    # Awaited calls

    async def send_all(self, data: Buffer) -> None:
        """Send bytes; the contract of ``trio.abc.SendStream``.

        They keep their place among those of ``write``, are not copied, and do not count
        against ``send_buffer_limit``.

        Args:
            data: any buffer; it may be changed again when the call has ended.

        Raises:
            LostConnectionError, SocketClosedError, InvalidStateError, TypeError: as for
                ``write``; the first two also if that happens meanwhile.
            SocketError: ``abort_send()`` dropped some of it, or the handler did.
            trio.BusyResourceError: another task is sending.

        Cancellation: what the OS has not taken yet is removed from the queue, exactly; the
        connection stays usable. Raised if and only if something was removed.
        Events: as for ``write``; ``SendComplete(user_aborted=True)`` after a cancellation.
        """
        outlet = self._connection.outlet
        outlet.enter()
        try:
            if type(data) is bytes:
                await send_bytes(self, data)
            else:
                with memoryview(data) as whole, as_bytes(whole) as view:
                    await send_bytes(self, view)
        finally:
            outlet.leave()

    async def send_file(
        self, file: FileArgument, *, offset: int = 0, count: int | None = None
    ) -> int:
        """Send a file, or a part of it, in constant memory.

        Args:
            file: a path, or a file opened for binary reading, which stays open; its position
                afterwards is not specified.
            offset: where to begin, in bytes from the beginning of the file.
            count: how many bytes to send; ``None`` for all there is from ``offset`` when the
                call begins, or until the end where that cannot be known (a pipe).

        Returns:
            How many bytes were sent; 0 if ``offset`` is past the end.

        Raises:
            SocketError: the file turned out shorter than ``count``, or than it was; the text
                says how many bytes went out. Also: ``abort_send()`` dropped some of it.
            OSError: opening or reading the file failed.
            TypeError, ValueError: not a binary file, or not such numbers.
            LostConnectionError, SocketClosedError, InvalidStateError, trio.BusyResourceError:
                as for ``send_all``.

        Cancellation: as for ``send_all``; the bytes that went out are in ``SendComplete``. Until
        a path is open, and until an endless file gives its first byte, nothing is queued. What a
        pipe of yours gave in that moment is lost, but not of one passed as a path.
        Events: as for ``write``, one batch for the whole file.
        Source: sendfile(2).
        """
        source = source_of(file, offset, count)
        connection = self._connection
        connection.outlet.enter()
        try:
            try:
                check_sending(connection, self)
                if source is None:
                    source = await open_source(file, offset, count)
                    check_sending(connection, self)
                sender = FileSend(connection, source, self)
                try:
                    sent = await sender.run()
                except BaseException:
                    sender.give_up()
                    self._run_handlers()
                    raise
                await self._settle()
                return sent
            finally:
                if source is not None:
                    source.close()
        finally:
            connection.outlet.leave()

    async def send_eof(self) -> None:
        """End our direction after what is queued; reading goes on.

        The contract of ``trio.abc.HalfCloseableStream``; idempotent.

        Raises:
            LostConnectionError, SocketClosedError, InvalidStateError: as for ``flush``.
            trio.BusyResourceError: another task is sending.

        Cancellation: seen at the start it changes nothing; later our direction still ends, when
        the queue has run empty.
        Events: ``SendComplete`` of what was queued.
        """
        connection = self._connection
        connection.outlet.enter()
        try:
            await trio.lowlevel.checkpoint_if_cancelled()
            self._check_thread()
            self._look()
            end_output(connection, self)
            await wait_until_flushed(self)
            if connection.ends.loss is not None:  # ending our direction found it lost
                raise why_not_sending(connection, self)
        finally:
            connection.outlet.leave()

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until a ``send_all`` might not block; the contract of ``trio.abc.SendStream``.

        Raises:
            LostConnectionError, SocketClosedError, InvalidStateError: as for ``flush``.
            trio.BusyResourceError: another task is sending.

        Cancellation: changes nothing.
        """
        connection = self._connection
        connection.outlet.enter()
        try:
            check_sending(connection, self)
            await trio.lowlevel.checkpoint_if_cancelled()
            self._check_thread()
            parking = Parking[None]()
            connection.outlet.wait_for_room(parking)
            await parking.park(connection.outlet.forget_room)
            check_sending(connection, self)
        finally:
            connection.outlet.leave()

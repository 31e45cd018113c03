"""The options and facts that all sockets with a connection have: limits, time-outs, endpoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import trio

from trio_xsock._engine import ticking
from trio_xsock._engine.by_caller import look, serve
from trio_xsock._engine.connection import Connection
from trio_xsock._engine.core import SocketCore
from trio_xsock._engine.intake import Inbox
from trio_xsock._engine.options import checked_options
from trio_xsock._engine.reading import is_behind
from trio_xsock._engine.reasons import why_not_sending
from trio_xsock._engine.security import Security
from trio_xsock._engine.writing import abort
from trio_xsock._machines.endpoint import check_address, check_port, format_endpoint
from trio_xsock._machines.state import CONNECTED, SocketState
from trio_xsock._network.handshake import TLSSetup
from trio_xsock._network.routes import check_bind_address, check_bind_port
from trio_xsock._network.socket_view import Descriptor
from trio_xsock._runtime.guard import protect_from_ki
from trio_xsock._values.errors import SocketError
from trio_xsock._values.events import Connected, DataAvailable, ErrorOccurred, Event
from trio_xsock._values.statistics import SocketStatistics
from trio_xsock._values.typing import Address

from .connection_option import ConnectionOption
from .flushing import wait_until_flushed
from .incoming import Incoming
from .totals import Totals


@protect_from_ki
class ConnectionFacts(SocketCore):
    """The options and facts of a socket with a connection."""

    __slots__ = (
        "_address",
        "_bind_address",
        "_bind_port",
        "_connection",
        "_earlier",
        "_inbox",
        "_incoming",
        "_options",
    )

    _connection: Connection
    _earlier: Totals
    _inbox: Inbox
    _incoming: Incoming | None

    _security: Security | None = None
    """How to do TLS; ``None`` for sockets that do none."""

    def __init__(self, address: str, port: int, given: Mapping[str, Any]) -> None:
        self._address = check_address(address)
        super().__init__(port, given["handler"], given["events"], given["network_interface"])
        self._options = checked_options(given)
        self._bind_address = check_bind_address(given["bind_address"])
        self._bind_port = check_bind_port(given["bind_port"])

    # State and endpoints

    @property
    def state(self) -> SocketState:
        """The state of the socket."""
        self._notice_end()
        return self._connection.state

    @property
    def last_error(self) -> SocketError | None:
        """See ``SocketCore.last_error``."""
        self._notice_end()
        return self._delivery.last_error

    def _look(self) -> None:
        """Read what has arrived, for calls that return facts about it."""
        self._inbox.settle()
        self._notice_end()

    def _notice_end(self) -> None:
        if not self._connection.intake.served:
            look(self._connection)

    def _take_stock(self) -> None:
        ticking.look(self._connection)

    def _is_behind(self) -> bool:
        return is_behind(self._connection)

    @property
    def address(self) -> str:
        """The host name or IP address to reach; settable while closed. Xojo: ``Address``.

        Raises (assignment):
            InvalidStateError: the socket is not closed.
            TypeError: not a str.
        """
        return self._address

    @address.setter
    def address(self, address: str) -> None:
        self._check_closed("address")
        self._address = check_address(address)

    def _checked_port(self, port: int) -> int:
        return check_port(port, allow_zero=True, host=self._address)

    @property
    def bind_address(self) -> str:
        """The local IP address to connect from, ``""`` for the OS's choice.

        Settable while closed; it concerns ``connect()`` only. Xojo has no counterpart.

        Raises (assignment):
            InvalidStateError: the socket is not closed.
            TypeError, ValueError: not a str, or no IP address.
        """
        return self._bind_address

    @bind_address.setter
    def bind_address(self, address: str) -> None:
        self._check_closed("bind_address")
        self._bind_address = check_bind_address(address)

    @property
    def bind_port(self) -> int:
        """The local port to connect from, 0 for the OS's choice.

        Settable while closed; it concerns ``connect()`` only. Xojo has no counterpart.

        Raises (assignment):
            InvalidStateError: the socket is not closed.
            InvalidPortError: outside 0..65535.
            TypeError: not an int.
        """
        return self._bind_port

    @bind_port.setter
    def bind_port(self, port: int) -> None:
        self._check_closed("bind_port")
        self._bind_port = check_bind_port(port)

    @property
    def remote_address(self) -> str:
        """The peer's IP address, kept after the end; ``""`` before. Xojo: ``RemoteAddress``."""
        return self._connection.peer[0]

    @property
    def remote_port(self) -> int:
        """The peer's port, kept after the end; 0 before."""
        return self._connection.peer[1]

    @property
    def is_connected(self) -> bool:
        """Connected, and our direction is open. Xojo: ``IsConnected``."""
        self._notice_end()
        return self._connection.is_connected

    @property
    def handle(self) -> int:
        """The OS's descriptor, -1 when there is none. Xojo: ``Handle``."""
        descriptor = self._descriptor()
        return descriptor.fileno() if descriptor is not None else -1

    def _descriptor(self) -> Descriptor | None:
        if self._incoming is not None and self._incoming.listeners:
            return self._incoming.listeners[0]
        return self._connection.transport

    def _local_endpoint(self) -> Address | None:
        descriptor = self._descriptor()
        if descriptor is None:
            return None
        address: Any = descriptor.getsockname()
        return None if isinstance(address, str | bytes) else address  # a Unix socket's path

    @property
    def bytes_sent(self) -> int:
        """Bytes that the OS took on this connection."""
        return self._connection.outlet.bytes_sent

    @property
    def bytes_received(self) -> int:
        """Bytes that were taken from the OS on this connection, read or not; of TLS, decrypted."""
        self._look()
        return self._connection.intake.bytes_received

    @property
    def bytes_left_to_send(self) -> int:
        """Bytes queued and not yet taken by the OS. Xojo: ``BytesLeftToSend``."""
        return self._connection.outlet.ledger.left

    def __repr__(self) -> str:
        connection = self._connection
        where = ""
        if connection.transport is not None and connection.peer[0]:
            where = f" to {connection.endpoint}"
        elif self._address:
            where = f", {format_endpoint(self._address, self._port)}"
        return (
            f"<{type(self).__name__} {connection.state.value}{where}, {self._inbox.size} bytes "
            f"buffered, {connection.outlet.ledger.left} bytes queued>"
        )

    def statistics(self) -> SocketStatistics:
        """Counters since the socket was made, over all its connections."""
        self._look()
        return self._earlier.statistics(self._connection)

    def _events_now(self) -> list[Event]:
        connection = self._connection
        self._look()
        serve(connection)
        events: list[Event] = []
        if connection.state is CONNECTED:
            events.append(Connected(self))
        if self._inbox.announced:
            events.append(DataAvailable(self))
        error = connection.ends.announced or connection.failure
        if error is not None:
            events.append(ErrorOccurred(self, error))
        return events

    # The send queue

    def abort_send(self) -> None:
        """Drop all that is queued; the connection stays open. Always legal.

        A message of which a part was sent is completed by the socket, and counts as sent. Xojo:
        returning True from ``SendProgress``.

        A running ``send_all``, ``send_file`` or ``send`` raises ``SocketError``, because not all
        was sent.

        Events: ``SendComplete(user_aborted=True)`` if something was dropped.
        """
        self._check_thread()
        abort(self._connection)
        self._delivery.schedule()

    async def flush(self) -> None:
        """Wait until the queue is empty. Xojo: ``Flush``, which does not wait.

        Raises:
            LostConnectionError: the connection is gone, or is lost meanwhile.
            SocketClosedError: we closed the socket, before or meanwhile.
            InvalidStateError: not connected.

        Cancellation: aborts nothing.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        connection = self._connection
        self._look()
        if connection.transport is None or connection.ends.loss is not None:
            raise why_not_sending(connection, self)
        await wait_until_flushed(self)

    def _send_some(self) -> bool:
        """See ``Sender``; not for users."""
        return self._connection._send_some()

    def _abort_from_handler(self) -> None:
        """See ``Sender``; not for users."""
        abort(self._connection)

    # Options

    def _set_option(self, **option: object) -> None:
        self._options = options = self._options.changed(**option)
        self._connection.set_options(options)
        if options.allow_half_close is False:
            serve(self._connection)

    def _wants_tls(self) -> bool:
        """Whether the connection is to be encrypted from its beginning."""
        return self._security is not None and self._security.enabled

    def _tls_setup(self, *, server_side: bool) -> TLSSetup | None:
        """The parameters of the handshake at the beginning; ``None`` if there is none.

        Raises:
            TLSError: the options contradict each other, or a file cannot be used.
            NameResolutionError: the server's name is malformed.
        """
        security = self._security
        if security is None or not security.enabled:
            return None
        return security.setup(self._address, server_side=server_side)

    receive_buffer_limit: ConnectionOption[int] = ConnectionOption(
        "Bytes that may be unread before reading stops; takes effect at once."
    )
    send_buffer_limit: ConnectionOption[int] = ConnectionOption(
        "Bytes that may be queued by plain calls; takes effect at the next one."
    )
    progress_interval: ConnectionOption[int] = ConnectionOption(
        "Bytes that one ``SendProgress`` covers at the most; takes effect at once."
    )
    allow_half_close: ConnectionOption[bool | None] = ConnectionOption(
        """Whether our direction stays open when the peer ends its own.

        ``None``: not for a socket with a handler, and for all others.

        Raises (assignment):
            TypeError: neither a bool nor ``None``.
        """
    )
    keepalive: ConnectionOption[tuple[int, int, int] | None] = ConnectionOption(
        """Whether the kernel probes an idle peer; ``None`` for off. Takes effect at once.

        Seconds of idleness before the first probe, seconds between probes, and the number of
        unanswered ones after which the connection ends as ``TIMED_OUT``. Source: tcp(7).

        Raises (assignment):
            TypeError, ValueError: not three whole numbers of at least 1, or ``None``; the first
                two go up to 32767, the third to 127.
        """
    )
    unacknowledged_timeout: ConnectionOption[float | None] = ConnectionOption(
        """Seconds; ``None`` for off. Takes effect at once. Linux only.

        Ends a connection, as ``TIMED_OUT``, whose peer has acknowledged nothing for so long
        while data was in flight. A live peer that merely does not read is not ended: the OS
        asks it now and then, and it answers. If it vanishes meanwhile, the time runs from the
        first question that it leaves unanswered, and it takes three of them.

        Raises (assignment):
            TypeError, ValueError: not a number of seconds above 0, or ``None``.
        """
    )
    idle_timeout: ConnectionOption[float | None] = ConnectionOption(
        """Seconds; ``None`` for off. Takes effect at once.

        Ends a connection, as ``TIMED_OUT``, on which no byte went either way for so long.

        Raises (assignment):
            TypeError, ValueError: not a number of seconds above 0, or ``None``.
        """
    )

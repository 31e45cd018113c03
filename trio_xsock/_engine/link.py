"""The base of connected sockets: descriptor, books, and the facts about them.

The classes of a connection build on one another, each in a module of its own: ``Link``
(this one), ``Intake`` (reading), ``Outlet`` (writing), ``Ending`` (all the ends), ``Connection``
(connecting). The *steps* in them are plain functions that never wait; cancellation can only
happen between them, so the books are exact by construction.
"""

from __future__ import annotations

import abc
import socket as stdlib_socket
from typing import Any, Protocol

import trio

from trio_xsock._machines.buffer import ReceiveBuffer
from trio_xsock._machines.endpoint import check_address, check_port, format_endpoint
from trio_xsock._machines.ledger import SendLedger
from trio_xsock._machines.state import CONNECTED, CONNECTING
from trio_xsock._machines.time_limit import TimeLimit
from trio_xsock._network.interface import NetworkInterface
from trio_xsock._network.options import check_positive
from trio_xsock._runtime.channel import EventChannel
from trio_xsock._runtime.guard import Parking, protect_from_ki
from trio_xsock._runtime.readiness import Watch
from trio_xsock._values.errors import (
    InvalidStateError,
    LostConnectionError,
    SocketClosedError,
    SocketError,
)
from trio_xsock._values.events import Connected, DataAvailable, ErrorOccurred, Event
from trio_xsock._values.statistics import SocketStatistics
from trio_xsock._values.typing import Address

from .core import SocketCore

SMALLEST_READ = 65536
"""Bytes asked for in one read, unless reads come back full; larger ones are dear to allocate."""


class Owner(Protocol):
    """Whoever accepted a connection and counts it."""

    def _connection_ending(self, socket: Any, /) -> None:
        """The connection gives its place back; it may still linger."""

    def _connection_closed(self, socket: Any, /) -> None:
        """The connection has no descriptor any more."""

    def _connection_failed(self, socket: Any, /) -> None:
        """The connection's handler object, or a task of its, raised."""

    def _peer_failed(self, socket: Any, error: Exception, /) -> None:
        """The library's own work for the connection raised; never raises itself."""


class Borrower(Protocol):
    """An iterator that has looked at a piece of the receive buffer and not taken it yet."""

    def settle(self) -> None:
        """Take what was used of it; somebody else is about to look at the buffer."""


class Receiver(Parking[Any]):
    """A task that waits for input, and what it wants.

    Attributes:
        limit: how many bytes may have to be buffered before it is content.
    """

    __slots__ = ("limit",)

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit

    @abc.abstractmethod
    def serve(self, ended: SocketError | None) -> bool:
        """Try to satisfy the task from the buffer.

        Args:
            ended: why nothing more will come, or ``None`` if more may.

        Returns:
            True if the task was content, or failed, and waits no more.
        """


@protect_from_ki
class Link(SocketCore):
    """One TCP connection at a time, and what is known of it."""

    __slots__ = (
        "_address",
        "_ack_poll",
        "_allow_half_close",
        "_announce_local_end",
        "_blocked",
        "_borrower",
        "_buffer",
        "_bytes_in",
        "_bytes_out_before",
        "_bytes_sent",
        "_closed_by_us",
        "_closing_limit",
        "_closings",
        "_connect_scope",
        "_discarded",
        "_eof_sent",
        "_flushers",
        "_input_ended",
        "_ledger",
        "_loss",
        "_loss_announced",
        "_notes_activity",
        "_output_ended",
        "_owner",
        "_progress_interval",
        "_read_pauses",
        "_read_size",
        "_reading",
        "_receive_buffer_limit",
        "_receiver",
        "_released",
        "_remote_address",
        "_remote_port",
        "_send_buffer_limit",
        "_transport",
        "_sender_refusal",
        "_unannounced",
        "_watch",
    )

    def __init__(
        self,
        address: str,
        port: int,
        handler: object,
        events: EventChannel | None,
        network_interface: NetworkInterface | None,
        receive_buffer_limit: int,
        send_buffer_limit: int,
        progress_interval: int,
        allow_half_close: bool | None,
    ) -> None:
        self._address = check_address(address)
        super().__init__(port, handler, events, network_interface)
        self._receive_buffer_limit = check_positive("receive_buffer_limit", receive_buffer_limit)
        self._send_buffer_limit = check_positive("send_buffer_limit", send_buffer_limit)
        self._progress_interval = check_positive("progress_interval", progress_interval)
        self._allow_half_close = allow_half_close
        self._buffer = ReceiveBuffer()
        self._ledger = self._hub.ledger = SendLedger()
        self._transport: stdlib_socket.socket | None = None
        self._watch: Watch | None = None
        self._receiver: Receiver | None = None
        self._connect_scope: trio.CancelScope | None = None
        self._flushers: list[Parking[None]] | None = None  # most connections never have one
        self._closings: list[Parking[None]] | None = None
        self._remote_address = ""
        self._remote_port = 0
        self._bytes_in: int = 0
        self._bytes_out_before: int = 0
        self._bytes_sent: int = 0
        self._read_pauses: int = 0
        self._closed_by_us = False
        self._owner: Owner | None = None
        self._borrower: Borrower | None = None
        self._notes_activity = False
        self._reset()

    def _reset(self) -> None:
        """Forget the previous connection, except for what its end left to be read."""
        self._loss: SocketError | None = None
        self._loss_announced = False
        self._sender_refusal: LostConnectionError | None = None
        self._announce_local_end = False
        self._input_ended = False
        self._output_ended = False
        self._eof_sent = False
        self._discarded = False
        self._unannounced = False
        self._blocked = False
        self._reading = False
        self._released = False
        self._bytes_out_before += self._bytes_sent
        self._bytes_sent = 0
        self._read_size = SMALLEST_READ
        self._closing_limit: TimeLimit | None = None
        self._ack_poll = 0.0

    # Facts

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
    def remote_address(self) -> str:
        """The peer's IP address, kept after the end; ``""`` before. Xojo: ``RemoteAddress``."""
        return self._remote_address

    @property
    def remote_port(self) -> int:
        """The peer's port, 0 when there is no connection."""
        return self._remote_port if self._transport is not None else 0

    @property
    def is_connected(self) -> bool:
        """Connected, and our direction is open. Xojo: ``IsConnected``."""
        return self._state is CONNECTED and not self._output_ended and self._loss is None

    @property
    def handle(self) -> int:
        """The OS's descriptor, -1 when there is none. Xojo: ``Handle``."""
        return self._transport.fileno() if self._transport is not None else -1

    def _local_endpoint(self) -> Address | None:
        if self._transport is None:
            return None
        address: Any = self._transport.getsockname()
        return None if isinstance(address, str | bytes) else address  # a Unix socket's path

    @property
    def _bytes_out(self) -> int:
        """Bytes that the OS took, over all connections."""
        return self._bytes_out_before + self._bytes_sent

    def _settle(self) -> None:
        """Before anybody looks at the receive buffer from outside."""
        if self._borrower is not None:
            self._borrower.settle()

    def statistics(self) -> SocketStatistics:
        """Counters since the socket was made, over all its connections."""
        self._settle()
        return SocketStatistics(
            bytes_in=self._bytes_in,
            bytes_out=self._bytes_out,
            bytes_available=self._buffer.size,
            bytes_left_to_send=self._ledger.left,
            events_posted=self._hub.posted,
            events_merged=self._hub.merged,
            read_pauses=self._read_pauses,
        )

    def _events_now(self) -> list[Event]:
        events: list[Event] = []
        if self._state is CONNECTED:
            events.append(Connected(self))
        if self._buffer.size and not self._unannounced:  # else it is announced to all
            events.append(DataAvailable(self))
        if self._loss_announced and self._last_error is not None:
            events.append(ErrorOccurred(self, self._last_error))
        return events

    def _endpoint(self) -> str:
        return format_endpoint(self._remote_address, self._remote_port)

    def __repr__(self) -> str:
        where = ""
        if self._transport is not None and self._remote_address:
            where = f" to {self._endpoint()}"
        elif self._address:
            where = f", {format_endpoint(self._address, self._port)}"
        return (
            f"<{type(self).__name__} {self._state.value}{where}, {self._buffer.size} bytes "
            f"buffered, {self._ledger.left} bytes queued>"
        )

    # For the classes above

    def _post_if_active(self, kind: type[Any], *fields: object) -> None:
        hub = self._hub
        if kind in hub.wanted:
            hub.post(kind, (self, *fields))
            if hub.calls and not self._pumping:
                self._schedule_pump()

    def _not_connected(self) -> InvalidStateError:
        if self._keeper is None:
            text = "never connected; use `async with`, then connect()"
        elif self._state is CONNECTING:
            text = "still connecting; wait for connect() to return"
        else:
            text = "not connected; `await connect()` first"
        return InvalidStateError(f"{self!r}: {text}")

    def _closed_error(self, what: str = "the socket was closed") -> SocketClosedError:
        keeper = self._keeper
        cure = "connect() opens it again"
        if self._owner is not None or (keeper is not None and keeper.ended):
            cure = f"make a new {type(self).__name__}"
        error = SocketClosedError(f"{self!r}: {what}; {cure}")
        if keeper is not None and keeper.failures:
            error.__cause__ = keeper.failures[0]
        return error

    def _wake_keeper(self) -> None:
        assert self._keeper is not None
        self._keeper.wake()

    def _note_activity(self) -> None:
        """Bytes moved, one way or the other; called where ``_notes_activity`` says so."""

    @abc.abstractmethod
    def _resume_reading(self) -> None:
        """After something was taken: read on if there is room again."""

    @abc.abstractmethod
    def _discard_step(self, transport: stdlib_socket.socket) -> bool:
        """While closing: take input from the OS and drop it; whether anything happened."""

    @abc.abstractmethod
    def _end_input(self) -> None:
        """The OS says that nothing more will come."""

    @abc.abstractmethod
    def _lose(self, error: SocketError) -> None:
        """The connection is gone; what is buffered stays readable."""

    @abc.abstractmethod
    def _end_channels(self) -> None:
        """Iteration over events ends once the peer's end is announced and all is sent."""

    @abc.abstractmethod
    def _after_queue(self) -> None:
        """The send queue has run empty: go on with what waited for that."""

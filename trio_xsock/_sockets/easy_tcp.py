"""``EasyTCPSocket``: messages instead of bytes, with its options."""

from __future__ import annotations

import math
import ssl
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, NoReturn, Self

import trio

from trio_xsock._engine.message_inbox import MessageInbox
from trio_xsock._engine.reading import after_taking, resume_reading
from trio_xsock._engine.requests import queue_bytes
from trio_xsock._machines.framing import encode_message
from trio_xsock._machines.message_ledger import MessageLedger
from trio_xsock._network.interface import NetworkInterface
from trio_xsock._network.options import check_bool, check_count, check_seconds
from trio_xsock._network.tls_options import Path
from trio_xsock._runtime.channel import EventChannel
from trio_xsock._runtime.guard import protect_from_ki
from trio_xsock._runtime.message_hub import MESSAGE_METHODS, MessageHub
from trio_xsock._values.connection_types import SSLConnectionTypes
from trio_xsock._values.events import MessageEvent, ReceivedMessage
from trio_xsock._values.message import Message, check_command, check_message
from trio_xsock._values.typing import Buffer

from . import messages, secured, sending
from .connected import ConnectedSocket
from .constructing import security
from .tls_option import PathOption, TLSFact, TLSOption, TLSSwitch

_BETWEEN_CHECKPOINTS: Final = 64


@protect_from_ki
class EasyTCPSocket(ConnectedSocket, trio.abc.Channel[Message]):
    """One TCP connection that moves messages: a command and some bytes. Xojo: ``EasyTCPSocket``.

    A ``trio.abc.Channel[Message]`` that lives in ``async with``::

        async with EasyTCPSocket("example.org", 4000) as sock:
            await sock.connect()
            sock.send_message(1, b"hello")
            async for command, data in sock:
                ...

    The format on the wire is described byte by byte on the page about formats; it is not that
    of Xojo, which is not published.

    A received message goes to the first of: a ``wait_for_message`` for its command; the
    handler's ``on_received_message(socket, command, data)``; the first ``receive()`` or
    event channel that reads, where it is a ``ReceivedMessage``. Other events
    and the other methods of the handler are those of ``TCPSocket``, but for
    ``DataAvailable``.

    Args:
        handler: a callback object; ``on_connected``, ``on_received_message``,
            ``on_send_progress``, ``on_send_complete`` and ``on_error`` are called.
        receive_buffer_limit: bytes of unread messages at which the socket stops reading, so that
            TCP slows the peer down. A message that has begun to arrive may exceed it.
        send_buffer_limit: bytes that ``send_message`` queues at the most.
        tls: encrypt connections. A client verifies the server against the system's trust
            store, and its name against ``address``; a server needs a certificate.
        ssl_context: a context of your own, in place of the options about versions, files, ALPN
            and ``verify``. With one, connections are encrypted whatever ``tls`` says.
        max_message_size: bytes of data that a received message may have. A peer that announces
            more ends the connection before any of it is stored.

    The other arguments are those of ``TCPSocket`` and of ``SSLSocket``; what is about TLS matters
    with ``tls`` only, and takes effect at the next connection. All options are attributes too.

    Raises:
        InvalidPortError: ``port`` or ``bind_port`` is outside 0..65535.
        TypeError, ValueError: another option is of a wrong type, or out of its range.
    """

    __slots__ = ("_handed_out", "_tls")

    _HANDLER_METHODS = MESSAGE_METHODS
    _HUB = MessageHub
    _INBOX = MessageInbox
    _LEDGER = MessageLedger
    _inbox: MessageInbox

    if TYPE_CHECKING:

        @property
        def events(self) -> EventChannel[MessageEvent[Self]]: ...
        def subscribe(self) -> EventChannel[MessageEvent[Self]]: ...

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
        tls: bool = False,
        ssl_connection_type: SSLConnectionTypes | int = SSLConnectionTypes.SSLv23,
        ca_file: Path | None = None,
        certificate_file: Path | None = None,
        certificate_password: str = "",
        certificate_rejection_file: Path | None = None,
        require_client_certificate: bool = False,
        server_hostname: str | None = None,
        alpn_protocols: Sequence[str] = (),
        ssl_context: ssl.SSLContext | None = None,
        verify: bool = True,
        handshake_timeout: float = 30.0,
        https_compatible: bool = False,
        max_message_size: int = 2**24,
    ) -> None:
        given = locals()
        enabled = check_bool("tls", tls) or ssl_context is not None
        self._security = self._tls = security(given, enabled=enabled)
        self._handed_out = 0  # messages, since the last checkpoint of an iteration
        super().__init__(address, port, given)
        size = check_count("max_message_size", max_message_size)
        self._inbox.buffer.max_message_size = size

    async def __aenter__(self) -> Self:
        return await super().__aenter__()

    tls: TLSSwitch = TLSSwitch(
        """Whether connections are encrypted from their beginning on; settable while closed.

        Raises (assignment):
            InvalidStateError: the socket is not closed.
            TypeError: not a bool.
        """
    )
    ssl_connection_type: TLSOption[SSLConnectionTypes, SSLConnectionTypes | int] = (
        secured.ssl_connection_type
    )
    ca_file: PathOption = secured.ca_file
    certificate_file: PathOption = secured.certificate_file
    certificate_password: TLSOption[str, str] = secured.certificate_password
    require_client_certificate: TLSOption[bool, bool] = secured.require_client_certificate
    alpn_protocols: TLSOption[tuple[str, ...], Sequence[str]] = secured.alpn_protocols
    verify: TLSOption[bool, bool] = secured.verify
    ssl_context: TLSOption[ssl.SSLContext | None, ssl.SSLContext | None] = secured.ssl_context
    certificate_rejection_file: PathOption = secured.certificate_rejection_file
    server_hostname: TLSOption[str | None, str | None] = secured.server_hostname
    handshake_timeout: TLSOption[float, float] = secured.handshake_timeout
    https_compatible: TLSOption[bool, bool] = secured.https_compatible

    ssl_connecting: TLSFact[bool] = secured.ssl_connecting
    ssl_connected: TLSFact[bool] = secured.ssl_connected
    tls_version: TLSFact[str | None] = secured.tls_version
    cipher: TLSFact[str | None] = secured.cipher
    selected_alpn_protocol: TLSFact[str | None] = secured.selected_alpn_protocol
    peer_certificate: TLSFact[dict[str, Any] | None] = secured.peer_certificate
    peer_certificate_der: TLSFact[bytes | None] = secured.peer_certificate_der

    # What waits

    @property
    def messages_available(self) -> int:
        """Messages that have arrived and are unread."""
        return len(self._inbox.buffer.messages)

    @property
    def bytes_available(self) -> int:
        """Bytes of those, and of the message that is arriving, as they were on the wire."""
        return self._inbox.size

    @property
    def max_message_size(self) -> int:
        """Bytes of data that a received message may have; takes effect with the next one."""
        return self._inbox.buffer.max_message_size

    @max_message_size.setter
    def max_message_size(self, size: int) -> None:
        self._inbox.buffer.max_message_size = check_count("max_message_size", size)

    def purge(self) -> None:
        """Drop the messages that have arrived; the send queue is untouched. Xojo: ``Purge``."""
        self._inbox.clear()
        resume_reading(self._connection)

    # Receiving

    async def receive(self) -> Message:
        """Wait for the next message; the contract of ``trio.abc.ReceiveChannel``.

        ``async for command, data in sock:`` does so until the peer closes.

        Returns:
            The oldest message for which no ``wait_for_message`` waits.

        Raises:
            trio.EndOfChannel: the peer closed the connection gracefully, between two messages.
            LostConnectionError: it was reset or timed out, the peer closed it within a message,
                or sent an invalid one (``__cause__`` is a ``FramingError`` then).
            SocketClosedError: we closed the socket, before or meanwhile.
            InvalidStateError: never connected.

        Cancellation: no message is lost.
        """
        return await messages.receive(self)

    def __aiter__(self) -> Self:
        """Iterate over messages until the peer closes.

        Messages that have arrived are returned without a checkpoint each; there is one for
        every 64, and whenever the iterator has to wait.
        """
        return self

    async def __anext__(self) -> Message:
        if self._handed_out < _BETWEEN_CHECKPOINTS and not self._connection.ends.closed_by_us:
            message = messages.take(self._connection, self._inbox)
            if message is not None:
                self._handed_out += 1
                return message  # noqa: ASYNC910 - see __aiter__
        self._handed_out = 0
        try:
            return await messages.receive(self)
        except trio.EndOfChannel:
            raise StopAsyncIteration from None

    async def wait_for_message(self, command: int, timeout: float | None = None) -> bytes | None:  # noqa: ASYNC109 - Xojo's signature
        """Wait for a message with this command. Xojo: ``WaitForMessage``.

        One that has arrived already is returned at once. Messages with other commands are
        delivered as usual; unread ones count against ``receive_buffer_limit``, at which the
        socket stops reading.

        Args:
            command: 0..2**31-1.
            timeout: seconds; ``None`` for no limit, 0 for a message that has arrived already.

        Returns:
            The message's data, or ``None`` when the time is up.

        Raises:
            LostConnectionError: the connection has ended, or ends meanwhile, in any way.
            SocketClosedError: we closed the socket, before or meanwhile.
            InvalidStateError: never connected.
            ValueError, TypeError: a command or a time-out of a wrong type, or out of range.

        Cancellation: no message is lost or delivered twice.
        """
        check_command(command)
        seconds = math.inf if timeout is None else check_seconds("timeout", timeout)
        return await messages.wait_for_command(self, command, seconds)

    def _take_for_channel(self) -> ReceivedMessage:
        """A message becomes an event at the moment when a consumer takes it."""
        return ReceivedMessage(self, *messages.take_waiting(self._connection, self._inbox))

    def _has_messages(self) -> bool:
        return not self._inbox.is_empty

    def _handler_changed(self) -> None:
        """Deliver waiting messages to the new handler."""
        if self._keeper is not None:
            self._inbox.pass_to_handler()
            after_taking(self._connection)

    # Sending

    def send_message(self, command: int, data: Buffer | str = b"") -> None:
        """Queue a message to be sent, and return. Xojo: ``SendMessage``.

        When nothing is queued the OS is tried at once. Should that find the connection dead,
        the call still returns: the loss is posted, and the next call raises it.

        Args:
            command: what the data is, as you and the peer have agreed: 0..2**31-1.
            data: the content: any buffer, which is copied, or text, which is encoded as UTF-8.
                The peer's ``max_message_size`` limits its size.

        Raises:
            OutOfMemoryError: more than ``send_buffer_limit`` bytes would be queued; nothing
                of the message was.
            LostConnectionError: the connection is gone.
            SocketClosedError: we closed the socket.
            InvalidStateError: not connected.
            ValueError, TypeError: a command or data of a wrong type, or out of range.

        Events: ``SendProgress`` as it is sent, ``SendComplete`` when the queue is empty.
        """
        frame = encode_message(command, data)
        queue_bytes(self._connection, frame, self, "send()")

    async def send(self, value: Message) -> None:
        """Send a message; the contract of ``trio.abc.SendChannel``.

        Returns when the OS took all of it. It keeps its place among those of
        ``send_message``, and does not count against ``send_buffer_limit``. Many tasks may
        send at once.

        Args:
            value: a ``Message``, not a plain tuple.

        Raises:
            LostConnectionError, SocketClosedError, InvalidStateError, ValueError, TypeError: as
                for ``send_message``; the first two also if that happens meanwhile.
            SocketError: ``abort_send()`` dropped it, or the handler did.

        Cancellation: a message of which nothing was sent is removed from the queue; one that
        was begun is completed by the socket, and counts as sent. Raised either way.
        Events: as for ``send_message``; ``SendComplete(user_aborted=True)`` if it was removed.
        """
        check_message(value)
        await sending.send_bytes(self, encode_message(*value), messages.withdraw)

    # The peer

    async def wait_for_connection(self, timeout: float | None = None) -> bool:  # noqa: ASYNC109 - Xojo's signature
        """Wait for a connection, after ``listen()`` or during ``connect()``.

        Xojo: ``WaitForConnection``.

        Args:
            timeout: seconds; ``None`` for no limit, 0 to return at once.

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
        return await messages.wait_for_peer(self, seconds)

    # What would break the framing

    read: Callable[..., NoReturn] = messages.refuse_read
    read_all: Callable[..., NoReturn] = messages.refuse_read_all
    lookahead: Callable[..., NoReturn] = messages.refuse_lookahead
    write: Callable[..., NoReturn] = messages.refuse_write

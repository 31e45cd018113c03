"""``EasyTCPSocket``: messages instead of bytes, with its options."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn, Self

import trio

from trio_xsock._engine.message_inbox import MessageInbox
from trio_xsock._engine.options import checked_options
from trio_xsock._engine.security import Security
from trio_xsock._machines.message_ledger import MessageLedger
from trio_xsock._network.interface import NetworkInterface
from trio_xsock._network.options import check_bool, check_count
from trio_xsock._network.tls_options import Path
from trio_xsock._runtime.channel import EventChannel
from trio_xsock._runtime.guard import protect_from_ki
from trio_xsock._runtime.message_hub import MESSAGE_METHODS, MessageHub
from trio_xsock._values.connection_types import SSLConnectionTypes
from trio_xsock._values.errors import InvalidStateError
from trio_xsock._values.events import MessageEvent
from trio_xsock._values.message import Message

from .messages import MessageCalls
from .secured import Secured


@protect_from_ki
class EasyTCPSocket(Secured, MessageCalls, trio.abc.Channel[Message]):
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
        address: the host name or IP address to reach.
        port: the port to reach, 1..65535.
        handler: a callback object; ``on_connected``, ``on_received_message``,
            ``on_send_progress``, ``on_send_complete`` and ``on_error`` are called.
        events: a channel to post into, which other sockets may share.
        network_interface: the interface to connect from.
        bind_address: a local IP address to connect from; ``""`` lets the OS choose.
        bind_port: a local port to connect from; 0 lets the OS choose.
        receive_buffer_limit: bytes of unread messages at which the socket stops reading, so that
            TCP slows the peer down. A message that has begun to arrive may exceed it.
        send_buffer_limit: bytes that ``send_message`` queues at the most.
        progress_interval: bytes that one ``SendProgress`` reports at the most.
        allow_half_close: what to do when the peer ends its direction: as for ``TCPSocket``.
        keepalive: as for ``TCPSocket``, and so are the next two.
        unacknowledged_timeout: seconds, or ``None`` for off.
        idle_timeout: seconds, or ``None`` for off.
        tls: encrypt connections. A client verifies the server against the system's trust
            store, and its name against ``address``; a server needs a certificate.
        ssl_context: a context of your own, in place of the options about versions, files, ALPN
            and ``verify``. With one, connections are encrypted whatever ``tls`` says.
        max_message_size: bytes of data that a received message may have. A peer that announces
            more ends the connection before any of it is stored.

    The other arguments are those of ``SSLSocket`` and matter with ``tls`` only. All options are
    attributes too; those of TLS take effect at the next connection.

    Raises:
        InvalidPortError: ``port`` or ``bind_port`` is outside 0..65535.
        TypeError, ValueError: another option is of a wrong type, or out of its range.
    """

    __slots__ = ("_max_message_size",)

    _HANDLER_METHODS = MESSAGE_METHODS

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
        self._max_message_size = check_count("max_message_size", max_message_size)
        self._handed_out = 0  # messages, since the last checkpoint of an iteration
        enabled = check_bool("tls", tls) or ssl_context is not None
        self._security = self._tls = Security(
            ssl_context,
            enabled=enabled,
            connection_type=ssl_connection_type,
            ca_file=ca_file,
            certificate_file=certificate_file,
            certificate_password=certificate_password,
            rejection_file=certificate_rejection_file,
            require_client_certificate=require_client_certificate,
            server_hostname=server_hostname,
            alpn_protocols=alpn_protocols,
            verify=verify,
            handshake_timeout=handshake_timeout,
            https_compatible=https_compatible,
        )
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

    def _new_hub(self) -> MessageHub:
        return MessageHub()

    def _new_inbox(self) -> MessageInbox:
        return MessageInbox(self._delivery, self._max_message_size)

    def _new_ledger(self) -> MessageLedger:
        return MessageLedger()

    async def __aenter__(self) -> Self:
        return await super().__aenter__()

    @property
    def tls(self) -> bool:
        """Whether connections are encrypted from their beginning on; settable while closed.

        Raises (assignment):
            InvalidStateError: the socket is not closed.
            TypeError: not a bool.
        """
        return self._tls.enabled

    @tls.setter
    def tls(self, enabled: bool) -> None:
        self._check_closed("tls")
        self._tls.set("enabled", check_bool("tls", enabled))

    # What would break the framing

    def read(self, *_: object, **__: object) -> NoReturn:
        """Refused: this socket moves messages, not bytes.

        Raises:
            InvalidStateError: always; the message says what to use.
        """
        raise self._no_bytes("read()", "receive()")

    def read_all(self, *_: object, **__: object) -> NoReturn:
        """Refused; see ``read``."""
        raise self._no_bytes("read_all()", "receive()")

    def lookahead(self, *_: object, **__: object) -> NoReturn:
        """Refused; see ``read``."""
        raise self._no_bytes("lookahead()", "messages_available")

    def write(self, *_: object, **__: object) -> NoReturn:
        """Refused; see ``read``."""
        raise self._no_bytes("write()", "send_message()")

    def _no_bytes(self, call: str, instead: str) -> InvalidStateError:
        return InvalidStateError(
            f"{self!r}: {call} is for sockets that move bytes; use {instead} instead"
        )

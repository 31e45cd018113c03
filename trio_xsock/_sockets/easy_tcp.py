"""``EasyTCPSocket``: messages instead of bytes, put together and with its options."""

from __future__ import annotations

import ssl
from typing import NoReturn, Self

import trio

from trio_xsock._engine.securing import Securing
from trio_xsock._network.handshake import TLSSetup
from trio_xsock._network.interface import NetworkInterface
from trio_xsock._network.options import check_bool, check_optional_bool
from trio_xsock._network.tls_context import context_for
from trio_xsock._network.tls_options import TLSOptions, check_context
from trio_xsock._runtime.channel import EventChannel
from trio_xsock._runtime.guard import protect_from_ki
from trio_xsock._runtime.message_hub import MESSAGE_METHODS
from trio_xsock._values.errors import InvalidStateError
from trio_xsock._values.message import Message

from .easy_sending import MessageOutlet


@protect_from_ki
class EasyTCPSocket(Securing, MessageOutlet, trio.abc.Channel[Message]):
    """One TCP connection that moves messages: a command and some bytes. Xojo: ``EasyTCPSocket``.

    A ``trio.abc.Channel[Message]`` that lives in ``async with``::

        async with EasyTCPSocket("example.org", 4000) as sock:
            await sock.connect()
            sock.send_message(1, b"hello")
            async for command, data in sock:
                ...

    The format on the wire is described byte by byte on the page about formats; it is not that
    of Xojo, which nobody has published.

    A message that comes goes to the first of: a ``wait_for_message`` for its command; the
    handler's ``on_received_message(socket, command, data)``; whoever asks first of
    ``receive()`` and the event channels, where it is a ``ReceivedMessage``. Other events
    and the other methods of the handler are those of ``TCPSocket``, but for
    ``DataAvailable``.

    Args:
        address: the host name or IP address to reach.
        port: the port to reach, 1..65535.
        handler: a callback object; ``on_connected``, ``on_received_message``,
            ``on_send_progress``, ``on_send_complete`` and ``on_error`` are called.
        events: a channel to post into, which other sockets may share.
        network_interface: the interface to connect from.
        receive_buffer_limit: bytes; when so many wait in messages that nobody has taken the
            socket stops reading, and TCP holds the peer back. A message that has begun to come
            may exceed it.
        send_buffer_limit: bytes that ``send_message`` queues at the most.
        progress_interval: bytes that one ``SendProgress`` tells of at the most.
        allow_half_close: what to do when the peer ends its direction: as for ``TCPSocket``.
        keepalive: as for ``TCPSocket``, and so are the next two.
        unacknowledged_timeout: seconds, or ``None`` for off.
        idle_timeout: seconds, or ``None`` for off.
        ssl_context: encrypt connections with this; a server needs one, with its certificate.
        tls: encrypt connections; without a ``ssl_context`` a client verifies the server
            against the system's trust store, and its name against ``address``.
        max_message_size: bytes of data that a received message may have. A peer that announces
            more ends the connection before any of it is kept.

    All options are attributes too.

    Raises:
        InvalidPortError: ``port`` is outside 0..65535.
        TypeError, ValueError: another option is of a wrong type, or out of its range.
    """

    __slots__ = ("_context", "_tls")

    _HANDLER_METHODS = MESSAGE_METHODS

    def __init__(
        self,
        address: str = "",
        port: int = 0,
        *,
        handler: object = None,
        events: EventChannel | None = None,
        network_interface: NetworkInterface | None = None,
        receive_buffer_limit: int = 2**20,
        send_buffer_limit: int = 2**26,
        progress_interval: int = 65536,
        allow_half_close: bool | None = None,
        keepalive: tuple[int, int, int] | None = None,
        unacknowledged_timeout: float | None = None,
        idle_timeout: float | None = None,
        ssl_context: ssl.SSLContext | None = None,
        tls: bool = False,
        max_message_size: int = 2**24,
    ) -> None:
        super().__init__(
            address,
            port,
            handler,
            events,
            network_interface,
            receive_buffer_limit,
            send_buffer_limit,
            progress_interval,
            check_optional_bool("allow_half_close", allow_half_close),
        )
        self._init_watchdogs(keepalive, unacknowledged_timeout, idle_timeout)
        self._init_waiting()
        self._init_messages(max_message_size)
        self._context = check_context(ssl_context, TLSOptions())
        self._tls = check_bool("tls", tls) or ssl_context is not None

    async def __aenter__(self) -> Self:
        return await super().__aenter__()

    @property
    def tls(self) -> bool:
        """Whether connections are encrypted from their beginning on."""
        return self._tls

    @property
    def ssl_context(self) -> ssl.SSLContext | None:
        """What they are encrypted with; ``None`` for the defaults of a client."""
        return self._context

    def _wants_tls(self) -> bool:
        return self._tls

    def _make_setup(self, *, server_side: bool) -> TLSSetup:
        context = self._context or context_for(TLSOptions(), server_side=server_side)
        return TLSSetup(context, server_side, None if server_side else self._address or None)

    def _given_server_side(self) -> bool:
        return self._context is not None and not self._address

    # What would break the framing

    def read(self, *_: object) -> NoReturn:
        """Refused: bytes are not what this socket is about.

        Raises:
            InvalidStateError: always; its text says what to use.
        """
        raise self._no_bytes("read()", "receive()")

    def read_all(self, *_: object) -> NoReturn:
        """Refused; see ``read``."""
        raise self._no_bytes("read_all()", "receive()")

    def lookahead(self, *_: object) -> NoReturn:
        """Refused; see ``read``."""
        raise self._no_bytes("lookahead()", "messages_available")

    def write(self, *_: object) -> NoReturn:
        """Refused; see ``read``."""
        raise self._no_bytes("write()", "send_message()")

    def _no_bytes(self, call: str, instead: str) -> InvalidStateError:
        return InvalidStateError(
            f"{self!r}: {call} is for sockets that move bytes; use {instead} instead"
        )

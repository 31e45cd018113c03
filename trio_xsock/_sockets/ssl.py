"""``SSLSocket``: a ``TCPSocket`` with TLS, and its options."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from typing import Any, Self

import trio

from trio_xsock._engine.connection import Connection
from trio_xsock._engine.losing import lose
from trio_xsock._engine.reading import resume_reading
from trio_xsock._engine.reasons import check_sending
from trio_xsock._engine.writing import send_now
from trio_xsock._network.interface import NetworkInterface
from trio_xsock._network.tls_options import Path
from trio_xsock._runtime.channel import EventChannel
from trio_xsock._runtime.guard import protect_from_ki
from trio_xsock._values.connection_types import SSLConnectionTypes
from trio_xsock._values.errors import InvalidStateError, SocketError
from trio_xsock._values.typing import Buffer

from . import secured
from .constructing import security, tcp_options
from .flushing import wait_until_flushed
from .secured import encryption_of
from .securing import secure
from .tcp import TCPSocket
from .tls_option import PathOption, TLSFact, TLSOption, TLSSwitch


@protect_from_ki
class SSLSocket(TCPSocket):
    """A ``TCPSocket`` whose connection is encrypted, and whose peer is verified.

    Xojo: ``SSLSocket``. Everything about ``TCPSocket`` applies here too::

        async with SSLSocket("example.org", 443) as sock:
            await sock.connect()
            await sock.send_all(b"...")

    ``connect()`` returns when the handshake is done and the server is verified: its certificate
    against the system's trust store, and its name against ``address``. Otherwise it raises
    ``TLSError``, nothing but an alert was sent, and the socket is closed.

    Bytes count as sent when they are encrypted; at most 64 KiB of them are ahead of the OS. A
    cancelled or aborted send is removed from the queue exactly; a record that was begun is
    completed by the socket itself, so the connection stays usable.

    Args:
        ssl_enabled: whether connections are encrypted from their beginning; with False,
            ``start_tls()`` encrypts them later.
        ssl_connection_type: which versions of TLS may be used.
        ca_file: a PEM file of the authorities to trust in place of the system's; for a server
            that asks for client certificates, the authorities for those.
        certificate_file: a PEM file of our certificate, its chain, and the private key; servers
            need one.
        certificate_password: the password of the key.
        certificate_rejection_file: a PEM file of certificates that are refused even if they are
            valid.
        require_client_certificate: for a server: refuse clients without a certificate.
        server_hostname: the server's name for SNI and verification, if it is not ``address``.
        alpn_protocols: the application protocols to offer, the preferred one first.
        ssl_context: a context of your own, in place of versions, files, ALPN and ``verify``. A
            renegotiation of TLS 1.2 while we send ends the connection;
            ``ssl.OP_NO_RENEGOTIATION`` refuses it.
        verify: for a client: whether the server is verified. Without it any machine in between
            can read and change everything.
        handshake_timeout: seconds that the handshake may take.
        https_compatible: treat the end of the connection as the end of the stream, even without
            close_notify. An attacker can truncate such a stream; only for protocols that mark
            the end of a message themselves.

    The other arguments are those of ``TCPSocket``. All options are attributes too; those of TLS
    take effect at the next connection, and are kept when a connection ends.

    Raises:
        InvalidPortError, TypeError, ValueError: as for ``TCPSocket``; also for an
            ``ssl_context`` together with options that it replaces.
    """

    __slots__ = ("_tls",)

    def __init__(
        self,
        address: str = "",
        port: int = 0,
        *,
        ssl_enabled: bool = True,
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
        given = locals()
        self._security = self._tls = security(given, enabled=ssl_enabled)
        super().__init__(address, port, **tcp_options(given))

    async def __aenter__(self) -> Self:
        return await super().__aenter__()

    ssl_enabled: TLSSwitch = TLSSwitch(
        """Whether TLS begins with the connection; settable while closed. Xojo: ``SSLEnabled``.

        Raises (assignment):
            InvalidStateError: the socket is not closed; there is ``start_tls()``.
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

    async def start_tls(self, *, announce: Buffer = b"", server_side: bool | None = None) -> None:
        """Encrypt this connection from here on. Xojo: ``SSLEnabled`` set while connected.

        Without a checkpoint in between, the socket checks for input, stops reading plaintext, and
        queues ``announce``; every later byte of the peer is TLS. So plaintext that an attacker
        injects before the handshake is never taken for encrypted data.

        Args:
            announce: what to send as the last thing in plaintext, such as the reply to STARTTLS.
            server_side: whether this is the server in the handshake; ``None`` means that it is if
                the connection was accepted.

        Raises:
            InvalidStateError: there is unread plaintext; not connected; TLS is up already.
            TLSError: the handshake failed, or the options cannot be used; the connection has
                ended.
            LostConnectionError: the connection was lost meanwhile.
            SocketClosedError: we closed it, before or meanwhile.
            trio.BusyResourceError: another task is sending.

        Cancellation: at the start it changes nothing; later the connection is closed.
        Events: ``ErrorOccurred`` if it fails; no second ``Connected``.
        Source: RFC 3207 (STARTTLS), 6.
        """
        data = bytes(memoryview(announce))
        connection = self._connection
        connection.outlet.enter()
        try:
            await trio.lowlevel.checkpoint_if_cancelled()
            check_sending(connection, self)
            self._check_upgrade(connection)
            connection.hold()
            try:
                await self._upgrade(
                    connection, data, connection.accepted if server_side is None else server_side
                )
            except SocketError as error:
                if connection.transport is not None:
                    lose(connection, error)
                await self._settle()  # noqa: ASYNC120 - cancelled only if a handler failed
                raise
            except BaseException:  # cancelled: half of a handshake is good for nothing
                self.close()
                raise
        finally:
            connection.outlet.leave()
        await self._settle()

    def _check_upgrade(self, connection: Connection) -> None:
        if encryption_of(connection) is not None:
            raise InvalidStateError(f"{self!r}: TLS is up already")
        if self._inbox.size:
            raise InvalidStateError(
                f"{self!r}: {self._inbox.size} bytes came before TLS and would be read after it; "
                "read them first, and end the connection if they should not be there"
            )

    async def _upgrade(self, connection: Connection, announce: bytes, server_side: bool) -> None:
        setup = self._tls.setup(self._address, server_side=server_side)
        ledger = connection.outlet.ledger
        if announce:
            ledger.queue(announce)
        if ledger.open:
            send_now(connection)
            await wait_until_flushed(self)
        await secure(connection, setup, self)
        resume_reading(connection)

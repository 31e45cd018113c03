"""``SSLSocket``: a ``TCPSocket`` with TLS, and its options."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from typing import Self

import trio

from trio_xsock._engine.connection import Connection
from trio_xsock._engine.losing import lose
from trio_xsock._engine.reading import resume_reading
from trio_xsock._engine.reasons import check_sending
from trio_xsock._engine.security import Security
from trio_xsock._engine.writing import send_now
from trio_xsock._network.interface import NetworkInterface
from trio_xsock._network.tls_options import Path
from trio_xsock._runtime.channel import EventChannel
from trio_xsock._runtime.guard import protect_from_ki
from trio_xsock._values.connection_types import SSLConnectionTypes
from trio_xsock._values.errors import InvalidStateError, SocketError
from trio_xsock._values.typing import Buffer

from .secured import Secured
from .tcp import TCPSocket


@protect_from_ki
class SSLSocket(Secured, TCPSocket):
    """A ``TCPSocket`` whose connection is encrypted, and whose peer is verified.

    Xojo: ``SSLSocket``. All that ``TCPSocket`` promises holds here too::

        async with SSLSocket("example.org", 443) as sock:
            await sock.connect()
            await sock.send_all(b"...")

    ``connect()`` returns when the handshake is done and the server is who it should be: its
    certificate is checked against the system's trust store and the name against ``address``.
    If not, it raises ``TLSError``, nothing was sent but an alert, and the socket is closed.

    Bytes count as sent when they are encrypted; at most 64 KiB of them are ahead of the OS. What
    is cancelled or aborted leaves the queue exactly; a record that has begun is sent to its end
    by the socket itself, so the connection stays usable.

    Args:
        ssl_enabled: whether connections are encrypted from their beginning on; False leaves
            that to ``start_tls()``.
        ssl_connection_type: which versions of TLS may be used.
        ca_file: a PEM file of the authorities to trust in place of the system's; of a server
            that wants certificates of its clients, the authorities for those.
        certificate_file: a PEM file of our certificate, those that lead to its authority, and
            the private key; servers need one.
        certificate_password: of the key in it.
        certificate_rejection_file: a PEM file of certificates that are refused, though they may
            be in order.
        require_client_certificate: of a server: refuse clients without a certificate.
        server_hostname: whom to ask for and to expect, where that is not ``address``.
        alpn_protocols: the application protocols to offer, the preferred one first.
        ssl_context: a context of your own, in place of versions, files, ALPN and ``verify``. A
            second handshake, which TLS 1.2 knows, ends the connection if it comes while we send;
            ``ssl.OP_NO_RENEGOTIATION`` refuses it.
        verify: of a client: whether the server is verified. Without it anybody between can read
            and change everything.
        handshake_timeout: seconds that the handshake may take.
        https_compatible: take the end of the connection for the end of the stream, although the
            peer has not said so. Attackers can cut such a stream off anywhere; for protocols
            that know themselves when all is there.

    The other arguments are those of ``TCPSocket``. All options are attributes too; those of TLS
    take effect at the next connection, and are kept when a connection ends.

    Raises:
        InvalidPortError, TypeError, ValueError: as for ``TCPSocket``; also a ``ssl_context``
            beside options that it stands for.
    """

    __slots__ = ()

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
        self._security = self._tls = Security(
            ssl_context,
            enabled=ssl_enabled,
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
        super().__init__(
            address,
            port,
            handler=handler,
            events=events,
            network_interface=network_interface,
            bind_address=bind_address,
            bind_port=bind_port,
            receive_buffer_limit=receive_buffer_limit,
            send_buffer_limit=send_buffer_limit,
            progress_interval=progress_interval,
            allow_half_close=allow_half_close,
            keepalive=keepalive,
            unacknowledged_timeout=unacknowledged_timeout,
            idle_timeout=idle_timeout,
        )

    async def __aenter__(self) -> Self:
        return await super().__aenter__()

    @property
    def ssl_enabled(self) -> bool:
        """Whether TLS is there from the beginning; settable while closed. Xojo: ``SSLEnabled``.

        Raises (assignment):
            InvalidStateError: the socket is not closed; there is ``start_tls()``.
            TypeError: not a bool.
        """
        return self._tls.enabled

    @ssl_enabled.setter
    def ssl_enabled(self, enabled: bool) -> None:
        self._check_closed("ssl_enabled")
        self._tls.set("enabled", enabled)

    async def start_tls(self, *, announce: Buffer = b"", server_side: bool | None = None) -> None:
        """Encrypt this connection from here on. Xojo: ``SSLEnabled`` set while connected.

        With no checkpoint between, input is looked for, reading of plaintext stops, and
        ``announce`` is queued; every later byte of the peer's is taken for TLS. So nothing that
        somebody slipped in before the handshake is ever taken for what came after it.

        Args:
            announce: what to send as the last thing in plaintext, such as the reply to STARTTLS.
            server_side: which side of the handshake is ours; ``None`` for the server's if the
                connection was accepted.

        Raises:
            InvalidStateError: input is buffered, which would have come before TLS but be read
                after it; not connected; TLS is up already.
            TLSError: the handshake failed, or the options do not do; the connection has ended.
            LostConnectionError: the connection was lost meanwhile.
            SocketClosedError: we closed it, before or meanwhile.
            trio.BusyResourceError: another task is sending.

        Cancellation: seen at the start it changes nothing; later the connection is closed.
        Events: ``ErrorOccurred`` if it fails; no second ``Connected``.
        Source: RFC 3207 (STARTTLS), 6.
        """
        data = bytes(memoryview(announce))
        connection = self._connection
        with connection.outlet.caller:
            await trio.lowlevel.checkpoint_if_cancelled()
            check_sending(connection, self)
            self._check_upgrade(connection)
            connection.hold()
            try:
                await self._upgrade(
                    connection, data, self._accepted if server_side is None else server_side
                )
            except SocketError as error:
                if connection.transport is not None:
                    lose(connection, error)
                await self._settle()  # noqa: ASYNC120 - cancelled only if a handler failed
                raise
            except BaseException:  # cancelled: half of a handshake is good for nothing
                self.close()
                raise
        await self._settle()

    def _check_upgrade(self, connection: Connection) -> None:
        if self._encryption() is not None:
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
            await self._wait_until_flushed()
        await self._secure(connection, setup)
        resume_reading(connection)

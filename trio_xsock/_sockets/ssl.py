"""``SSLSocket``: a ``TCPSocket`` with TLS, and its options."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from typing import Any, Self

from trio_xsock._network.interface import NetworkInterface
from trio_xsock._network.options import check_bool, check_seconds
from trio_xsock._network.tls_options import (
    Path,
    check_context,
    check_hostname,
    check_path,
    checked_options,
)
from trio_xsock._runtime.channel import EventChannel
from trio_xsock._runtime.guard import protect_from_ki
from trio_xsock._values.connection_types import SSLConnectionTypes

from .ssl_options import SSLOptions


@protect_from_ki
class SSLSocket(SSLOptions):
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
        receive_buffer_limit: int = 2**20,
        send_buffer_limit: int = 2**26,
        progress_interval: int = 65536,
        allow_half_close: bool | None = None,
        keepalive: tuple[int, int, int] | None = None,
        unacknowledged_timeout: float | None = None,
        idle_timeout: float | None = None,
    ) -> None:
        super().__init__(
            address,
            port,
            handler=handler,
            events=events,
            network_interface=network_interface,
            receive_buffer_limit=receive_buffer_limit,
            send_buffer_limit=send_buffer_limit,
            progress_interval=progress_interval,
            allow_half_close=allow_half_close,
            keepalive=keepalive,
            unacknowledged_timeout=unacknowledged_timeout,
            idle_timeout=idle_timeout,
        )
        self._ssl_enabled = check_bool("ssl_enabled", ssl_enabled)
        self._options = checked_options(
            connection_type=ssl_connection_type,
            ca_file=ca_file,
            certificate_file=certificate_file,
            certificate_password=certificate_password,
            require_client_certificate=require_client_certificate,
            alpn_protocols=alpn_protocols,
            verify=verify,
        )
        self._rejection_file = check_path("certificate_rejection_file", certificate_rejection_file)
        self._server_hostname = check_hostname(server_hostname)
        self._context = check_context(ssl_context, self._options)
        self._handshake_timeout = check_seconds("handshake_timeout", handshake_timeout)
        self._https_compatible = check_bool("https_compatible", https_compatible)

    async def __aenter__(self) -> Self:
        return await super().__aenter__()

    # What came of it

    @property
    def tls_version(self) -> str | None:
        """The version of TLS in use, such as ``"TLSv1.3"``; ``None`` while there is none."""
        return self._secured.engine.version if self._secured is not None else None

    @property
    def cipher(self) -> str | None:
        """The name of the cipher suite in use; ``None`` while there is none."""
        return self._secured.engine.cipher if self._secured is not None else None

    @property
    def selected_alpn_protocol(self) -> str | None:
        """The application protocol that both sides have agreed on, if any."""
        return self._secured.engine.alpn_protocol if self._secured is not None else None

    @property
    def peer_certificate(self) -> dict[str, Any] | None:
        """The peer's certificate, as ``ssl.SSLSocket.getpeercert`` describes it.

        ``None`` if there is none, or no TLS; empty if there is one that was not verified.
        """
        return self._secured.engine.peer_certificate if self._secured is not None else None

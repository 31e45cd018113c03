"""The options of an ``SSLSocket`` as attributes, and what they come to at a handshake.

They are kept when a connection ends: a security option that is silently forgotten is the worst
kind. All take effect at the next handshake.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence

from trio_xsock._machines.endpoint import literal_address
from trio_xsock._network.handshake import TLSSetup
from trio_xsock._network.options import check_bool, check_seconds
from trio_xsock._network.rejection import load_rejected
from trio_xsock._network.resolve import encode_hostname
from trio_xsock._network.tls_context import context_for
from trio_xsock._network.tls_options import (
    Path,
    TLSOptions,
    check_connection_type,
    check_context,
    check_hostname,
    check_password,
    check_path,
    check_protocols,
)
from trio_xsock._runtime.guard import protect_from_ki
from trio_xsock._values.connection_types import SSLConnectionTypes

from .start_tls import StartTLS


@protect_from_ki
class SSLOptions(StartTLS):
    """The options."""

    __slots__ = ()

    _options: TLSOptions
    _context: ssl.SSLContext | None
    _ssl_enabled: bool
    _rejection_file: str | None
    _server_hostname: str | None
    _handshake_timeout: float
    _https_compatible: bool

    def _set(self, options: TLSOptions) -> None:
        check_context(self._context, options)
        self._options = options

    @property
    def ssl_enabled(self) -> bool:
        """Whether TLS is there from the beginning; settable while closed. Xojo: ``SSLEnabled``.

        Raises (assignment):
            InvalidStateError: the socket is not closed; there is ``start_tls()``.
            TypeError: not a bool.
        """
        return self._ssl_enabled

    @ssl_enabled.setter
    def ssl_enabled(self, enabled: bool) -> None:
        self._check_closed("ssl_enabled")
        self._ssl_enabled = check_bool("ssl_enabled", enabled)

    @property
    def ssl_connection_type(self) -> SSLConnectionTypes:
        """Which versions of TLS may be used. Xojo: ``SSLConnectionType``."""
        return self._options.connection_type

    @ssl_connection_type.setter
    def ssl_connection_type(self, kind: SSLConnectionTypes | int) -> None:
        self._set(self._options._replace(connection_type=check_connection_type(kind)))

    @property
    def ca_file(self) -> str | None:
        """The PEM file of the authorities to trust; ``None`` for the system's."""
        return self._options.ca_file

    @ca_file.setter
    def ca_file(self, path: Path | None) -> None:
        self._set(self._options._replace(ca_file=check_path("ca_file", path)))

    @property
    def certificate_file(self) -> str | None:
        """The PEM file of our certificate and key. Xojo: ``CertificateFile``."""
        return self._options.certificate_file

    @certificate_file.setter
    def certificate_file(self, path: Path | None) -> None:
        self._set(self._options._replace(certificate_file=check_path("certificate_file", path)))

    @property
    def certificate_password(self) -> str:
        """Of the key in ``certificate_file``. Xojo: ``CertificatePassword``."""
        return self._options.certificate_password

    @certificate_password.setter
    def certificate_password(self, password: str) -> None:
        self._set(self._options._replace(certificate_password=check_password(password)))

    @property
    def require_client_certificate(self) -> bool:
        """Of a server: whether clients have to show a certificate."""
        return self._options.require_client_certificate

    @require_client_certificate.setter
    def require_client_certificate(self, required: bool) -> None:
        required = check_bool("require_client_certificate", required)
        self._set(self._options._replace(require_client_certificate=required))

    @property
    def alpn_protocols(self) -> tuple[str, ...]:
        """The application protocols to offer, the preferred one first."""
        return self._options.alpn_protocols

    @alpn_protocols.setter
    def alpn_protocols(self, protocols: Sequence[str]) -> None:
        self._set(self._options._replace(alpn_protocols=check_protocols(protocols)))

    @property
    def verify(self) -> bool:
        """Of a client: whether the server is verified."""
        return self._options.verify

    @verify.setter
    def verify(self, verify: bool) -> None:
        self._set(self._options._replace(verify=check_bool("verify", verify)))

    @property
    def ssl_context(self) -> ssl.SSLContext | None:
        """A context of your own, in place of the seven options above.

        Raises (assignment):
            ValueError: one of them is set.
            TypeError: not an ``ssl.SSLContext``.
        """
        return self._context

    @ssl_context.setter
    def ssl_context(self, context: ssl.SSLContext | None) -> None:
        self._context = check_context(context, self._options)

    @property
    def certificate_rejection_file(self) -> str | None:
        """The PEM file of certificates to refuse. Xojo: ``CertificateRejectionFile``.

        They are compared as they are: the peer's own, from Python 3.13 on also those that lead
        to its authority.
        """
        return self._rejection_file

    @certificate_rejection_file.setter
    def certificate_rejection_file(self, path: Path | None) -> None:
        self._rejection_file = check_path("certificate_rejection_file", path)

    @property
    def server_hostname(self) -> str | None:
        """Whom to ask for and to expect; ``None`` for ``address``."""
        return self._server_hostname

    @server_hostname.setter
    def server_hostname(self, name: str | None) -> None:
        self._server_hostname = check_hostname(name)

    @property
    def handshake_timeout(self) -> float:
        """Seconds that the handshake may take."""
        return self._handshake_timeout

    @handshake_timeout.setter
    def handshake_timeout(self, seconds: float) -> None:
        self._handshake_timeout = check_seconds("handshake_timeout", seconds)

    @property
    def https_compatible(self) -> bool:
        """Whether the end of the connection is taken for the end of the stream."""
        return self._https_compatible

    @https_compatible.setter
    def https_compatible(self, compatible: bool) -> None:
        self._https_compatible = check_bool("https_compatible", compatible)

    # At a handshake

    def _wants_tls(self) -> bool:
        return self._ssl_enabled

    def _make_setup(self, *, server_side: bool) -> TLSSetup:
        context = self._context
        if context is None:
            context = context_for(self._options, server_side=server_side)
        return TLSSetup(
            context,
            server_side,
            None if server_side else self._name_to_verify(),
            load_rejected(self._rejection_file),
            self._handshake_timeout,
            self._https_compatible,
        )

    def _name_to_verify(self) -> str | None:
        """As certificates have it: in ASCII, without a dot at the end or a zone."""
        name = self._server_hostname or self._address
        if not name:
            return None
        literal = literal_address(name, 0)
        if literal is not None:
            return literal.address[0]
        return encode_hostname(name).decode("ascii").removesuffix(".")

    def _given_server_side(self) -> bool:
        """A socket from outside is a client's if it says whom to verify, or has no certificate."""
        if self._server_hostname or self._address:
            return False
        if self._context is not None:
            return self._context.protocol is not ssl.PROTOCOL_TLS_CLIENT
        return self._options.certificate_file is not None

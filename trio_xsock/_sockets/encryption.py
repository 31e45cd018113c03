"""Whether a socket's connection is encrypted."""

from __future__ import annotations

from trio_xsock._machines.state import CLOSING, CONNECTED
from trio_xsock._machines.tls import TLSEngine
from trio_xsock._runtime.guard import protect_from_ki

from .facts import ConnectionFacts


@protect_from_ki
class EncryptionFacts(ConnectionFacts):
    """What can be asked of all sockets that may do TLS."""

    __slots__ = ()

    @property
    def ssl_connecting(self) -> bool:
        """The handshake is going on. Xojo: ``SSLConnecting``."""
        return self._connection.securing

    @property
    def ssl_connected(self) -> bool:
        """The connection is up and encrypted. Xojo: ``SSLConnected``."""
        return self._encryption() is not None and self.state in (CONNECTED, CLOSING)

    def _encryption(self) -> TLSEngine | None:
        transport = self._connection.transport
        return None if transport is None or self._connection.securing else transport.encryption

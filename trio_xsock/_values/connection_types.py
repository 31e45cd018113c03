"""Xojo's names and numbers for versions of TLS."""

from __future__ import annotations

import enum


class SSLConnectionTypes(enum.IntEnum):
    """Which versions of TLS a connection may use. Xojo: ``SSLSocket.SSLConnectionTypes``.

    Each named version allows exactly that version, not a later one; only ``SSLv23`` negotiates.
    Xojo's 0 and 2, which are SSL 2 and SSL 3, are not supported.
    """

    SSLv23 = 1
    """The best version that both sides have, at least TLS 1.2."""
    TLSv1 = 3
    """TLS 1.0; OpenSSL as it is built and configured today mostly refuses it."""
    TLSv11 = 4
    """TLS 1.1; as above."""
    TLSv12 = 5
    """TLS 1.2."""
    TLSv13 = 6
    """TLS 1.3."""

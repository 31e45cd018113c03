"""Checks whether an ``ssl.SSLContext`` of the user can be that of a server.

OpenSSL itself reports it only when the first client connects, and then to that client.
"""

from __future__ import annotations

import ssl
import weakref
from typing import Any, Final

from trio_xsock._values.errors import TLSError

_SOUND: Final[weakref.WeakSet[ssl.SSLContext]] = weakref.WeakSet()
"""Contexts that passed the check, which is made for each connection."""

_NO_CERTIFICATE: Final = (
    "NO_SHARED_CIPHER",
    "NO_SUITABLE_SIGNATURE_ALGORITHM",
    "UNSUPPORTED_PROTOCOL",  # TLS 1.3 is not even offered without a certificate
)
"""Errors of a client that accepts everything, if the server has no certificate."""


def check_server_context(context: ssl.SSLContext) -> None:
    """Refuse a context with which no handshake can ever succeed.

    A context that chooses another one by the name that the client asks for
    (``sni_callback``) may do without a certificate of its own.

    Raises:
        TLSError: it is a client's, or has no certificate.
    """
    if context in _SOUND:
        return
    if context.protocol is ssl.PROTOCOL_TLS_CLIENT:
        text = (
            "ssl_context is for clients (PROTOCOL_TLS_CLIENT), and this is a server: make it with "
            "ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)"
        )
        raise TLSError(text, reason="CLIENT_CONTEXT")
    if context.sni_callback is None and _finds_nothing_to_show(context):
        text = "ssl_context has no certificate, which a TLS server needs: call load_cert_chain()"
        raise TLSError(text, reason="NO_CERTIFICATE_SET")
    _SOUND.add(context)


def _finds_nothing_to_show(context: ssl.SSLContext) -> bool:
    """Try a handshake in memory, with a client that accepts everything."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    client.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    client.set_ciphers("ALL:@SECLEVEL=0")
    if not _is_refused(context, client):
        return False
    set_callback: Any = getattr(client, "set_psk_client_callback", None)
    if set_callback is None:
        return True
    # From Python 3.13 on a server may use a pre-shared key in place of a certificate.
    set_callback(_any_key)
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    client.set_ciphers("PSK:@SECLEVEL=0")
    return _is_refused(context, client)


def _any_key(_hint: object) -> tuple[None, bytes]:
    return None, b"any"


def _is_refused(context: ssl.SSLContext, client: ssl.SSLContext) -> bool:
    hello, answer = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        client.wrap_bio(answer, hello).do_handshake()
    except ssl.SSLWantReadError:
        pass
    except ssl.SSLError:
        return False  # nothing is known
    try:
        context.wrap_bio(hello, ssl.MemoryBIO(), server_side=True).do_handshake()
    except ssl.SSLWantReadError:
        return False
    except ssl.SSLError as exc:
        return exc.reason in _NO_CERTIFICATE
    return False

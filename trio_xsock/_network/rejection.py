"""The rejection file: certificates that are refused although they are valid.

The certificate of a leaked key is valid until it expires. The file lists, in PEM, the certificates
to be refused; they are compared byte for byte, by SHA-256.
"""

from __future__ import annotations

import functools
import hashlib
import re
import ssl
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from trio_xsock._values.errors import TLSError, describe

from .tls_context import Stamp, stamp_of

_CERTIFICATE: Final = re.compile(
    "-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL
)


def load_rejected(path: str | None) -> frozenset[bytes]:
    """The fingerprints of the certificates in a file; read again when it has changed.

    Args:
        path: of the PEM file; ``None`` for no file.

    Raises:
        TLSError: it cannot be read, or has no certificates; the text names it.
    """
    return frozenset() if path is None else _load(path, stamp_of(path))


@functools.lru_cache(maxsize=32)
def _load(path: str, _stamp: Stamp) -> frozenset[bytes]:
    try:
        text = Path(path).read_text("ascii", "replace")
        found = [ssl.PEM_cert_to_DER_cert(each) for each in _CERTIFICATE.findall(text)]
    except OSError as exc:
        message = f"certificate_rejection_file {path!r} cannot be read: {describe(exc)}"
        raise TLSError(message, reason="NO_SUCH_FILE", errno=exc.errno) from exc
    except ValueError as exc:
        raise TLSError(_no_certificates(path), reason="BAD_BASE64_DECODE") from exc
    if not found:
        raise TLSError(_no_certificates(path), reason="NO_CERTIFICATE_OR_CRL_FOUND")
    return frozenset(map(_fingerprint, found))


def is_rejected(chain: Iterable[bytes], rejected: frozenset[bytes]) -> bool:
    """Whether any of the certificates, in DER, is among the rejected ones."""
    return any(_fingerprint(each) in rejected for each in chain)


def _fingerprint(certificate: bytes) -> bytes:
    return hashlib.sha256(certificate).digest()


def _no_certificates(path: str) -> str:
    return f"certificate_rejection_file {path!r} is not a PEM file of certificates"

"""From TLS options to an ``ssl.SSLContext``, made once for all sockets with the same options.

A client's context costs 35 ms (the system's certificates are parsed) and a server's 1 ms, a
handshake 0.4 ms: none is made per connection. The options and files of a context are compared each
time, files by size and time, so that renewed certificates are used from the next connection on.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import ssl
import warnings
from collections.abc import Callable, Generator
from typing import Final, TypeAlias

from trio_xsock._values.connection_types import SSLConnectionTypes
from trio_xsock._values.errors import TLSError, describe

from .tls_options import TLSOptions

try:
    import truststore
except ImportError:  # pragma: no cover  (the extra is part of the tests)
    _client_context: Callable[[], ssl.SSLContext] = ssl.create_default_context
else:

    def _client_context() -> ssl.SSLContext:
        return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


_logger = logging.getLogger("trio_xsock")

Stamp: TypeAlias = tuple[int, int, int] | None
"""Identifies a version of a file: its inode, size, and time in nanoseconds."""

Stamps: TypeAlias = tuple[Stamp, Stamp]

_CONTEXTS = 32
"""How many contexts are kept."""

_MODERN_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""For TLS 1.2 servers: forward secrecy and authenticated encryption only (RFC 9325, 4.2)."""

_VERSIONS: Final = {
    SSLConnectionTypes.TLSv1: ssl.TLSVersion.TLSv1,
    SSLConnectionTypes.TLSv11: ssl.TLSVersion.TLSv1_1,
    SSLConnectionTypes.TLSv12: ssl.TLSVersion.TLSv1_2,
    SSLConnectionTypes.TLSv13: ssl.TLSVersion.TLSv1_3,
}
_ANCIENT: Final = (SSLConnectionTypes.TLSv1, SSLConnectionTypes.TLSv11)


def context_for(options: TLSOptions, *, server_side: bool) -> ssl.SSLContext:
    """The context for these options.

    Args:
        options: see ``TLSOptions``.
        server_side: for which side of the handshake.

    Raises:
        TLSError: a file cannot be read or has wrong content, and the message names it; the
            options contradict each other; OpenSSL does not support that version.
    """
    try:
        return _context_for(options, server_side)
    except (OSError, ValueError, NotImplementedError) as exc:
        raise _cannot_be_made(exc) from exc


def _cannot_be_made(exc: Exception) -> TLSError:
    """The error for a context that cannot be made although the options are valid.

    Python opens the file that SSLKEYLOGFILE names for every client's context that it makes.
    """
    if isinstance(exc, OSError) and not isinstance(exc, ssl.SSLError):
        path = os.environ.get("SSLKEYLOGFILE")
        if path and exc.filename == path:
            text = f"the environment's SSLKEYLOGFILE {path!r} cannot be opened: {describe(exc)}"
            return TLSError(text, reason="KEYLOG_FILE", errno=exc.errno)
        return TLSError(f"TLS cannot be set up: {exc}", reason="OS_ERROR", errno=exc.errno)
    reason = (exc.reason if isinstance(exc, ssl.SSLError) else "") or type(exc).__name__
    return TLSError(f"TLS cannot be set up: {exc}", reason=reason)


def _context_for(options: TLSOptions, server_side: bool) -> ssl.SSLContext:
    stamps = (stamp_of(options.ca_file), stamp_of(options.certificate_file))
    if not server_side:
        return _make_context(options, server_side, stamps)
    return _serviceable_context(options, stamps)


def _serviceable_context(options: TLSOptions, stamps: Stamps) -> ssl.SSLContext:
    """A server's context; the previous one while its files are being replaced and do not match."""
    try:
        context = _make_context(options, True, stamps)
    except TLSError as error:
        former = _former.get(options)
        if former is None:
            raise
        if former.failed != stamps:
            former.failed = stamps
            _logger.warning("the certificates in use before are used on: %s", error)
        return former.context
    former = _former.get(options)
    if former is None or former.context is not context:
        while len(_former) >= _CONTEXTS:
            del _former[next(iter(_former))]
        _former[options] = Former(context)
    return context


class Former:
    """A server's context that has worked.

    Attributes:
        context: the context.
        failed: the versions of the files that failed since, so that it is logged once.
    """

    __slots__ = ("context", "failed")

    def __init__(self, context: ssl.SSLContext) -> None:
        self.context = context
        self.failed: Stamps | None = None


_former: dict[TLSOptions, Former] = {}


def stamp_of(path: str | None) -> Stamp:
    """The version of a file; ``None`` if it is not there."""
    if path is None:
        return None
    try:
        status = os.stat(path)
    except (OSError, ValueError):  # reading it raises the error
        return None
    return (status.st_ino, status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=_CONTEXTS)
def _make_context(
    options: TLSOptions,
    server_side: bool,
    _stamps: Stamps,  # of the files, so that changed ones are read again
) -> ssl.SSLContext:
    context = _server_context(options) if server_side else _verifying_context(options)
    _set_versions(context, options.connection_type)
    context.options |= ssl.OP_NO_RENEGOTIATION
    if options.ca_file is not None and (not server_side or options.require_client_certificate):
        with _naming("ca_file", options.ca_file, "a PEM file of certificates"):
            context.load_verify_locations(options.ca_file)
    if options.certificate_file is not None:
        _load_certificate(context, options.certificate_file, options.certificate_password)
    if options.alpn_protocols:
        context.set_alpn_protocols(options.alpn_protocols)
    return context


def _verifying_context(options: TLSOptions) -> ssl.SSLContext:
    """A client's context; with a CA file of the user the system's are not used."""
    if options.verify and options.ca_file is None:
        return _client_context()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if not options.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _server_context(options: TLSOptions) -> ssl.SSLContext:
    if options.certificate_file is None:
        raise TLSError("a TLS server needs a certificate_file", reason="NO_CERTIFICATE_SET")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if options.connection_type not in _ANCIENT:
        context.set_ciphers(_MODERN_CIPHERS)
    if options.require_client_certificate:
        if options.ca_file is None:
            text = "require_client_certificate needs a ca_file to check them against"
            raise TLSError(text, reason="NO_CA_FILE")
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _set_versions(context: ssl.SSLContext, kind: SSLConnectionTypes) -> None:
    if kind is SSLConnectionTypes.SSLv23:
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return
    version = _VERSIONS[kind]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the user has chosen this version
        context.minimum_version = context.maximum_version = version
        if kind in _ANCIENT:
            _check_ancient(kind, version)


def _check_ancient(kind: SSLConnectionTypes, version: ssl.TLSVersion) -> None:
    """Raise if OpenSSL, as built and configured here, does not support a version at all."""
    probe = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    probe.check_hostname = False
    probe.minimum_version = probe.maximum_version = version
    try:
        probe.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO()).do_handshake()
    except ssl.SSLWantReadError:
        return
    except ssl.SSLError as exc:
        text = f"the local {ssl.OPENSSL_VERSION} does not permit {kind.name}; use TLSv12 or newer"
        raise TLSError(text, reason=exc.reason or "") from exc


def _load_certificate(context: ssl.SSLContext, path: str, password: str) -> None:
    secret = "the certificate_password is wrong" if password else "it needs a certificate_password"
    what = f"a PEM file of a certificate and its private key, or {secret}"
    with _naming("certificate_file", path, what):
        # With any password, even an empty one, OpenSSL does not ask for one at the terminal.
        context.load_cert_chain(path, password=password)


@contextlib.contextmanager
def _naming(option: str, path: str, what: str) -> Generator[None, None, None]:
    """Turn errors into ones that name the file."""
    try:
        yield
    except ssl.SSLError as exc:
        reason = exc.reason or "PEM_LIB"
        text = f"{option} {path!r} is not {what} ({reason})"
        raise TLSError(text, reason=reason) from exc
    except OSError as exc:
        text = f"{option} {path!r} cannot be read: {describe(exc)}"
        raise TLSError(text, reason="NO_SUCH_FILE", errno=exc.errno) from exc
    except ValueError as exc:  # a null byte in the path, or a password of more than 1023 bytes
        raise TLSError(f"{option} {path!r} cannot be used: {exc}", reason="VALUE_ERROR") from exc

"""The error tree, Xojo's error numbers, and the one map from the OS's errors to ours.

Two ranges of numbers meet here and overlap on Linux (Xojo's 102 against errno 102),
so they never share an attribute: ``error_number`` is Xojo's, ``errno`` is the OS's.
"""

from __future__ import annotations

import contextlib
import enum
import errno as errnos
import os
import socket as stdlib_socket
import ssl

import trio


class ErrorCode(enum.IntEnum):
    """Xojo's error numbers (constants of its ``SocketCore``); 101 and 104 are unused."""

    NO_ERROR = 0
    OPEN_DRIVER_ERROR = 100
    LOST_CONNECTION = 102
    NAME_RESOLUTION_ERROR = 103
    ADDRESS_IN_USE_ERROR = 105
    INVALID_STATE_ERROR = 106
    INVALID_PORT_ERROR = 107
    OUT_OF_MEMORY_ERROR = 108
    TLS_ERROR = 303


class LossReason(enum.StrEnum):
    """Why a connection is gone; Xojo's 102 says only that it is."""

    REMOTE_CLOSED = "REMOTE_CLOSED"
    """The peer ended its direction gracefully (FIN)."""
    RESET = "RESET"
    """The connection was torn down by a reset or another hard error."""
    TIMED_OUT = "TIMED_OUT"
    """The peer, or the path to it, stayed silent for too long."""
    LOCAL = "LOCAL"
    """Our own ``disconnect()``."""


class SocketError(Exception):
    """Base class of every error that this library raises.

    It is raised itself for errors of the operating system that have no class of their own.

    Attributes:
        error_number: Xojo's code, or ``None`` where Xojo has none.
        errno: the operating system's number, or ``None``.
    """

    error_number: ErrorCode | None = None
    errno: int | None = None

    def __init__(self, message: str = "", *, errno: int | None = None) -> None:
        super().__init__(message)
        if errno is not None:
            self.errno = errno


class OpenDriverError(SocketError):
    """The operating system would not give a socket at all (100)."""

    error_number: ErrorCode | None = ErrorCode.OPEN_DRIVER_ERROR


class LostConnectionError(SocketError, trio.BrokenResourceError):
    """The connection is gone (102); ``reason`` says how."""

    error_number: ErrorCode | None = ErrorCode.LOST_CONNECTION

    def __init__(
        self,
        message: str = "",
        *,
        reason: LossReason = LossReason.RESET,
        errno: int | None = None,
    ) -> None:
        super().__init__(message, errno=errno)
        self.reason = reason


class NameResolutionError(SocketError, OSError):
    """The name has no address, or is empty or malformed (103)."""

    error_number: ErrorCode | None = ErrorCode.NAME_RESOLUTION_ERROR


class AddressInUseError(SocketError, OSError):
    """The local address and port are taken, EADDRINUSE (105)."""

    error_number: ErrorCode | None = ErrorCode.ADDRESS_IN_USE_ERROR


class InvalidStateError(SocketError):
    """The call is illegal in the socket's present state (106); nothing was changed."""

    error_number: ErrorCode | None = ErrorCode.INVALID_STATE_ERROR


class SocketClosedError(InvalidStateError, trio.ClosedResourceError):
    """We closed the socket, or our direction of it, ourselves (106)."""


class InvalidPortError(SocketError, ValueError):
    """A port outside 0..65535, 0 where one is needed, or one that needs privileges (107)."""

    error_number: ErrorCode | None = ErrorCode.INVALID_PORT_ERROR


class OutOfMemoryError(SocketError):
    """The send queue's limit is reached, or the system has no memory for buffers (108)."""

    error_number: ErrorCode | None = ErrorCode.OUT_OF_MEMORY_ERROR


class TLSError(SocketError, trio.BrokenResourceError):
    """The handshake, the verification or the closing of TLS failed (303).

    Attributes:
        reason: OpenSSL's name of what failed, such as ``WRONG_VERSION_NUMBER``; after
            ``CERTIFICATE_VERIFY_FAILED`` a colon follows, and what is wrong with it.
    """

    error_number: ErrorCode | None = ErrorCode.TLS_ERROR

    def __init__(self, message: str = "", *, reason: str = "", errno: int | None = None) -> None:
        super().__init__(message, errno=errno)
        self.reason = reason


class ConnectError(SocketError, OSError):
    """No address of the host could be reached.

    Attributes:
        errors: each attempt's ``OSError``, in the order in which they failed.
        errno: the number of the last of them.
    """

    def __init__(self, message: str = "", *, errors: tuple[OSError, ...] = ()) -> None:
        super().__init__(message, errno=errors[-1].errno if errors else None)
        self.errors = errors


class IncompleteReadError(SocketError, EOFError):
    """The stream ended before ``receive_exactly`` or ``receive_until`` had enough.

    The bytes stay in the receive buffer.

    Attributes:
        partial: a copy of what there is.
        expected: how many bytes were asked for, ``None`` for a separator.
    """

    def __init__(
        self, message: str = "", *, partial: bytes = b"", expected: int | None = None
    ) -> None:
        super().__init__(message)
        self.partial = partial
        self.expected = expected


class DelimiterNotFoundError(SocketError):
    """The separator did not come within ``max_bytes``; the bytes stay in the receive buffer.

    Attributes:
        max_bytes: the limit that was passed.
    """

    def __init__(self, message: str = "", *, max_bytes: int = 0) -> None:
        super().__init__(message)
        self.max_bytes = max_bytes


class FramingError(SocketError, ValueError):
    """The bytes are no messages of this library's format, or one is larger than allowed.

    A connection that receives such bytes ends with a ``LostConnectionError`` whose
    ``__cause__`` is this.
    """


_NO_SOCKET = frozenset({errnos.EMFILE, errnos.ENFILE, errnos.EAFNOSUPPORT, errnos.EPROTONOSUPPORT})
_NO_MEMORY = frozenset({errnos.ENOMEM, errnos.ENOBUFS})
_NO_PERMISSION = frozenset({errnos.EACCES, errnos.EPERM})
_TIMED_OUT = frozenset(
    {errnos.ETIMEDOUT, errnos.EHOSTUNREACH, errnos.ENETUNREACH, errnos.EHOSTDOWN}
)


def describe(exc: OSError) -> str:
    """What the OS says of ``exc``, in words, without the errno in brackets."""
    if isinstance(exc, stdlib_socket.gaierror):
        return exc.strerror or str(exc)
    return os.strerror(exc.errno) if exc.errno else str(exc)


def translate_os_error(exc: OSError, message: str) -> SocketError:
    """The library's error for an ``OSError`` of opening, binding, listening or resolving.

    Args:
        exc: what the operating system said; becomes ``__cause__``.
        message: what was attempted, naming the endpoint, without a full stop.

    Returns:
        A new error of the class that stands for it.
    """
    error = _class_for(exc)(f"{message}: {describe(exc)}", errno=exc.errno)
    error.__cause__ = exc
    return error


def _class_for(exc: OSError) -> type[SocketError]:
    if isinstance(exc, stdlib_socket.gaierror):
        return NameResolutionError
    number = exc.errno
    if number == errnos.EADDRINUSE:
        return AddressInUseError
    if number in _NO_PERMISSION:
        return InvalidPortError
    if number in _NO_SOCKET:
        return OpenDriverError
    if number in _NO_MEMORY:
        return OutOfMemoryError
    return SocketError


def translate_tls(exc: OSError, message: str) -> TLSError:
    """The library's error for a failure of TLS, or of the connection during its handshake.

    Args:
        exc: what OpenSSL, or the operating system, said; becomes ``__cause__``.
        message: what was attempted, naming the endpoint, without a full stop.

    Returns:
        A new error with its ``reason``.
    """
    if isinstance(exc, ssl.SSLCertVerificationError):
        reason = f"{exc.reason}: {exc.verify_message}"
        text = exc.verify_message
    elif isinstance(exc, ssl.SSLError):
        reason = exc.reason or type(exc).__name__
        text = _TLS_TEXTS.get(reason) or reason.replace("_", " ").lower()
    else:
        reason = errnos.errorcode.get(exc.errno or 0, "OS_ERROR")
        text = describe(exc)
    number = None if isinstance(exc, ssl.SSLError) else exc.errno
    error = TLSError(f"{message}: {text}", reason=reason, errno=number)
    error.__cause__ = exc.with_traceback(None)  # its frames are ours, and hold the socket
    return error


_TLS_TEXTS = {
    "WRONG_VERSION_NUMBER": "the peer does not speak TLS; check the port",
    "HTTP_REQUEST": "the peer does not speak TLS but plain HTTP",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "the client sent no certificate",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "the peer wants a certificate of ours, and got none",
    "TLSV1_ALERT_UNKNOWN_CA": "the peer does not trust the authority of our certificate",
    "SSLV3_ALERT_BAD_CERTIFICATE": "the peer does not accept our certificate",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "the peer does not accept our certificate",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "the peer says that our certificate has expired",
    "RENEGOTIATION_NOT_SUPPORTED": "the peer wants a second handshake while we send",
    "UNEXPECTED_EOF_WHILE_READING": "the peer ended the connection without saying so in TLS",
}


def translate_loss(exc: OSError, message: str) -> LostConnectionError | TLSError:
    """The library's error for an ``OSError`` on an established connection.

    Every such error ends the connection. Time-outs keep their name: Linux reports a
    peer that vanished as ETIMEDOUT, or as the last ICMP error it saw on the way
    (EHOSTUNREACH, ENETUNREACH); see tcp(7).

    Args:
        exc: what the operating system said; becomes ``__cause__``.
        message: what was lost, naming the endpoint, without a full stop.

    Returns:
        A new ``LostConnectionError`` with its ``reason``, or a ``TLSError``.
    """
    if isinstance(exc, ssl.SSLError):
        return translate_tls(exc, message)
    reason = LossReason.TIMED_OUT if exc.errno in _TIMED_OUT else LossReason.RESET
    error = LostConnectionError(f"{message}: {describe(exc)}", reason=reason, errno=exc.errno)
    # The frames in between are ours, and hold the socket and a caller's buffer.
    error.__cause__ = exc.with_traceback(None)
    return error


def forget_frames(error: BaseException) -> None:
    """Clear the local variables of the library's frames in a traceback.

    A socket keeps the error that ended its connection and raises the same object again; the
    traceback of a raise keeps frames, those keep ``self``, and the socket would live on until
    the cyclic garbage collector runs. Users' frames are left alone.
    """
    traceback = error.__traceback__
    while traceback is not None:
        frame = traceback.tb_frame
        traceback = traceback.tb_next
        if str(frame.f_globals.get("__name__", "")).startswith("trio_xsock."):
            with contextlib.suppress(RuntimeError):  # it is still being executed
                frame.clear()

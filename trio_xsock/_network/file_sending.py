"""Files that the kernel itself sends: ``sendfile``, where it is possible."""

from __future__ import annotations

import errno as errnos

from trio_xsock._machines.ledger import FileRange
from trio_xsock._platform import sockets as platform

from .transport import Transport

# Errors of sendfile(2) that concern the connection. Others may be the file's; reading it tells.
_CONNECTION_ERRORS = frozenset(
    {
        errnos.ECONNABORTED,
        errnos.ECONNRESET,
        errnos.EHOSTUNREACH,
        errnos.ENETDOWN,
        errnos.ENETUNREACH,
        errnos.ENOTCONN,
        errnos.EPIPE,
        errnos.ETIMEDOUT,
    }
)


def kernel_sends_files(transport: Transport | None) -> bool:
    """Whether to try ``send_range`` on this transport."""
    return transport is not None and transport.takes_files and platform.has_sendfile()


def send_range(transport: Transport, piece: FileRange) -> int:
    """Have the kernel send a piece of a file.

    Returns:
        How many bytes were sent; 0 if it does not send this file and it has to be read.

    Raises:
        BlockingIOError: the OS takes nothing now.
        OSError: the connection is lost.
    """
    if not transport.takes_files:  # any more, since the file was queued
        return 0
    try:
        return platform.sendfile(transport.fileno(), piece.fileno, piece.offset, piece.size)
    except (BlockingIOError, InterruptedError):
        raise
    except OSError as exc:
        if exc.errno in _CONNECTION_ERRORS:
            raise
        return 0

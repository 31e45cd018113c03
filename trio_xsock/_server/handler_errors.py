"""Logging an exception of a connection's handler.

An exception that the peer has caused is one line at INFO, so that peers cannot fill the log with
tracebacks. Any other one is an error, with its traceback.
"""

from __future__ import annotations

import logging
from typing import Final

import trio

from trio_xsock._runtime.groups import leaves
from trio_xsock._values.errors import (
    DelimiterNotFoundError,
    FramingError,
    IncompleteReadError,
    LostConnectionError,
    OutOfMemoryError,
    TLSError,
)

_logger = logging.getLogger("trio_xsock")

_BY_THE_PEER: Final = (
    DelimiterNotFoundError,
    FramingError,
    IncompleteReadError,
    LostConnectionError,
    OutOfMemoryError,  # the peer does not read what is written
    TLSError,
    UnicodeDecodeError,
    trio.EndOfChannel,  # of ``EasyTCPSocket.receive``
    trio.TooSlowError,
)
"""The exceptions that a peer can cause in a correct handler."""


def log_handler_error(endpoint: str, error: Exception) -> None:
    """Log what the handler of the connection from ``endpoint`` raised."""
    causes = leaves(error)
    if all(isinstance(each, _BY_THE_PEER) for each in causes):
        what = "; ".join(f"{type(each).__name__}: {each}" for each in causes)
        _logger.info("the connection from %s ended: %s", endpoint, " ".join(what.split()))
    else:
        _logger.error("handler of the connection from %s failed", endpoint, exc_info=error)

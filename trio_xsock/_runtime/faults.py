"""Faults of the library's own work: how they are logged, and how closing continues after them."""

from __future__ import annotations

import logging
from collections.abc import Callable

_logger = logging.getLogger("trio_xsock")


def log_fault(what: str, error: BaseException) -> None:
    """Log a fault of the library with its traceback.

    Args:
        what: what has failed, without a full stop.
        error: the fault.
    """
    _logger.error("internal error, please report it: %s", what, exc_info=error)


def give_back(*calls: Callable[[], object]) -> None:
    """Make all of the calls that release something, even if one of them raises.

    An ``OSError`` is ignored: what should be released is gone. Any other exception is
    logged with its traceback. None is raised, so that closing can continue.

    Args:
        calls: each closes something, or sends a last message to a peer.
    """
    for call in calls:
        try:
            call()
        except OSError as exc:
            _logger.debug("closing went on after an error: %s", str(exc))  # its frames hold sockets
        except Exception as exc:
            log_fault("closing went on without one of its steps", exc)

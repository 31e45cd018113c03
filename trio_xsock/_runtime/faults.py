"""Faults of the library's own work: where they are logged, and how closing outlasts them."""

from __future__ import annotations

import logging
from collections.abc import Callable

_logger = logging.getLogger("trio_xsock")


def log_fault(what: str, error: BaseException) -> None:
    """Log a fault of the library with its traceback.

    Args:
        what: what had to be given up, without a full stop.
        error: the fault.
    """
    _logger.error("internal error, please report it: %s", what, exc_info=error)


def give_back(*calls: Callable[[], object]) -> None:
    """Make all of the calls that give something back to the OS, whatever one of them raises.

    An ``OSError`` changes nothing: what was to be given back is gone. Any other exception is
    logged with its traceback. None is raised, so that whoever closes can go on.

    Args:
        calls: each closes something, or says the last word to a peer.
    """
    for call in calls:
        try:
            call()
        except OSError as exc:
            _logger.debug("closing went on after an error: %s", str(exc))  # its frames hold sockets
        except Exception as exc:
            log_fault("closing went on without one of its steps", exc)

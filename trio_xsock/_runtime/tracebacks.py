"""Errors that are kept are kept without the frames that raised them, which refer to sockets."""

from __future__ import annotations

import sys

from trio_xsock._values.errors import SocketError, forget_frames

from .groups import as_group


def forget_traceback(error: SocketError) -> None:
    """Keep an error without its traceback.

    What is on its way to somebody keeps it, less the frames of ours.
    """
    if error.__traceback__ is None:  # it was never raised
        return
    forget_frames(error)
    if not _is_being_raised(error):
        error.__traceback__ = None


def _is_being_raised(error: BaseException) -> bool:
    """Whether ``error`` is, or belongs to, what is just being raised."""
    found: list[BaseException | None] = [sys.exception()]
    for each in found:
        if each is error:
            return True
        if each is not None:
            group = as_group(each)
            parts = group.exceptions if group is not None else ()
            found += [one for one in (each.__cause__, each.__context__, *parts) if one not in found]
    return False

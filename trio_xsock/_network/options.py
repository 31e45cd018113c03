"""Checks of options: a wrong type or value is refused before any I/O."""

from __future__ import annotations

import math
from typing import Any, cast

_FOR_EVER = 1e300
"""Seconds; a larger int may not fit a float."""

_LONGEST_KEEPALIVE = 32767
_MOST_PROBES = 127
"""The maximum of Linux for TCP_KEEPIDLE and TCP_KEEPINTVL, and for TCP_KEEPCNT."""


def check_positive(name: str, value: Any) -> int:
    """A whole number of at least 1.

    Args:
        name: how the message calls it.
        value: what the user gave.

    Returns:
        The value.

    Raises:
        TypeError: not an int.
        ValueError: less than 1.
    """
    if type(value) is int and value > 0:  # the usual case
        return value
    return _check_int(name, value, 1)


def check_count(name: str, value: Any) -> int:
    """A whole number of at least 0; as ``check_positive`` otherwise."""
    return _check_int(name, value, 0)


def _check_int(name: str, value: Any, least: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be an int, not {type(value).__name__}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, not {value}")
    return int(value)


def check_seconds(name: str, value: Any, *, positive: bool = False) -> float:
    """A number of seconds.

    Args:
        name: how the message calls it.
        value: what the user gave.
        positive: whether 0 is refused.

    Returns:
        The value.

    Raises:
        TypeError: not a number.
        ValueError: negative, not a number (NaN), or 0 if ``positive``.
    """
    if type(value) is float and 0 < value < _FOR_EVER:  # the usual case
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number of seconds, not {type(value).__name__}")
    if not value >= 0 or (positive and not value):  # a NaN is not >= 0 either
        least = "more than" if positive else "at least"
        raise ValueError(f"{name} must be {least} 0 seconds, not {value!r}")
    return float(value) if value < _FOR_EVER else math.inf


def check_optional_seconds(name: str, value: Any) -> float | None:
    """A number of seconds above 0, or ``None``; as ``check_seconds`` otherwise."""
    return None if value is None else check_seconds(name, value, positive=True)


def check_keepalive(value: Any) -> tuple[int, int, int] | None:
    """Idle seconds, interval in seconds and count; or ``None``.

    Raises:
        TypeError: not three ints.
        ValueError: one of them is less than 1, or more than the OS takes.
    """
    if value is None:
        return None
    parts = cast("tuple[Any, ...]", value)
    if not isinstance(value, tuple | list) or len(parts) != 3:
        raise TypeError(f"keepalive must be (idle, interval, count) or None, not {value!r}")
    idle, interval, count = cast("tuple[Any, Any, Any]", value)
    return (
        _check_at_most("keepalive's idle time", idle, _LONGEST_KEEPALIVE),
        _check_at_most("keepalive's interval", interval, _LONGEST_KEEPALIVE),
        _check_at_most("keepalive's count", count, _MOST_PROBES),
    )


def _check_at_most(name: str, value: Any, most: int) -> int:
    if check_positive(name, value) > most:
        raise ValueError(f"{name} must be at most {most}, not {value}")
    return int(value)


def check_bool(name: str, value: Any) -> bool:
    """True or False.

    Raises:
        TypeError: anything else.
    """
    if isinstance(value, bool):
        return value
    raise TypeError(f"{name} must be True or False, not {type(value).__name__}")


def check_optional_bool(name: str, value: Any) -> bool | None:
    """True, False or ``None``.

    Raises:
        TypeError: anything else.
    """
    if value is None or isinstance(value, bool):
        return value
    raise TypeError(f"{name} must be True, False or None, not {type(value).__name__}")

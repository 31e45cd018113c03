"""Checks of options at the door: a wrong type or value is refused before any I/O."""

from __future__ import annotations

import math
from typing import Any


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
    check_count(name, value)
    if value < 1:
        raise ValueError(f"{name} must be at least 1, not {value}")
    return int(value)


def check_count(name: str, value: Any) -> int:
    """A whole number of at least 0; as ``check_positive`` otherwise."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be an int, not {type(value).__name__}")
    if value < 0:
        raise ValueError(f"{name} must be at least 0, not {value}")
    return value


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
        ValueError: negative, not a number at all (NaN), or 0 where that makes no sense.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number of seconds, not {type(value).__name__}")
    if math.isnan(value) or value < 0 or (positive and not value):
        least = "more than" if positive else "at least"
        raise ValueError(f"{name} must be {least} 0 seconds, not {value!r}")
    return float(value)


def check_optional_bool(name: str, value: Any) -> bool | None:
    """True, False or ``None``.

    Raises:
        TypeError: anything else.
    """
    if value is None or isinstance(value, bool):
        return value
    raise TypeError(f"{name} must be True, False or None, not {type(value).__name__}")

"""What is refused at the door, and with which exception."""

from __future__ import annotations

import enum
import math
from collections.abc import Callable
from typing import Any

import pytest

from trio_xsock._network.options import (
    check_count,
    check_keepalive,
    check_optional_bool,
    check_optional_seconds,
    check_positive,
    check_seconds,
)


class Size(enum.IntEnum):
    SEVEN = 7


def check_positive_seconds(name: str, value: Any) -> float:
    return check_seconds(name, value, positive=True)


def check_keepalive_option(name: str, value: Any) -> tuple[int, int, int] | None:
    return check_keepalive(value)


KEEPALIVE = "keepalive must be (idle, interval, count) or None"

GOOD: list[tuple[Callable[..., Any], Any, Any]] = [
    (check_count, 0, 0),
    (check_count, 2**100, 2**100),
    (check_count, Size.SEVEN, 7),
    (check_positive, 1, 1),
    (check_positive, 2**63, 2**63),
    (check_positive, Size.SEVEN, 7),
    (check_seconds, 0, 0.0),
    (check_seconds, 3, 3.0),
    (check_seconds, 0.5, 0.5),
    (check_seconds, math.inf, math.inf),
    (check_positive_seconds, 1e-9, 1e-9),
    (check_optional_bool, True, True),
    (check_optional_bool, False, False),
    (check_optional_bool, None, None),
    (check_optional_seconds, None, None),
    (check_optional_seconds, 2, 2.0),
    (check_keepalive_option, None, None),
    (check_keepalive_option, (1, Size.SEVEN, 3), (1, 7, 3)),
]

BAD: list[tuple[Callable[..., Any], Any, type[Exception], str]] = [
    (check_count, "1", TypeError, "size must be an int, not str"),
    (check_count, 1.0, TypeError, "size must be an int, not float"),
    (check_count, None, TypeError, "size must be an int, not NoneType"),
    (check_count, True, TypeError, "size must be an int, not bool"),
    (check_count, -1, ValueError, "size must be at least 0, not -1"),
    (check_positive, "1", TypeError, "size must be an int, not str"),
    (check_positive, False, TypeError, "size must be an int, not bool"),
    (check_positive, 0, ValueError, "size must be at least 1, not 0"),
    (check_positive, -1, ValueError, "size must be at least 1, not -1"),
    (check_seconds, "1", TypeError, "size must be a number of seconds, not str"),
    (check_seconds, None, TypeError, "size must be a number of seconds, not NoneType"),
    (check_seconds, True, TypeError, "size must be a number of seconds, not bool"),
    (check_seconds, 1j, TypeError, "size must be a number of seconds, not complex"),
    (check_seconds, -0.1, ValueError, "size must be at least 0 seconds, not -0.1"),
    (check_seconds, -math.inf, ValueError, "size must be at least 0 seconds, not -inf"),
    (check_seconds, math.nan, ValueError, "size must be at least 0 seconds, not nan"),
    (check_positive_seconds, 0, ValueError, "size must be more than 0 seconds, not 0"),
    (check_positive_seconds, 0.0, ValueError, "size must be more than 0 seconds, not 0.0"),
    (check_positive_seconds, math.nan, ValueError, "size must be more than 0 seconds, not nan"),
    (check_optional_bool, 1, TypeError, "size must be True, False or None, not int"),
    (check_optional_seconds, 0, ValueError, "size must be more than 0 seconds, not 0"),
    (check_optional_seconds, "1", TypeError, "size must be a number of seconds, not str"),
    (check_keepalive_option, 60, TypeError, f"{KEEPALIVE}, not 60"),
    (check_keepalive_option, "abc", TypeError, f"{KEEPALIVE}, not 'abc'"),
    (check_keepalive_option, (1, 2), TypeError, f"{KEEPALIVE}, not (1, 2)"),
    (
        check_keepalive_option,
        (1, 0, 3),
        ValueError,
        "keepalive's interval must be at least 1, not 0",
    ),
    (
        check_keepalive_option,
        (32768, 1, 1),
        ValueError,
        "keepalive's idle time must be at most 32767, not 32768",
    ),
    (
        check_keepalive_option,
        (1, 1, 128),
        ValueError,
        "keepalive's count must be at most 127, not 128",
    ),
    (check_keepalive_option, (1, 2, 0.5), TypeError, "keepalive's count must be an int, not float"),
    (check_optional_bool, "yes", TypeError, "size must be True, False or None, not str"),
]


@pytest.mark.parametrize(("check", "value", "expected"), GOOD)
def test_good_values_come_back(check: Callable[..., Any], value: Any, expected: Any) -> None:
    """What is right is handed back, as the plain type that the library goes on with."""
    result = check("size", value)
    assert result == expected
    assert type(result) in (int, float, bool, tuple, type(None))


@pytest.mark.parametrize(("check", "value", "kind", "text"), BAD)
def test_bad_values_are_refused(
    check: Callable[..., Any], value: Any, kind: type[Exception], text: str
) -> None:
    """A wrong type is a ``TypeError``, a wrong value a ``ValueError``; both name the option."""
    with pytest.raises(kind) as caught:
        check("size", value)
    assert type(caught.value) is kind
    assert str(caught.value) == text


def test_seconds_beyond_any_float_are_for_ever() -> None:
    """An absurdly large whole number is no error of arithmetic."""
    assert check_seconds("size", 10**400) == math.inf
    with pytest.raises(ValueError, match="at least 0 seconds"):
        check_seconds("size", -(10**400))

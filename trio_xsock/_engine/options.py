"""``ConnectionOptions``: limits and time-outs of a connection, checked, as one value."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Final

from trio_xsock._network.options import (
    check_keepalive,
    check_optional_bool,
    check_optional_seconds,
    check_positive,
)


@dataclasses.dataclass(frozen=True, slots=True)  # a named tuple is read at twice the cost
class ConnectionOptions:
    """The options that ``TCPSocket`` and ``EasyTCPSocket`` share; see there."""

    receive_buffer_limit: int = 2**20
    send_buffer_limit: int = 2**26
    progress_interval: int = 65536
    allow_half_close: bool | None = None
    keepalive: tuple[int, int, int] | None = None
    unacknowledged_timeout: float | None = None
    idle_timeout: float | None = None

    @property
    def timeouts(self) -> tuple[float | None, float | None]:
        """The time-outs of the watchdogs: idle, unacknowledged."""
        return self.idle_timeout, self.unacknowledged_timeout

    def changed(self, **options: object) -> ConnectionOptions:
        """The same with some options changed.

        Raises:
            TypeError, ValueError: an option is of a wrong type, or out of its range.
        """
        return checked_options({**dataclasses.asdict(self), **options})


_NAMES: Final = tuple(field.name for field in dataclasses.fields(ConnectionOptions))


def checked_options(given: Mapping[str, object]) -> ConnectionOptions:
    """Check all options.

    Args:
        given: the options by name; others in it are ignored.

    Raises:
        TypeError, ValueError: an option is of a wrong type, or out of its range.
    """
    options = tuple(map(given.__getitem__, _NAMES))
    if given["keepalive"] is None:  # else True in it would be taken for 1
        try:
            return _known(*options)
        except TypeError:  # a value of a wrong type, which may have no hash
            pass
    return _check(*options)


def _check(
    receive_buffer_limit: object,
    send_buffer_limit: object,
    progress_interval: object,
    allow_half_close: object,
    keepalive: object,
    unacknowledged_timeout: object,
    idle_timeout: object,
) -> ConnectionOptions:
    return _shared(
        check_positive("receive_buffer_limit", receive_buffer_limit),
        check_positive("send_buffer_limit", send_buffer_limit),
        check_positive("progress_interval", progress_interval),
        check_optional_bool("allow_half_close", allow_half_close),
        check_keepalive(keepalive),
        check_optional_seconds("unacknowledged_timeout", unacknowledged_timeout),
        check_optional_seconds("idle_timeout", idle_timeout),
    )


_known: Final = functools.lru_cache(maxsize=64, typed=True)(_check)
"""As a server makes its sockets all alike, they are checked once."""


@functools.lru_cache(maxsize=64, typed=True)
def _shared(*options: object) -> ConnectionOptions:
    """One value for all sockets with the same options; a server has thousands."""
    return ConnectionOptions(*options)  # type: ignore[arg-type]

"""The options of ``AutoDiscovery``, checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from trio_xsock._machines.member_packets import Settings
from trio_xsock._network.options import check_positive, check_seconds
from trio_xsock._values.member import check_metadata, check_name

_LONGEST_INTERVAL: Final = 600.0


def checked_settings(
    *,
    name: str,
    metadata: Mapping[str, str] | None,
    key: bytes | None,
    heartbeat_interval: float,
    expiry: float,
    maximum_members: int,
) -> Settings:
    """The settings of a member, without its group.

    Raises:
        TypeError, ValueError: an option is of a wrong type, or out of its range.
    """
    interval, expiry = _check_times(heartbeat_interval, expiry)
    return Settings(
        name=check_name("name", name, may_be_empty=True),
        metadata=check_metadata({} if metadata is None else metadata),
        key=_check_key(key),
        heartbeat_interval=interval,
        expiry=expiry,
        maximum_members=check_positive("maximum_members", maximum_members),
    )


def _check_key(key: object) -> bytes | None:
    if key is not None and not isinstance(key, bytes):
        raise TypeError(f"key must be bytes or None, not {type(key).__name__}")
    if key == b"":
        raise ValueError("key must not be empty")
    return key


def _check_times(interval: float, expiry: float) -> tuple[float, float]:
    interval = check_seconds("heartbeat_interval", interval, positive=True)
    expiry = check_seconds("expiry", expiry, positive=True)
    if interval > _LONGEST_INTERVAL:
        raise ValueError(f"heartbeat_interval must be at most {_LONGEST_INTERVAL:g} seconds")
    if not 2 * interval <= expiry <= 6 * _LONGEST_INTERVAL:
        raise ValueError(
            f"expiry must be at least two heartbeat intervals and at most "
            f"{6 * _LONGEST_INTERVAL:g} seconds, not {expiry:g}"
        )
    return interval, expiry

"""``Member``: a program in a group that ``AutoDiscovery`` has found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, TypeAlias, cast

LONGEST_NAME: Final = 64
"""Bytes of a name in UTF-8, of a group or of a member."""
LARGEST_METADATA: Final = 256
"""Bytes of a member's metadata as they are sent: texts in UTF-8, and two for each of them."""

Endpoint: TypeAlias = tuple[str, int]
"""An IP address and a port, where a member is."""


@dataclass(frozen=True, slots=True)
class Member:
    """A program in the group; two programs on one machine are two members."""

    instance_id: str
    """Its unique identifier: 32 hexadecimal digits, new each time it registers."""
    address: str
    """Its IP address."""
    port: int
    """Its own port, for messages to this member alone."""
    name: str = ""
    """The name that it has chosen; it need not be unique."""
    metadata: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), hash=False)
    """Texts by name that it publishes."""


def check_name(what: str, name: object, *, may_be_empty: bool) -> str:
    """Refuse a name that does not fit into a packet.

    Raises:
        TypeError: not a str.
        ValueError: more than 64 bytes in UTF-8, not text that can be encoded, or empty where it
            must not be.
    """
    if not isinstance(name, str):
        raise TypeError(f"{what} must be a str, not {type(name).__name__}")
    size = len(name.encode())  # a lone surrogate raises UnicodeEncodeError, a ValueError
    if size > LONGEST_NAME or not (size or may_be_empty):
        least = 0 if may_be_empty else 1
        raise ValueError(f"{what} must have {least}..{LONGEST_NAME} bytes in UTF-8, not {size}")
    return name


def check_metadata(metadata: object) -> Mapping[str, str]:
    """A read-only copy of a mapping of texts.

    Raises:
        TypeError: not a mapping of str to str.
        ValueError: more than fits into a packet.
    """
    if not isinstance(metadata, Mapping):
        raise TypeError(f"metadata must be a mapping, not {type(metadata).__name__}")
    copy: dict[str, str] = {}
    for key, value in cast("Mapping[object, object]", metadata).items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise TypeError("metadata must map str to str")
        copy[key] = value
    size = sum(len(text.encode()) + 1 for pair in copy.items() for text in pair)
    if size > LARGEST_METADATA:
        raise ValueError(f"metadata must have at most {LARGEST_METADATA} bytes, not {size}")
    return MappingProxyType(copy)

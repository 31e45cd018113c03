"""Type aliases shared by the layers above."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from typing_extensions import Buffer
else:  # the name exists in the standard library only from Python 3.12 on
    Buffer = bytes | bytearray | memoryview

Address: TypeAlias = tuple[str, int] | tuple[str, int, int, int]
"""A socket address as the ``socket`` module gives it: IPv4, or IPv6 with flow and scope."""

__all__ = ["Address", "Buffer"]

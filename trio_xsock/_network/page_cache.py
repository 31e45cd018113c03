"""Whether a part of a file is in the kernel's memory, so that to send it is not to wait."""

from __future__ import annotations

import os
from typing import Final

_NO_WAIT: Final[int] = getattr(os, "RWF_NOWAIT", 0)
_AHEAD: Final = 2**20
"""Bytes to ask for at a time: to ask costs 1 or 2 us, and files are mostly in memory, or not."""


class PageCache:
    """Looks after one file that is sent from its beginning to its end.

    It asks for the last byte of a range. The kernel reads ahead in order, so what is before it is
    there as well, as a rule.

    Args:
        fileno: the file's descriptor.

    Attributes:
        tells: the file system can be asked. Those in user space, and some others, cannot.
    """

    __slots__ = ("_byte", "_fileno", "_until", "tells")

    def __init__(self, fileno: int) -> None:
        self._fileno = fileno
        self._byte = bytearray(1)
        self._until = 0
        self.tells = bool(_NO_WAIT)

    def has(self, offset: int, size: int) -> bool:
        """Whether ``size`` bytes from ``offset`` can be had without waiting, or are not there."""
        end = offset + size
        if end <= self._until:
            return True
        if self._is_there(offset + _AHEAD - 1):
            self._until = offset + _AHEAD
            return True
        return self._is_there(end - 1)

    def _is_there(self, position: int) -> bool:
        if not self.tells:
            return False
        try:  # beyond the end of the file there is nothing to wait for, and nothing is learnt
            there = os.preadv(self._fileno, (self._byte,), position, _NO_WAIT)
        except BlockingIOError:
            return False
        except OSError:
            self.tells = False
            return False
        return there > 0

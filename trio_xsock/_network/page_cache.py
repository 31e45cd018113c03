"""Whether a part of a file is in the kernel's memory, so that to send it is not to wait."""

from __future__ import annotations

from typing import Final

from trio_xsock._platform import files as platform

_AHEAD: Final = 2**20
"""Bytes to ask for at a time: to ask costs 1 or 2 us, and files are mostly in memory, or not."""

LEAST_AHEAD: Final = 2**20
_MOST_AHEAD: Final = 2**24
_QUICK: Final = 0.01
_SLOW: Final = 0.04
"""Seconds between which reading ahead shall take; a busy processor alone takes some of them."""


class PageCache:
    """Looks after one file that is sent from its beginning to its end.

    It asks for the last byte of a range. The kernel reads ahead in order, so what is before it is
    there as well, as a rule. Some file systems cannot be asked, such as those in user space and
    the overlays of containers: of these only that is known to be there which was read just now.

    Args:
        fileno: the file's descriptor.

    Attributes:
        ahead: how many bytes to read next, where they may not be there.
    """

    __slots__ = ("_byte", "_fileno", "_tells", "_until", "ahead")

    def __init__(self, fileno: int) -> None:
        self._fileno = fileno
        self._byte = bytearray(1)
        self._until = 0
        self._tells = platform.tells_what_is_in_memory()
        self.ahead = LEAST_AHEAD

    def available(self, offset: int, size: int) -> int:
        """How many of ``size`` bytes from ``offset`` on can be had without waiting."""
        end = offset + size
        if end > self._until:
            if self._is_there(offset + _AHEAD - 1):
                self._until = offset + _AHEAD
            elif self._is_there(end - 1):
                return size
        return max(0, min(size, self._until - offset))

    def note_loaded(self, end: int, seconds: float) -> None:
        """The ``ahead`` bytes before ``end`` have just been read, in so many seconds.

        What is in memory is read in much larger pieces than what is on a disk: calling a thread
        for each MiB would cost as much again as sending it.
        """
        self._until = end
        if seconds < _QUICK:
            self.ahead = min(self.ahead * 2, _MOST_AHEAD)
        elif seconds > _SLOW:
            self.ahead = max(self.ahead // 2, LEAST_AHEAD)

    def _is_there(self, position: int) -> bool:
        if not self._tells:
            return False
        try:  # beyond the end of the file there is nothing to wait for, and nothing is learnt
            there = platform.preadv(self._fileno, (self._byte,), position, wait=False)
        except BlockingIOError:
            return False
        except OSError:
            self._tells = False
            return False
        return there > 0

"""What the C library does with memory that was freed."""

from __future__ import annotations

import functools
from typing import Final

_BLOCK: Final = 2**22


@functools.cache
def keep_freed_memory() -> None:
    """Let glibc keep 8 MiB of freed memory; done once in a process, and nothing elsewhere.

    A bulk receive takes some blocks of up to a megabyte, frees them all, and takes them again. By
    default glibc gives the end of its heap back to the OS each time: 450 page faults for each
    megabyte over TLS, more than half of the time; four for each message of 16 KiB, if those of many
    connections wait in their channels together. What it keeps is twice the size of the largest
    block that it once had from the OS by itself and that was freed, see M_MMAP_THRESHOLD in
    mallopt(3). So this frees one of 4 MiB, of which no page was ever used.
    """
    bytes(_BLOCK)

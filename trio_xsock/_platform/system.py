"""Which system this is, how it waits, and its signals."""

from __future__ import annotations

import errno as errnos
import os
import select
import signal
import sys
from types import ModuleType
from typing import Final, Protocol

if sys.platform != "win32":
    pass

MINIMAL: Final[bool] = os.environ.get("TRIO_XSOCK_PLATFORM") == "minimal"
"""Whether to behave as if everything that a system may lack was missing."""
IS_WINDOWS: Final[bool] = sys.platform == "win32"


def number(module: ModuleType, name: str, *, linux: int = 0, darwin: int = 0) -> int:
    """A number that not every system has; 0 if it is missing.

    Args:
        module: of the standard library.
        name: its name in the module.
        linux: the number on Linux, if not all versions of Python have a name for it.
        darwin: the same on macOS.
    """
    unnamed = {"linux": linux, "darwin": darwin}.get(sys.platform, 0)
    return 0 if MINIMAL else int(getattr(module, name, unnamed))


def missing(call: str) -> OSError:
    return OSError(errnos.ENOSYS, f"this system has no {call}")


def is_linux() -> bool:
    """Whether the features of Linux are available."""
    return sys.platform == "linux" and not MINIMAL


# Readiness

POLLIN: Final = number(select, "POLLIN")
POLLOUT: Final = number(select, "POLLOUT")
POLLERR: Final = number(select, "POLLERR")
POLLHUP: Final = number(select, "POLLHUP")
POLLNVAL: Final = number(select, "POLLNVAL")


class EpollSet(Protocol):
    """What ``select.epoll`` makes."""

    @property
    def closed(self) -> bool: ...
    def fileno(self) -> int: ...
    def close(self) -> None: ...
    def poll(self, timeout: float | None = ..., maxevents: int = ...) -> list[tuple[int, int]]: ...
    def register(self, fd: int, eventmask: int = ...) -> None: ...
    def modify(self, fd: int, eventmask: int) -> None: ...
    def unregister(self, fd: int) -> None: ...


class PollSet(Protocol):
    """What ``select.poll`` makes."""

    def register(self, fd: int, eventmask: int = ..., /) -> None: ...
    def poll(self, timeout: float | None = ..., /) -> list[tuple[int, int]]: ...


def make_epoll() -> EpollSet:
    """An epoll set; only where ``is_linux()``."""
    if sys.platform == "linux" and not MINIMAL:
        return select.epoll()
    raise missing("epoll")


def has_poll() -> bool:
    """Whether ``make_poll`` can be called: Windows waits for sockets only, in other ways."""
    return sys.platform != "win32" and not MINIMAL


def make_poll() -> PollSet:
    """A set for poll(2)."""
    if sys.platform != "win32" and not MINIMAL:
        return select.poll()
    raise missing("poll")


def waits_for_pipes() -> bool:
    """Whether pipes and terminals can be waited for as sockets are; else threads read them."""
    return sys.platform != "win32"


def set_blocking(fd: int, blocking: bool) -> None:
    """Have calls on a pipe wait or not; nothing where they always do."""
    if sys.platform != "win32":
        os.set_blocking(fd, blocking)


def console_wants_text() -> bool:
    """Whether a terminal is to be written to as Python does it, not by its descriptor."""
    return sys.platform == "win32"


# Signals


def ending_signals() -> list[signal.Signals]:
    """The signals that ask a program to end."""
    wanted = ["SIGINT", "SIGTERM", "SIGBREAK"] + ([] if MINIMAL else ["SIGHUP"])
    return [signal.Signals[name] for name in wanted if hasattr(signal, name)]

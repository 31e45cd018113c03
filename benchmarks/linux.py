"""What the benchmarks need of Linux. Elsewhere the names are there, and ``main`` refuses to run."""

from __future__ import annotations

import sys
from typing import Any

if sys.platform == "linux":
    from os import WNOHANG as WNOHANG
    from os import fork as fork
    from os import sched_getaffinity as sched_getaffinity
    from os import sched_setaffinity as sched_setaffinity
    from resource import RLIMIT_NOFILE as RLIMIT_NOFILE
    from resource import RUSAGE_SELF as RUSAGE_SELF
    from resource import getpagesize as getpagesize
    from resource import getrlimit as getrlimit
    from resource import getrusage as getrusage
    from resource import setrlimit as setrlimit
    from select import EPOLLIN as EPOLLIN
    from select import epoll as epoll
    from signal import SIGKILL as SIGKILL
    from socket import AF_UNIX as AF_UNIX
    from socket import MSG_DONTWAIT as MSG_DONTWAIT
    from socket import recv_fds as recv_fds
    from socket import send_fds as send_fds
else:

    def __getattr__(name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return None


def is_here() -> bool:
    """Whether this is Linux."""
    return sys.platform == "linux"

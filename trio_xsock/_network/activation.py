"""Socket activation: listening sockets that a supervisor has opened for this program.

systemd passes descriptors from 3 on, and says in the environment how many (``LISTEN_FDS``) and to
which process (``LISTEN_PID``); other supervisors do it the same way. Source: sd_listen_fds(3).
"""

from __future__ import annotations

import os
import socket as stdlib_socket
from typing import Final

FIRST_DESCRIPTOR: Final = 3
_VARIABLES: Final = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")


def activation_sockets() -> list[stdlib_socket.socket]:
    """The sockets that were passed to this program, for ``ServerSocket.from_socket``.

    Call it once, early: the variables are removed from the environment, and the descriptors
    will not be inherited, so that programs which this one starts do not take them for theirs.

    Returns:
        The sockets in the order of the unit file; the caller owns them. An empty list if none
        were passed to this process.

    Raises:
        OSError: a descriptor that was passed is no socket.
    """
    passed_to, count = os.environ.get("LISTEN_PID"), os.environ.get("LISTEN_FDS", "0")
    for variable in _VARIABLES:
        os.environ.pop(variable, None)
    if passed_to != str(os.getpid()) or not count.isdecimal():
        return []
    descriptors = range(FIRST_DESCRIPTOR, FIRST_DESCRIPTOR + int(count))
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)
    return [stdlib_socket.socket(fileno=descriptor) for descriptor in descriptors]

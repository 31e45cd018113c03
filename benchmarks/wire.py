"""How the processes of a run talk: one JSON object per message, over a Unix socket."""

from __future__ import annotations

import json
import socket
from typing import Any

from benchmarks import linux

Message = dict[str, Any]

_LARGEST = 2**18


class WireClosedError(Exception):
    """The other process has gone away."""


class Wire:
    """One end of a connection that keeps messages apart."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    @classmethod
    def pair(cls) -> tuple[Wire, Wire]:
        """Two connected ends."""
        one, other = socket.socketpair(linux.AF_UNIX, socket.SOCK_SEQPACKET)
        return cls(one), cls(other)

    @classmethod
    def from_descriptor(cls, descriptor: int) -> Wire:
        """The end that another process gave us."""
        return cls(socket.socket(fileno=descriptor))

    def send(self, message: Message, descriptors: tuple[int, ...] = ()) -> None:
        """Send a message, and open descriptors along with it.

        Raises:
            WireClosedError: nobody is there to read it.
        """
        try:
            linux.send_fds(self.sock, [json.dumps(message).encode()], descriptors)
        except (BrokenPipeError, ConnectionResetError) as exc:
            raise WireClosedError from exc

    def receive(self, timeout: float | None = None) -> Message:
        """Wait for the next message; descriptors that came with it are in ``"descriptors"``.

        Raises:
            TimeoutError: none came in ``timeout`` seconds.
            WireClosedError: none will come any more.
        """
        self.sock.settimeout(timeout)
        try:
            data, descriptors, _, _ = linux.recv_fds(self.sock, _LARGEST, 4)
        except ConnectionResetError as exc:
            raise WireClosedError from exc
        if not data:
            raise WireClosedError
        message: Message = json.loads(data)
        if descriptors:
            message["descriptors"] = descriptors
        return message

    def close(self) -> None:
        """The other end will see it."""
        self.sock.close()

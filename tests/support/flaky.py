"""Listening sockets of a machine that has run out of something."""

from __future__ import annotations

import socket
from typing import Any


class FlakyListener(socket.socket):
    """A real listening socket whose ``accept`` does what the test says, first.

    Attributes:
        script: errors to raise, and ``None`` for what really comes.
        calls: how often ``accept`` was called.
    """

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(fileno=sock.detach())
        self.setblocking(False)
        self.script: list[OSError | None] = []
        self.calls = 0

    def accept(self) -> tuple[socket.socket, Any]:
        self.calls += 1
        error = self.script.pop(0) if self.script else None
        if error is not None:
            raise error
        return super().accept()

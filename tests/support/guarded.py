"""Sockets with a handshake of their own, for tests of a server's new connections."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Any

from trio_xsock import ServerSocket, SocketError, TCPSocket
from trio_xsock._engine.connection import Connection
from trio_xsock._engine.ending import close
from trio_xsock._engine.upgrade import Over
from trio_xsock._runtime.steps import StepPair

from .serving import listening


class Guarded(TCPSocket):
    """Has a handshake: the peer says a letter, ``y`` to come in."""

    def _wants_tls(self) -> bool:
        return True  # so a connection that comes is held until its handshake is done

    def _begin_handshake(self, over: Over) -> float:
        Letter(self._connection, over).begin()
        return 60.0


class Letter:
    """The handshake of a ``Guarded``."""

    def __init__(self, connection: Connection, over: Over) -> None:
        assert connection.keeper is not None
        assert connection.transport is not None
        self.connection = connection
        self.transport = connection.transport
        self.over = over
        connection.link.take(self.transport, self)  # type: ignore[arg-type]
        self.watch = self.transport.make_watch(connection.keeper, StepPair(self.hear, self.hear))

    def begin(self) -> None:
        self.watch.reading(True)

    def look(self) -> None:
        try:
            self.hear()
        except BlockingIOError:
            pass

    def close(self) -> None:
        self.watch.close()

    def hear(self) -> None:
        answer = self.transport.recv(1)
        self.watch.close()
        if answer == b"c":
            close(self.connection)
        if answer == b"!":
            self.over(ValueError("a mistake of ours"))
        elif answer in (b"y", b"c"):
            if answer == b"y":
                self.connection.go_on(self.transport)
            self.over(None)
        else:
            self.over(SocketError(f"wrong answer {answer!r}"))


def guarded(**options: Any) -> AbstractAsyncContextManager[ServerSocket[Any]]:
    """A listening server of such sockets."""
    return listening(add_socket=Guarded, **options)

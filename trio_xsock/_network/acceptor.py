"""Accepting connections from listening sockets, and the errors of ``accept``.

The acceptor has no limits of its own: it calls ``may_accept`` before each connection, and passes
each one to ``welcome``.
"""

from __future__ import annotations

import errno as errnos
import math
import socket as stdlib_socket
from collections.abc import Callable, Sequence
from typing import Any

import trio

from trio_xsock._runtime.guard import protect_from_ki
from trio_xsock._runtime.keeper import Keeper
from trio_xsock._runtime.readiness import Watch, watch_socket
from trio_xsock._runtime.steps import StepPair, Steps
from trio_xsock._values.errors import SocketError, translate_os_error

from .foreign import Listener
from .transport import PlainTransport, Transport, set_for_connections

_AT_ONCE = 64
"""Connections accepted per wake-up, before existing connections are served."""

_LISTENER_ERRORS = frozenset({errnos.EBADF, errnos.EINVAL, errnos.ENOTSOCK, errnos.EFAULT})
"""It listens no more, and never will. Any other error (no memory) may pass."""

_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 2.0

# accept(2): errors of the connection, not of the listener; Linux hands pending network errors
# of the new connection over as errors of accept.
_CONNECTION_ERRORS = frozenset(
    {
        errnos.ECONNABORTED,
        errnos.ECONNRESET,
        errnos.EPERM,
        errnos.EPROTO,
        errnos.ENETDOWN,
        errnos.ENOPROTOOPT,
        errnos.EHOSTDOWN,
        errnos.EHOSTUNREACH,
        errnos.EOPNOTSUPP,
        errnos.ENETUNREACH,
        errnos.ETIMEDOUT,
    }
)


@protect_from_ki
class Acceptor:
    """Accepts connections from listening sockets while there is a place for them.

    Args:
        keeper: the server's; woken when a pause begins.
        listeners: listening, non-blocking; owned from now on.
        may_accept: returns whether there is a place for one more; must not call user code.
        welcome: called with a connected descriptor, which it owns then, and the peer's address.
        failed: called with errors of the listener: once per outage when there are no
            descriptors or no memory, and finally if it can accept no more.

    Attributes:
        listeners: the listening sockets.
        accepts: there is a place, and the OS is asked to report new connections.
        retry_at: when a pause ends, on Trio's clock; ``math.inf`` when there is none.
    """

    __slots__ = (
        "_closed",
        "_failed",
        "_keeper",
        "_may_accept",
        "_pause",
        "_watches",
        "_welcome",
        "accepts",
        "listeners",
        "retry_at",
    )

    def __init__(
        self,
        keeper: Keeper,
        listeners: Sequence[stdlib_socket.socket | Listener],
        *,
        may_accept: Callable[[], bool],
        welcome: Callable[[Transport, tuple[Any, ...]], None],
        failed: Callable[[SocketError, bool], None],
    ) -> None:
        self.listeners = list(listeners)
        self.retry_at = math.inf
        self._keeper = keeper
        self._may_accept = may_accept
        self._welcome = welcome
        self._failed = failed
        self.accepts = False
        self._closed = False
        self._pause = 0.0
        self._watches: list[Watch] = []
        for listener in self.listeners:

            def step(listener: stdlib_socket.socket | Listener = listener) -> None:
                self._accept_step(listener)

            self._watches.append(_watch(keeper, listener, StepPair(step, step)))

    def update(self) -> None:
        """The number of connections changed: accept if, and only if, there is a place."""
        if not self._closed:
            self._want(self.retry_at == math.inf and self._may_accept())

    def _want(self, wanted: bool) -> None:
        if wanted is self.accepts:
            return
        try:
            for watch in self._watches:
                watch.reading(wanted)
        except Exception as exc:
            # This is no error of the connection that came or ended; it is tried again.
            self.retry_at = trio.current_time() + _FIRST_PAUSE
            self._keeper.wake()
            self._keeper.fault(exc)
            return
        self.accepts = wanted

    def retry(self) -> None:
        """The pause is over: try again."""
        self.retry_at = math.inf
        self.update()

    def tick(self) -> float:
        """Try again if a pause is over; returns when to call this again, on Trio's clock."""
        if trio.current_time() >= self.retry_at:
            self.retry()
        return self.retry_at

    def _accept_step(self, listener: stdlib_socket.socket | Listener) -> None:
        for count in range(_AT_ONCE):
            # User code runs in welcome, and may close the acceptor.
            if self._closed or not (self.accepts and self._may_accept()):
                break
            try:
                sock, peer = listener.accept()
            except (BlockingIOError, InterruptedError):
                break
            except OSError as exc:
                if exc.errno in _CONNECTION_ERRORS:
                    continue
                if exc.errno in _LISTENER_ERRORS:
                    self._failed(translate_os_error(exc, "cannot accept connections"), True)
                else:
                    self._begin_pause(exc, bool(count))
                return
            except Exception as exc:
                self._begin_pause(exc, bool(count))  # it may go on raising
                raise
            transport = _transport_of(sock)
            try:
                # The peer of a Unix socket has no address of our kind, but text or bytes.
                self._welcome(transport, ("", 0) if isinstance(peer, str | bytes) else peer)
            except BaseException:
                transport.close()
                raise
        # All waiting ones were accepted, or as many as allowed: an outage is over.
        self._pause = 0.0
        self.update()

    def _begin_pause(self, exc: Exception, progress: bool) -> None:
        """None can be accepted at present, mostly for lack of descriptors or memory."""
        first = not self._pause
        longer = 0.0 if progress else self._pause * 2
        self._pause = min(max(longer, _FIRST_PAUSE), _LONGEST_PAUSE)
        self.retry_at = trio.current_time() + self._pause
        self._want(False)
        if first and isinstance(exc, OSError):
            text = "cannot accept connections at present, it is tried again by itself"
            self._failed(translate_os_error(exc, text), False)
        self._keeper.wake()

    def close(self) -> None:
        """Stop listening and close the descriptors. Idempotent."""
        self._closed = True
        watches, self._watches = self._watches, []
        for watch in watches:
            watch.close()
        for listener in self.listeners:
            listener.close()
        self.retry_at = math.inf


def _watch(keeper: Keeper, listener: stdlib_socket.socket | Listener, steps: Steps) -> Watch:
    if isinstance(listener, stdlib_socket.socket):
        set_for_connections(listener)
        return watch_socket(keeper, listener, steps)
    return listener.make_watch(keeper, steps)


def _transport_of(sock: stdlib_socket.socket | Transport) -> Transport:
    return PlainTransport.accepted(sock) if isinstance(sock, stdlib_socket.socket) else sock

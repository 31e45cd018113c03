"""The books of a server: who is connected, who waits to be accepted, and who accepts.

``Roster``, ``Reception`` (newcomers), ``Supervision`` (handlers), ``ServerListening`` and
``ServerSocket`` build on one another, each in a module of its own.
"""

from __future__ import annotations

import abc
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

import trio

from trio_xsock._network.acceptor import Acceptor
from trio_xsock._network.options import check_count, check_positive
from trio_xsock._runtime.channel import EventChannel
from trio_xsock._runtime.guard import Parking, let_others_run, protect_from_ki
from trio_xsock._runtime.scoped import Scoped
from trio_xsock._sockets.listening import ListeningCalls
from trio_xsock._values.errors import InvalidStateError, SocketClosedError, SocketError
from trio_xsock._values.events import ConnectionsChanged, ErrorOccurred, Event, ListenerEvent
from trio_xsock._values.server_statistics import ServerStatistics

from .pool import SocketPool

S = TypeVar("S", bound=ListeningCalls)


@protect_from_ki
class Roster(Scoped, Generic[S]):
    """The connections of one server, and the places for them."""

    __slots__ = (
        "_accepted",
        "_acceptor",
        "_connections",
        "_failed",
        "_failure",
        "_followers",
        "_idle",
        "_maximum",
        "_minimum",
        "_open",
        "_pool",
        "_ready",
        "_refused",
        "_stops",
        "_waiting",
    )

    def __init__(
        self, handler: object, add_socket: Callable[[], S], minimum: int, maximum: int | None
    ) -> None:
        super().__init__(handler, None)
        self._minimum = check_count("minimum_sockets_available", minimum)
        self._maximum = _check_maximum(maximum)
        self._pool = SocketPool(add_socket)
        self._acceptor: Acceptor | None = None
        self._open: set[ListeningCalls] = set()  # every connection that has a descriptor
        self._connections: dict[S, None] = {}  # those that count, in order of arrival
        self._ready: deque[S] = deque()
        self._waiting: deque[Parking[S]] = deque()
        self._idle: list[Parking[None]] = []
        self._failure: SocketError | None = None
        self._followers: list[EventChannel] = []  # those that want ConnectionsChanged
        self._stops = 0  # how often listening was stopped
        self._accepted: int = 0
        self._failed: int = 0
        self._refused: int = 0

    # Facts

    @property
    def minimum_sockets_available(self) -> int:
        """Sockets made ahead; may change at any time. Xojo: ``MinimumSocketsAvailable``.

        Raises (assignment):
            ValueError, TypeError: negative, or not an int.
        """
        return self._minimum

    @minimum_sockets_available.setter
    def minimum_sockets_available(self, minimum: int) -> None:
        self._minimum = check_count("minimum_sockets_available", minimum)
        if self._acceptor is not None:
            self._refill()
        self._update()

    @property
    def maximum_sockets_connected(self) -> int | None:
        """The ceiling, ``None`` for none; may change at any time. Lowering it ends nobody.

        Raises (assignment):
            ValueError, TypeError: less than 1, or not an int. Xojo: ``MaximumSocketsConnected``.
        """
        return self._maximum

    @maximum_sockets_connected.setter
    def maximum_sockets_connected(self, maximum: int | None) -> None:
        self._maximum = _check_maximum(maximum)
        self._update()

    def active_connections(self) -> list[S]:
        """The sockets that are connected now, oldest first; a new list each time.

        Those that wait to be accepted are among them. Xojo: ``ActiveConnections``.
        """
        return list(self._connections)

    def statistics(self) -> ServerStatistics:
        """Counters since the server was made."""
        return ServerStatistics(
            accepted=self._accepted,
            refused=self._refused,
            failed=self._failed,
            live=len(self._connections),
            ready=len(self._ready),
            handshaking=self._count_unannounced(),
            events_posted=self._delivery.hub.posted,
            events_merged=self._delivery.hub.merged,
        )

    @abc.abstractmethod
    def _count_unannounced(self) -> int:
        """How many have been accepted and are no connections yet."""

    def _events_now(self) -> list[Event]:
        return [] if self._failure is None else [ErrorOccurred(self, self._failure)]

    if TYPE_CHECKING:

        @property
        def events(self) -> EventChannel[ListenerEvent[Self]]: ...

    def subscribe(self, *, connections: bool = False) -> EventChannel[ListenerEvent[Self]]:
        """A further channel of its own; each channel sees every event.

        Args:
            connections: also ``ConnectionsChanged``, for connections that come and go.
        """
        channel: EventChannel[Any] = super().subscribe()
        if connections:
            self._followers.append(channel)
        return channel

    # Newcomers

    def _may_accept(self) -> bool:
        """Whether there is a place for one more; runs no code of the user's."""
        return self._is_below_ceiling() and (self._is_asked_for() or self._pool.next_is_live())

    def _is_below_ceiling(self) -> bool:
        return self._maximum is None or len(self._connections) < self._maximum

    def _is_asked_for(self) -> bool:
        """Whether one more is waited for, or may itself wait until it is."""
        return len(self._ready) < (self._minimum or 1) or self._is_wanted()

    def _is_wanted(self) -> bool:
        """Whether somebody waits for a connection."""
        return bool(self._waiting)

    def _update(self) -> None:
        if self._acceptor is not None:
            self._acceptor.update()

    def _offer(self, socket: S) -> None:
        """Hand an open socket to who waits for one."""
        if self._waiting:
            self._waiting.popleft().unpark(socket)
        else:
            self._ready.append(socket)

    def _refill(self) -> None:
        assert self._keeper is not None
        try:
            self._pool.fill(self._minimum, self._keeper.context)
        except BaseException as exc:  # noqa: ASYNC103 - of a plain function; it is passed on
            self._pool_failed(exc)

    def _pool_failed(self, exc: BaseException) -> None:
        if isinstance(exc, SocketError):
            self._accepting_failed(exc, final=True)
        else:  # KeyboardInterrupt and its like leave the block, as from a handler
            assert self._keeper is not None
            self._keeper.fail(exc)

    def _accepting_failed(self, error: SocketError, final: bool) -> None:
        """The listener is in trouble, or ``add_socket`` is."""
        self._post_error(error)
        if final:
            self._failure = error
            self._stop()

    def _post_error(self, error: SocketError) -> None:
        self._delivery.post_error(error)

    def _post_change(self, opened: int, closed: int) -> None:
        if self._followers:
            self._followers = [each for each in self._followers if not each.closed]
        if self._followers or ConnectionsChanged in self._delivery.hub.wanted:
            fields = (self, opened, closed, len(self._connections))
            self._delivery.hub.post_to(self._followers, ConnectionsChanged, fields)
            self._delivery.schedule()

    # Taking connections

    async def accept(self) -> S:
        """Wait for the next connection; the contract of ``trio.abc.Listener``.

        Returns:
            An open socket. ``async with`` on it is allowed once and closes it. It lives for
            this one connection: ``connect()`` is refused.

        Raises:
            InvalidStateError: not listening; ``add_socket`` failed.
            SocketClosedError: ``stop_listening()`` was called, before or meanwhile.
            SocketError: the listener can accept no more.

        Cancellation: no connection is lost.
        """
        if self._acceptor is None:
            raise self._why_not_accepting()
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._ready:
            socket = self._ready.popleft()
            self._update()
            await let_others_run()
            return socket
        self._check_thread()
        parking: Parking[S] = Parking()
        self._waiting.append(parking)
        self._update()
        accepted = await parking.park(lambda: self._waiting.remove(parking))
        assert accepted is not None
        return accepted

    def _why_not_accepting(self) -> SocketError:
        if self._failure is not None:
            return self._failure.with_traceback(None)
        if self._stops:
            return SocketClosedError(f"{self!r}: it has stopped listening")
        return InvalidStateError(f"{self!r}: not listening; `await listen()` first")

    def _stop(self) -> None:
        """Stop listening."""
        self._stops += 1
        acceptor, self._acceptor = self._acceptor, None
        if acceptor is not None:
            acceptor.close()
        self._pool.clear()
        while self._waiting:
            self._waiting.popleft().fail(self._why_not_accepting())

    # As the owner of connections

    def _connection_ending(self, socket: Any, /) -> None:
        """See ``Owner``."""
        if socket in self._connections:
            del self._connections[socket]
            self._post_change(opened=0, closed=1)
            if self._ready and socket in self._ready:
                self._ready.remove(socket)
            self._update()

    def _connection_closed(self, socket: Any, /) -> None:
        """See ``Owner``."""
        self._connection_ending(socket)
        self._open.discard(socket)
        self._check_idle()

    @abc.abstractmethod
    def _connection_failed(self, socket: Any, /) -> None:
        """See ``Owner``."""

    @abc.abstractmethod
    def _handler_waits(self, socket: Any, scope: trio.CancelScope, /) -> None:
        """See ``Owner``."""

    @abc.abstractmethod
    def _handler_goes_on(self, socket: Any, scope: trio.CancelScope, cancelled: bool, /) -> None:
        """See ``Owner``."""

    def _is_idle(self) -> bool:
        return not self._open

    def _check_idle(self) -> None:
        while self._idle and self._is_idle():
            self._idle.pop().unpark()

    async def _wait_until_idle(self) -> None:
        """Wait until no connection is open and no handler runs."""
        if self._is_idle():
            await trio.lowlevel.checkpoint()
            return
        parking: Parking[None] = Parking()
        self._idle.append(parking)
        await parking.park(lambda: self._idle.remove(parking))


def _check_maximum(maximum: int | None) -> int | None:
    return None if maximum is None else check_positive("maximum_sockets_connected", maximum)

"""A handler object that remembers what it was called with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import trio

from trio_xsock import (
    Connected,
    DataAvailable,
    ErrorOccurred,
    Event,
    SendComplete,
    SendProgress,
    SocketError,
)

from .grammar import UNKNOWN

E = TypeVar("E")


class EventRecorder:
    """Give it as ``handler=``; ``events`` then holds every call as an event.

    A handler is told less than a channel. ``SendProgress.total_sent`` and
    ``SendComplete.bytes_sent`` are added up here, ``SendComplete.bytes_unsent`` is ``UNKNOWN``
    where the batch was aborted; ``check_grammar`` knows of that.

    Args:
        read: take what arrives, into ``received``.
        abort_after: answer True from ``on_send_progress`` once a batch has sent so many bytes.
        reactions: functions to call with the socket, by method name, after the call was noted;
            what the one of ``on_send_progress`` returns is the answer.

    Attributes:
        calls: names and arguments, as they came, less the socket.
        events: the same as events.
        received: what was read.
        depth: the deepest nesting of calls seen; SPEC 4.3 promises 1.
    """

    def __init__(
        self,
        *,
        read: bool = False,
        abort_after: int | None = None,
        reactions: dict[str, Callable[[Any], object]] | None = None,
    ) -> None:
        self.calls: list[tuple[object, ...]] = []
        self.events: list[Event] = []
        self.received = bytearray()
        self.depth = 0
        self._read = read
        self._abort_after = abort_after
        self._reactions = dict(reactions or {})
        self._in_batch = 0
        self._nesting = 0
        self._changed = trio.Event()

    @property
    def names(self) -> list[str]:
        """The methods that were called."""
        return [str(call[0]) for call in self.calls]

    @property
    def errors(self) -> list[SocketError]:
        """The errors that were posted."""
        return [event.error for event in self.of(ErrorOccurred)]

    def of(self, kind: type[E]) -> list[E]:
        """The events of one kind."""
        return [event for event in self.events if isinstance(event, kind)]

    async def wait_for(self, kind: type[E], count: int = 1) -> E:
        """Wait until ``count`` events of a kind have come in all; returns that one."""
        while len(self.of(kind)) < count:
            await self._changed.wait()
        return self.of(kind)[count - 1]

    async def wait_until(self, condition: Callable[[EventRecorder], object]) -> None:
        """Wait until ``condition(self)`` holds; looked at after each call."""
        while not condition(self):
            await self._changed.wait()

    def on_connected(self, socket: Any) -> None:
        self._note("on_connected", Connected(socket))

    def on_data_available(self, socket: Any) -> None:
        if self._read:
            self.received += socket.read_all()
        self._note("on_data_available", DataAvailable(socket))

    def on_send_progress(self, socket: Any, bytes_sent: int, bytes_left: int) -> bool | None:
        self._in_batch += bytes_sent
        event = SendProgress(socket, bytes_sent, bytes_left, self._in_batch)
        answer = self._note("on_send_progress", event, bytes_sent, bytes_left)
        if self._abort_after is not None and self._in_batch >= self._abort_after:
            return True
        return cast("bool | None", answer)

    def on_send_complete(self, socket: Any, user_aborted: bool) -> None:
        unsent = UNKNOWN if user_aborted else 0
        event = SendComplete(socket, user_aborted, self._in_batch, unsent)
        self._in_batch = 0
        self._note("on_send_complete", event, user_aborted)

    def on_error(self, socket: Any, error: SocketError) -> None:
        self._note("on_error", ErrorOccurred(socket, error), error)

    def _note(self, name: str, event: Event, *arguments: object) -> object:
        self.calls.append((name, *arguments))
        self.events.append(event)
        changed, self._changed = self._changed, trio.Event()
        changed.set()
        reaction = self._reactions.get(name)
        self._nesting += 1
        self.depth = max(self.depth, self._nesting)
        try:
            return reaction(event.socket) if reaction is not None else None
        finally:
            self._nesting -= 1

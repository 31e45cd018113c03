"""The queue of a slow consumer: the events of one socket, merged so that their number is bounded.

At most ten events of a socket wait, however much happens:

* of the present connection ``Connected``, ``DataAvailable``, ``ErrorOccurred``, the
  ``SendProgress`` of the running batch, and for batches that ended a ``SendProgress`` and a
  ``SendComplete`` for each value of ``user_aborted``;
* of earlier connections the ``Connected`` and the ``ErrorOccurred`` of the last one;
* of a server one ``ConnectionsChanged``, and errors.

Counts are added when events merge, so a consumer that sums them gets the same numbers, however
late it reads; and a ``SendProgress`` always comes before the ``SendComplete`` of its batch.
"""

from __future__ import annotations

from trio_xsock._values.events import (
    Connected,
    ConnectionsChanged,
    DataAvailable,
    ErrorOccurred,
    Event,
    SendComplete,
    SendProgress,
)

_MOST = 10
"""Events that wait, at the most. A connection has one error; of a server, which may post any
number of them, the newest are kept."""

_MARKS = Connected | ErrorOccurred
"""Events that are not merged: the beginning and the end of a connection."""


class EventQueue:
    """The waiting events of one socket for one consumer.

    Attributes:
        events: the waiting ones, each with the number of its connection; not to be changed.
        data_waits: there is a ``DataAvailable`` among them.
        merged: how many events were merged into others or made superfluous by them.
    """

    __slots__ = ("_connection", "data_waits", "events", "merged")

    def __init__(self) -> None:
        self._connection = 0
        self.events: list[tuple[int, Event]] = []
        self.data_waits = False
        self.merged = 0

    def __len__(self) -> int:
        return len(self.events)

    def pop(self) -> Event:
        """Remove and return the oldest."""
        event = self.events.pop(0)[1]
        if self.data_waits and isinstance(event, DataAvailable):
            self.data_waits = False
        return event

    def pass_on(self, event: Event) -> Event:
        """The event for a consumer that waits in ``receive``; nothing else is queued."""
        return event

    def begin_connection(self) -> None:
        """What is posted from now on belongs to a new connection."""
        self._connection += 1
        self._forget_all_but_last()

    def withdraw_data(self) -> None:
        """Remove a waiting ``DataAvailable``: the data has been read."""
        if self.data_waits:
            self.data_waits = False
            self.events = [
                entry for entry in self.events if not isinstance(entry[1], DataAvailable)
            ]

    def post(self, event: Event) -> None:
        """Append ``event``, or merge it into those that wait."""
        if isinstance(event, DataAvailable):
            if self.data_waits:
                self.merged += 1
            else:
                self.data_waits = True
                self._append(event)
        elif isinstance(event, SendProgress):
            self._post_progress(event)
        elif isinstance(event, SendComplete):
            self._post_complete(event)
        elif isinstance(event, ConnectionsChanged) and self._merge_change(event):
            self.merged += 1
        else:
            self._append(event)
            if len(self.events) > _MOST:
                self._forget_oldest_mark()

    def post_batch(self, progress: SendProgress, complete: SendComplete) -> None:
        """Do what ``post`` does, for a batch that went at once: the most frequent case."""
        if self.events:
            self.post(progress)
            self.post(complete)
        else:
            self.events += (self._connection, progress), (self._connection, complete)

    def _merge_change(self, event: ConnectionsChanged) -> bool:
        """Add the counts to a waiting event of the same kind, if there is one."""
        for index, (connection, waiting) in enumerate(self.events):
            if isinstance(waiting, ConnectionsChanged):
                opened, closed = waiting.opened + event.opened, waiting.closed + event.closed
                merged = ConnectionsChanged(event.socket, opened, closed, event.live)
                self.events[index] = connection, merged
                return True
        return False

    def _append(self, event: Event) -> None:
        self.events.append((self._connection, event))

    def _post_progress(self, event: SendProgress) -> None:
        index = self._progress_of_running_batch()
        if index is None:
            self._append(event)
            return
        connection, waiting = self.events[index]
        assert isinstance(waiting, SendProgress)
        merged = SendProgress(
            event.socket,
            waiting.bytes_sent + event.bytes_sent,
            event.bytes_left,
            event.total_sent,
        )
        self.events[index] = connection, merged
        self.merged += 1

    def _progress_of_running_batch(self) -> int | None:
        for index in reversed(range(len(self.events))):
            event = self.events[index][1]
            if isinstance(event, SendProgress):
                return index
            if isinstance(event, SendComplete):
                return None
        return None

    def _post_complete(self, event: SendComplete) -> None:
        into = self._find_complete(event.user_aborted)
        if into is None:
            self._append(event)
            return
        connection, waiting = self.events[into]
        assert isinstance(waiting, SendComplete)
        merged = SendComplete(
            event.socket,
            event.user_aborted,
            waiting.bytes_sent + event.bytes_sent,
            waiting.bytes_unsent + event.bytes_unsent,
        )
        self.events[into] = connection, merged
        self.merged += 1
        progress = self._progress_of_running_batch()
        if progress is not None:
            self._move_progress(progress, into, waiting.bytes_sent)

    def _find_complete(self, user_aborted: bool) -> int | None:
        for index, (_, event) in enumerate(self.events):
            if isinstance(event, SendComplete) and event.user_aborted == user_aborted:
                return index
        return None

    def _move_progress(self, index: int, complete: int, sent_before: int) -> None:
        """Merge a batch's progress with that of the batches its completion was merged into."""
        connection, event = self.events.pop(index)
        assert isinstance(event, SendProgress)
        bytes_sent = event.bytes_sent
        before = complete - 1
        while before >= 0 and not isinstance(self.events[before][1], SendComplete):
            earlier = self.events[before][1]
            if isinstance(earlier, SendProgress):
                connection, bytes_sent = self.events[before][0], bytes_sent + earlier.bytes_sent
                del self.events[before]
                complete -= 1
                self.merged += 1
                break
            before -= 1
        total = sent_before + event.total_sent
        merged = SendProgress(event.socket, bytes_sent, event.bytes_left, total)
        self.events.insert(complete, (connection, merged))

    def _forget_all_but_last(self) -> None:
        """Of earlier connections, keep the events of the last one that has any."""
        last = max((n for n, event in self.events if isinstance(event, _MARKS)), default=0)
        kept = [
            (n, event) for n, event in self.events if n == last or not isinstance(event, _MARKS)
        ]
        self.merged += len(self.events) - len(kept)
        self.events = kept

    def _forget_oldest_mark(self) -> None:
        index = next(i for i, (_, event) in enumerate(self.events) if isinstance(event, _MARKS))
        del self.events[index]
        self.merged += 1

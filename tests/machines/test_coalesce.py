"""Merging, compared with the list of all events that were posted."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from trio_xsock._machines.coalesce import EventQueue
from trio_xsock._values.errors import SocketError
from trio_xsock._values.events import (
    Connected,
    ConnectionsChanged,
    DataAvailable,
    ErrorOccurred,
    Event,
    SendComplete,
    SendProgress,
)

MARKS = (Connected, ErrorOccurred)


@dataclass
class Life:
    """A socket that goes from connection to connection, as sockets may, and its consumer."""

    queue: EventQueue = field(default_factory=EventQueue)
    posted: list[Event] = field(default_factory=list)
    taken: list[Event] = field(default_factory=list)
    withdrawn: int = 0
    connection: int = 0
    connected: bool = False
    input_ended: bool = False
    left: int = 0
    total: int = 0
    removed: int = 0

    @property
    def waiting(self) -> list[Event]:
        return [event for _, event in self.queue.events]

    def post(self, event: Event) -> None:
        self.posted.append(event)
        self.queue.post(event)

    def mark(self, kind: str) -> Event:
        """``Connected`` or an error that tells which connection it is of."""
        if kind == "connected":
            return Connected(self.connection)
        return ErrorOccurred(self.connection, SocketError(f"of connection {self.connection}"))

    # What can happen

    def begin(self) -> None:
        """An attempt that is cancelled."""
        if not self.connected:
            self.connection += 1
            self.queue.begin_connection()

    def connect(self) -> None:
        if not self.connected:
            self.begin()
            self.connected, self.input_ended = True, False
            self.post(self.mark("connected"))

    def fail(self) -> None:
        """An attempt that fails."""
        if not self.connected:
            self.begin()
            self.post(self.mark("error"))

    def arrive(self) -> None:
        if self.connected and not self.input_ended:
            self.post(DataAvailable(self.connection))

    def read(self) -> None:
        """``read_all`` or ``purge``."""
        self.withdrawn += any(isinstance(event, DataAvailable) for event in self.waiting)
        self.queue.withdraw_data()

    def write(self, count: int) -> None:
        if self.connected:
            self.left += count

    def send(self, count: int) -> None:
        """The OS takes a chunk."""
        count = min(count, self.left)
        if count and count == self.left and not self.total and not self.removed:
            self.left = 0
            progress = SendProgress(self.connection, count, 0, count)
            complete = SendComplete(self.connection, False, count, 0)
            self.posted += progress, complete
            self.queue.post_batch(progress, complete)
        elif count:
            self.left -= count
            self.total += count
            self.post(SendProgress(self.connection, count, self.left, self.total))
            self.end_batch()

    def cancel(self, count: int) -> None:
        """A caller takes back its own bytes."""
        count = min(count, self.left)
        if count:
            self.left -= count
            self.removed += count
            self.end_batch()

    def abort(self) -> None:
        self.cancel(self.left)

    def end_batch(self) -> None:
        if not self.left:
            removed = self.removed
            self.post(SendComplete(self.connection, removed > 0, self.total, removed))
            self.total = self.removed = 0

    def lose(self) -> None:
        if self.connected:
            self.abort()
            if not self.input_ended:
                self.post(self.mark("error"))
            self.connected = False

    def finish(self) -> None:
        """The peer ends its direction; ours stays open."""
        if self.connected and not self.input_ended:
            self.input_ended = True
            self.post(self.mark("error"))

    def close(self) -> None:
        if self.connected:
            self.abort()
            self.connected = False

    def take(self, count: int) -> None:
        for _ in range(min(count, len(self.queue))):
            self.taken.append(self.queue.pop())

    # What must hold after each of these

    def check(self) -> None:
        waiting, seen = self.waiting, self.taken + self.waiting
        assert len(self.queue) == len(waiting) <= 10
        assert sum(isinstance(event, DataAvailable) for event in waiting) <= 1
        assert len(seen) + self.queue.merged + self.withdrawn == len(self.posted)
        self.check_marks(waiting, seen)
        self.check_sums(seen)
        self.check_batches(seen)

    def check_marks(self, waiting: list[Event], seen: list[Event]) -> None:
        """They keep their order; of earlier connections only the last one's wait."""
        marks = [event for event in seen if isinstance(event, MARKS)]
        posted = [event for event in self.posted if isinstance(event, MARKS)]
        places = [next(n for n, other in enumerate(posted) if other is event) for event in marks]
        assert places == sorted(places)
        earlier = {
            event.socket
            for event in waiting
            if isinstance(event, MARKS) and event.socket != self.connection
        }
        assert len(earlier) <= 1
        # What is missing is of connections before the last one that has something to tell.
        missing = [event.socket for n, event in enumerate(posted) if n not in places]
        last = max((event.socket for event in posted if event.socket != self.connection), default=0)
        assert all(connection < last for connection in missing)

    def check_sums(self, seen: list[Event]) -> None:
        """Who adds up gets the same numbers as somebody who sees every event."""
        assert progress_sum(seen) == progress_sum(self.posted)
        for aborted in (False, True):
            assert complete_sums(seen, aborted) == complete_sums(self.posted, aborted)

    def check_batches(self, seen: list[Event]) -> None:
        """Progress comes before the completion of its batch, and adds up to it."""
        sent = total = left = 0
        for event in seen:
            if isinstance(event, SendProgress):
                sent, total, left = sent + event.bytes_sent, event.total_sent, event.bytes_left
            elif isinstance(event, SendComplete):
                assert sent == total == event.bytes_sent
                assert left == 0 or event.user_aborted
                assert event.user_aborted == (event.bytes_unsent > 0)
                sent = total = left = 0
        assert (sent, total) == (self.total, self.total)
        assert left == 0 or self.total


def progress_sum(events: list[Event]) -> int:
    return sum(event.bytes_sent for event in events if isinstance(event, SendProgress))


def complete_sums(events: list[Event], aborted: bool) -> tuple[int, int]:
    ends = [event for event in events if isinstance(event, SendComplete)]
    ends = [event for event in ends if event.user_aborted is aborted]
    return sum(end.bytes_sent for end in ends), sum(end.bytes_unsent for end in ends)


programs = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["connect", "connect", "arrive", "arrive", "read", "abort"])),
        st.tuples(st.sampled_from(["lose", "finish", "close", "begin", "fail"])),
        st.tuples(st.sampled_from(["write", "send", "send", "cancel"]), st.integers(1, 9)),
        st.tuples(st.just("take"), st.integers(1, 3)),
    ),
    max_size=60,
)
CONNECT, ARRIVE, LOSE = ("connect",), ("arrive",), ("lose",)
DONE = [("write", 2), ("send", 1), ("send", 1)]
ABORTED = [("write", 2), ("send", 1), ("abort",)]


@given(programs)
@example([ARRIVE, ("read",)])
@example([("write", 2), ("send", 1), ARRIVE, ("send", 1), *DONE])
@example([*DONE, *ABORTED, ("take", 2), *DONE, *ABORTED, ("write", 9), ("send", 1)])
@example([*DONE, *DONE, ("take", 1), *DONE, ("write", 9), ("send", 1), *ABORTED])
@example([*ABORTED, ("take", 2), *DONE, *ABORTED, ("take", 1), *ABORTED, *DONE])
@example(
    [
        CONNECT,
        ARRIVE,
        *DONE,
        *ABORTED,
        LOSE,
        CONNECT,
        ARRIVE,
        *DONE,
        *ABORTED,
        ("write", 9),
        ("send", 1),
        LOSE,
    ]
)
@example([LOSE, ("begin",), ("fail",), CONNECT, ("finish",), ("close",), ("begin",)])
def test_merging_keeps_what_can_be_known(program: list[tuple[Any, ...]]) -> None:
    """However slow the consumer, few events wait, and they tell sums, ends and order exactly."""
    life = Life()
    life.connect()
    for operation, *arguments in program:
        getattr(life, operation)(*arguments)
        life.check()
    life.take(10)
    life.check()
    assert not life.queue


def posted(*events: Event) -> list[Event]:
    """What waits after these were posted."""
    queue = EventQueue()
    for event in events:
        queue.post(event)
    return [queue.pop() for _ in range(len(queue))]


def test_nothing_is_merged_that_need_not_be() -> None:
    """A consumer that keeps up sees every event as it was."""
    queue = EventQueue()
    for event in (
        Connected(1),
        DataAvailable(1),
        DataAvailable(1),
        SendProgress(1, 5, 1, 5),
        SendProgress(1, 1, 0, 6),
        SendComplete(1, False, 6, 0),
        ErrorOccurred(1, SocketError()),
    ):
        queue.post(event)
        assert queue.pop() is event
    assert queue.merged == 0


def test_running_progress_merges() -> None:
    """Sent bytes add up; the rest is the newest."""
    assert posted(SendProgress(1, 5, 9, 5), SendProgress(1, 3, 6, 8)) == [SendProgress(1, 8, 6, 8)]


def test_a_new_batch_does_not_merge_into_the_one_before() -> None:
    """While a batch runs, its progress stays behind the end of the batch before."""
    events = [SendProgress(1, 5, 0, 5), SendComplete(1, False, 5, 0), SendProgress(1, 3, 1, 3)]
    assert posted(*events) == events


def test_batches_with_the_same_end_merge() -> None:
    """Their progress merges too, and stands before the completion."""
    assert posted(
        SendProgress(1, 5, 0, 5),
        SendComplete(1, False, 5, 0),
        DataAvailable(1),
        SendProgress(1, 3, 0, 3),
        SendComplete(1, False, 3, 0),
    ) == [SendProgress(1, 8, 0, 8), SendComplete(1, False, 8, 0), DataAvailable(1)]


def test_an_aborted_batch_stays_apart_from_others() -> None:
    """Whether something was dropped is never blurred."""
    events = [SendComplete(1, False, 5, 0), SendComplete(1, True, 0, 7)]
    assert posted(*events) == events
    assert posted(*events, SendComplete(1, True, 0, 1))[1] == SendComplete(1, True, 0, 8)


def test_a_server_that_posts_errors_for_ever_keeps_the_newest() -> None:
    """What has no other bound is bounded by the number of events that wait."""
    errors: list[Event] = [ErrorOccurred(1, SocketError(str(n))) for n in range(25)]
    queue = EventQueue()
    for event in errors:
        queue.post(event)
        assert len(queue) <= 10
    assert [queue.pop() for _ in range(len(queue))] == errors[-10:]
    assert queue.merged == 15


def test_connections_that_come_and_go_are_added_up() -> None:
    """One such event waits, with the sums and with how many there are now; errors stay apart."""
    error = ErrorOccurred(1, SocketError("x"))
    queue = EventQueue()
    for event in (
        error,
        ConnectionsChanged(1, 1, 0, 1),
        ConnectionsChanged(1, 1, 0, 2),
        error,
        ConnectionsChanged(1, 0, 1, 1),
    ):
        queue.post(event)
    assert queue.merged == 2
    assert queue.pop() == error
    assert queue.pop() == ConnectionsChanged(1, 2, 1, 1)
    assert queue.pop() == error
    assert len(queue) == 0


def test_withdrawing_nothing_is_nothing() -> None:
    """``read_all`` on a socket whose announcement was taken leaves other events alone."""
    queue = EventQueue()
    queue.withdraw_data()
    queue.post(Connected(1))
    queue.withdraw_data()
    assert len(queue) == 1

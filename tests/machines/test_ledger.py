"""The send ledger, compared with lists of bytes."""

from __future__ import annotations

import time
import tracemalloc
from dataclasses import dataclass, field
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from trio_xsock._machines.ledger import Batch, FileRange, SendLedger, Ticket

FILES = [bytes(range(n, n + 100)) for n in (0, 100)]
"""What the files 0 and 1 of the model hold."""


@dataclass(eq=False)
class Entry:
    """What the model knows of one ticket."""

    kind: str
    ticket: Ticket | None
    there: bytearray
    """Bytes that can be sent."""
    to_come: int = 0
    """Bytes that were announced and not fed yet."""
    sent: int = 0
    removed: bool = False
    held: bool = False

    @property
    def left(self) -> int:
        return len(self.there) + self.to_come


@dataclass
class Model:
    """A ledger of whole byte strings, beside the real one."""

    ledger: SendLedger = field(default_factory=SendLedger)
    entries: list[Entry] = field(default_factory=list)
    everyone: list[Entry] = field(default_factory=list)
    batch_open: bool = False
    sent: int = 0
    removed: int = 0
    next_byte: int = 0

    def fresh(self, size: int) -> bytes:
        """Bytes that differ from their neighbours."""
        start = self.next_byte
        self.next_byte += size
        return bytes(n % 251 for n in range(start, start + size))

    def append(self, entry: Entry) -> None:
        self.entries.append(entry)
        self.everyone.append(entry)
        self.batch_open = True

    # The operations

    def queue(self, size: int) -> None:
        data = self.fresh(size)
        self.ledger.queue(data)
        self.append(Entry("queued", None, bytearray(data)))

    def reserve(self, size: int) -> None:
        data = self.fresh(size)
        self.append(Entry("reserved", self.ledger.reserve(memoryview(data)), bytearray(data)))

    def announce(self, size: int) -> None:
        self.append(Entry("announced", self.ledger.announce(size), bytearray(), size))

    def hold(self) -> None:
        ticket = self.ledger.announce(0)
        ticket.held = True
        self.append(Entry("held", ticket, bytearray(), held=True))

    def file(self, number: int, offset: int, size: int) -> None:
        ticket = self.ledger.reserve_file(FileRange(number, offset, size))
        self.append(Entry("file", ticket, bytearray(FILES[number][offset : offset + size])))

    def feed(self, size: int) -> None:
        """The first ticket that can be fed is."""
        for entry in self.entries:
            if entry.ticket is None or entry.there or not (entry.to_come or entry.held):
                continue
            if entry.held:
                data = self.fresh(size)
                self.ledger.extend(entry.ticket, data)
            else:
                data = self.fresh(min(size, entry.to_come))
                entry.ticket.feed(data)
                entry.to_come -= len(data)
            entry.there += data
            return

    def give_up(self) -> None:
        """The kernel does not take the file at the front; it is fed from now on."""
        if self.entries and self.entries[0].kind == "file":
            entry = self.entries[0]
            assert entry.ticket is not None
            entry.ticket.give_up_file()
            entry.kind, entry.to_come, entry.there = "announced", entry.left, bytearray()

    def release(self) -> None:
        """The first held ticket turns out to be complete."""
        for entry in self.entries:
            if entry.held and entry.ticket is not None and not entry.there:
                entry.held = entry.ticket.held = False
                self.ledger.account(0)
                self.drop_what_is_done()
                return

    def send(self, limit: int, share: float) -> None:
        """Take a chunk, of which the OS takes a share."""
        chunk = self.ledger.chunk(limit)
        sendable = self.sendable()
        if chunk is None:
            assert not sendable
            return
        if isinstance(chunk, FileRange):
            assert self.entries[0].kind == "file"
            data = FILES[chunk.fileno][chunk.offset : chunk.offset + chunk.size]
            assert len(data) == min(limit, self.entries[0].left)
        else:
            assert self.entries[0].kind != "file"
            data = bytes(chunk)
        assert 0 < len(data) <= limit
        assert bytes(sendable[: len(data)]) == data
        count = round(len(data) * share)
        self.ledger.account(count)
        self.sent += count
        while count:
            entry = self.entries[0]
            step = min(count, len(entry.there))
            del entry.there[:step]
            entry.sent += step
            count -= step
            self.drop_what_is_done()
        self.drop_what_is_done()

    def sendable(self) -> bytearray:
        """All that could be sent now without overtaking what is not there yet."""
        result = bytearray()
        for entry in self.entries:
            result += entry.there
            if entry.to_come or entry.held:
                break
        return result

    def drop_what_is_done(self) -> None:
        while self.entries and not self.entries[0].left and not self.entries[0].held:
            del self.entries[0]

    def remove(self, index: int) -> None:
        """A caller takes back its own, whatever became of it."""
        tickets = [entry for entry in self.everyone if entry.ticket is not None]
        if not tickets:
            return
        entry = tickets[index % len(tickets)]
        assert entry.ticket is not None
        waiting = any(other is entry for other in self.entries)
        assert self.ledger.remove(entry.ticket) == (entry.left if waiting else 0)
        if waiting:
            self.entries = [other for other in self.entries if other is not entry]
            self.note_removed(entry)

    def abort(self) -> None:
        expected = [entry.ticket for entry in self.entries if entry.ticket is not None]
        lost = self.ledger.abort()
        assert lost == expected
        for entry in self.entries:
            self.note_removed(entry)
        self.entries = []

    def note_removed(self, entry: Entry) -> None:
        entry.removed = True
        self.removed += entry.left

    def take_back(self) -> None:
        """One write of which nothing went out is undone, as if it had never been queued."""
        data = self.ledger.take_back()
        if data is None:
            return
        assert (self.sent, self.removed) == (0, 0)
        assert data == b"".join(bytes(entry.there) for entry in self.entries)
        self.everyone = [each for each in self.everyone if each not in self.entries]
        self.entries = []
        self.batch_open = False

    def end(self) -> None:
        batch = self.ledger.end_batch()
        if self.entries or not self.batch_open:
            assert batch is None
            return
        assert batch == Batch(self.sent, self.removed)
        assert self.ledger.end_batch() is None
        self.batch_open = False
        self.sent = self.removed = 0

    def check(self) -> None:
        ledger = self.ledger
        assert ledger.left == sum(entry.left for entry in self.entries)
        counted = sum(entry.left for entry in self.entries if entry.kind == "queued")
        assert ledger.counted == counted
        assert (ledger.batch_sent, ledger.batch_removed) == (self.sent, self.removed)
        for entry in self.everyone:
            ticket = entry.ticket
            if ticket is not None:
                facts = (ticket.left, ticket.sent, ticket.removed)
                assert facts == (entry.left, entry.sent, entry.removed)
                assert ticket.missing == entry.to_come
                assert ticket.idle == (not entry.there)


sizes = st.one_of(st.integers(1, 20), st.sampled_from([1000, 1023, 1024, 5000]))
programs = st.lists(
    st.one_of(
        st.tuples(
            st.sampled_from(["queue", "queue", "reserve", "announce", "feed"]),
            sizes,
        ),
        st.tuples(st.just("file"), st.integers(0, 1), st.integers(0, 50), st.integers(1, 50)),
        st.tuples(
            st.just("send"),
            st.one_of(st.integers(1, 30), st.just(65536)),
            st.sampled_from([0, 0.5, 1, 1, 1]),
        ),
        st.tuples(st.just("remove"), st.integers(0, 9)),
        st.tuples(
            st.sampled_from(["abort", "end", "end", "hold", "release", "give_up", "take_back"])
        ),
    ),
    max_size=40,
)


@given(programs)
@example([("hold",), ("feed", 5), ("queue", 3), ("send", 65536, 1), ("feed", 2), ("send", 9, 1)])
@example([("announce", 9), ("feed", 5), ("queue", 3), ("send", 65536, 1), ("send", 65536, 1)])
@example([("announce", 9), ("feed", 9), ("send", 4, 1), ("send", 4, 1), ("send", 4, 1)])
@example([("queue", 5), ("take_back",), ("take_back",), ("end",), ("queue", 5), ("send", 9, 1)])
@example([("reserve", 5), ("take_back",), ("queue", 3), ("take_back",), ("send", 9, 1)])
@example([("queue", 5), ("send", 2, 1), ("take_back",), ("abort",), ("queue", 5), ("take_back",)])
@example([("queue", 5), ("file", 0, 7, 9), ("queue", 1), ("send", 99, 1), ("send", 4, 1)])
@example([("file", 1, 0, 9), ("send", 4, 1), ("give_up",), ("feed", 2), ("send", 9, 1)])
@example([("queue", 20), ("send", 7, 1), ("queue", 20), ("send", 7, 1), ("send", 99, 1)])
@example([("reserve", 9), ("queue", 3), ("send", 4, 1), ("remove", 0), ("send", 9, 1), ("end",)])
@example([("reserve", 9), ("send", 9, 1), ("end",), ("remove", 0), ("end",)])
@example([("queue", 9), ("abort",), ("end",), ("end",), ("queue", 9), ("end",)])
@example([("reserve", 600), ("queue", 600), ("reserve", 600), ("send", 2000, 1)])
def test_the_ledger_does_what_lists_do(program: list[tuple[Any, ...]]) -> None:
    """After every operation all numbers are exact, and what goes out is what came in, in order."""
    model = Model()
    for operation, *arguments in program:
        getattr(model, operation)(*arguments)
        model.check()


@given(programs)
def test_every_byte_is_sent_or_removed(program: list[tuple[Any, ...]]) -> None:
    """Over all batches, sent and unsent add up to what was queued, whatever happened."""
    model, sent, unsent, queued = Model(), 0, 0, 0
    for operation, *arguments in [*program, ("abort",), ("end",)]:
        before = model.sent, model.removed
        getattr(model, operation)(*arguments)
        if (model.sent, model.removed) == (0, 0):
            sent, unsent = sent + before[0], unsent + before[1]
    queued += sum(entry.sent + entry.left for entry in model.everyone)
    assert sent + unsent == queued
    assert (model.ledger.left, model.ledger.counted) == (0, 0)


def test_large_pieces_are_not_copied() -> None:
    """A chunk of a caller's buffer is a view of it, also when something small waits behind."""
    ledger, data = SendLedger(), bytearray(100_000)
    with memoryview(data) as view:
        ledger.reserve(view)
        ledger.queue(b"x")
        chunk = ledger.chunk(65536)
        assert isinstance(chunk, memoryview)
        assert (chunk.obj, len(chunk)) == (data, 65536)
        chunk.release()
        ledger.abort()
    data.append(0)  # BufferError if a view were left


def test_queued_bytes_are_not_copied() -> None:
    """What ``write`` was given goes out as it is."""
    ledger, data = SendLedger(), b"x" * 5000
    ledger.queue(data)
    assert ledger.chunk(65536) is data
    chunk = ledger.chunk(4096)
    assert isinstance(chunk, memoryview)
    assert chunk.obj is data


def test_small_pieces_go_out_together() -> None:
    """Many small writes make few chunks."""
    ledger = SendLedger()
    for _ in range(100):
        ledger.queue(b"0123456789" * 4)
    assert ledger.chunk(65536) == b"0123456789" * 400
    assert ledger.chunk(3000) == b"0123456789" * 300


def test_a_million_tiny_writes_are_few_objects() -> None:
    """FAULTS F22: memory and time are those of the bytes, not of the writes."""
    ledger = SendLedger()
    begin = time.process_time()
    for _ in range(20_000):
        ledger.queue(b"x")
    assert time.process_time() - begin < 5
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(20_000):
            ledger.queue(b"x")
        assert tracemalloc.get_traced_memory()[0] - before < 80_000
    finally:
        tracemalloc.stop()
    begin, sent = time.process_time(), 0
    while chunk := ledger.chunk(1000):
        assert not isinstance(chunk, FileRange)
        sent += len(chunk)
        ledger.account(len(chunk))
    assert sent == 40_000
    assert time.process_time() - begin < 5
    assert ledger.end_batch() == Batch(40_000, 0)

"""What an abort leaves in the queue of a message socket: the rest of a begun message."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trio_xsock._machines.framing import MessageDecoder, encode_message
from trio_xsock._machines.ledger import FileRange, Ticket
from trio_xsock._machines.message_ledger import MessageLedger
from trio_xsock._values.message import Message

sizes = st.one_of(st.integers(0, 30), st.sampled_from([1000, 1100, 3000]))
programs = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["queue", "reserve"]), sizes),
        st.tuples(st.just("send"), st.integers(1, 4000)),
        st.tuples(st.just("abort"), st.just(0)),
    ),
    max_size=30,
)


def send(ledger: MessageLedger, limit: int) -> bytes:
    """Let the OS take up to ``limit`` bytes of the next chunk."""
    chunk = ledger.chunk(limit)
    if chunk is None:
        return b""
    assert not isinstance(chunk, FileRange)
    data = bytes(chunk)
    ledger.account(len(data))
    return data


@given(programs)
def test_whole_messages_go_out_whatever_is_aborted(program: list[tuple[str, int]]) -> None:
    """In order, each whole or not at all, and the books add up."""
    ledger, wire, queued, batches = MessageLedger(), b"", [], [0, 0]
    tickets: list[Ticket] = []
    for number, (operation, argument) in enumerate(program):
        frame = encode_message(number, bytes(argument))
        match operation:
            case "queue":
                ledger.queue(frame)
                queued.append(Message(number, bytes(argument)))
            case "reserve":
                tickets.append(ledger.reserve(memoryview(frame)))
                queued.append(Message(number, bytes(argument)))
            case "send":
                wire += send(ledger, argument)
            case _:
                ledger.abort_unbegun()
                assert ledger.left < 5000
        if not ledger.left and (batch := ledger.end_batch()):
            batches = [batches[0] + batch.sent, batches[1] + batch.unsent]
    while ledger.left:
        wire += send(ledger, 65536)
    if batch := ledger.end_batch():
        batches = [batches[0] + batch.sent, batches[1] + batch.unsent]
    decoder, arrived = MessageDecoder(), []
    decoder.feed(wire)
    while decoder.pending:
        arrived += decoder.decode()
    assert decoder.held == 0
    remaining = iter(queued)
    assert all(message in remaining for message in arrived)  # a subsequence
    assert batches[0] == len(wire)
    assert sum(batches) == sum(12 + len(message.data) for message in queued)
    assert ledger.left == ledger.counted == 0
    assert all(ticket.removed != (not ticket.left) for ticket in tickets)

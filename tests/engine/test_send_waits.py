"""``SendWaits``: each task is woken for its own bytes, in their order, or for the empty queue."""

from __future__ import annotations

import pytest
import trio

from trio_xsock import SocketError
from trio_xsock._engine.send_waits import SendWaits
from trio_xsock._machines.ledger import SendLedger, Ticket
from trio_xsock._runtime.guard import Parking


def queue(ledger: SendLedger, waits: SendWaits, data: bytes) -> tuple[Ticket, Parking[None]]:
    """A caller queues bytes and waits for them."""
    ticket, parking = ledger.reserve(data), Parking[None]()
    waits.wait_for(ticket, parking)
    return ticket, parking


def test_callers_are_woken_in_the_order_of_their_bytes() -> None:
    """Each when its own have gone."""
    ledger, waits = SendLedger(), SendWaits()
    _, first = queue(ledger, waits, b"abc")
    _, second = queue(ledger, waits, b"de")
    for sent, done in ((2, (False, False)), (1, (True, False)), (2, (True, True))):
        ledger.account(sent)
        waits.settle()
        assert (first.done, second.done) == done


async def test_what_is_dropped_raises() -> None:
    """Only for those whose bytes were dropped; the others go on waiting."""
    ledger, waits = SendLedger(), SendWaits()
    _, dropped = queue(ledger, waits, b"abc")
    ledger.abort()
    _, stays = queue(ledger, waits, b"de")
    waits.fail_removed(lambda ticket: SocketError(f"{ticket.left} bytes"))
    with pytest.raises(SocketError, match="3 bytes"):
        await dropped.park()
    assert not stays.done
    ledger.account(2)
    waits.settle()
    assert stays.done


def test_who_was_cancelled_is_forgotten() -> None:
    """Those behind it are woken all the same."""
    ledger, waits = SendLedger(), SendWaits()
    ticket, gone = queue(ledger, waits, b"abc")
    _, stays = queue(ledger, waits, b"de")
    waits.forget(ticket)
    ledger.account(5)
    waits.settle()
    assert not gone.done
    assert stays.done


async def test_the_empty_queue() -> None:
    """All that wait for it are woken, or raise why the connection is over: each its own error."""
    waits = SendWaits()
    gone, first = Parking[None](), Parking[None]()
    assert not waits.batch_matters
    waits.wait_until_empty(gone)
    waits.wait_until_empty(first)
    waits.forget_flusher(gone)
    assert waits.batch_matters
    waits.wake_flushers(None)
    assert first.done
    assert not gone.done
    lost = [Parking[None](), Parking[None]()]
    for parking in lost:
        waits.wait_until_empty(parking)
    waits.wake_flushers(lambda: SocketError("lost"))
    errors: list[SocketError] = []
    for parking in lost:
        with pytest.raises(SocketError, match="lost") as caught:
            await parking.park()
        errors.append(caught.value)
    assert errors[0] is not errors[1]


async def test_a_caller_that_reads_is_interrupted_once() -> None:
    """And not at all when it reads no more."""
    waits = SendWaits()
    first, second = trio.CancelScope(), trio.CancelScope()
    waits.interrupt()
    waits.interrupt_on_drop(first)
    waits.interrupt()
    waits.interrupt_on_drop(second)
    waits.interrupt_on_drop(None)
    waits.interrupt()
    assert first.cancel_called
    assert not second.cancel_called

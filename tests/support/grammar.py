"""The rules that the events of one connection obey (FAULTS 2.0, O7 and O8)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from trio_xsock import (
    Connected,
    DataAvailable,
    ErrorOccurred,
    Event,
    LossReason,
    LostConnectionError,
    SendComplete,
    SendProgress,
    SocketError,
    TLSError,
)

UNKNOWN = -1
"""``bytes_unsent`` of a ``SendComplete`` of which only a handler's arguments are known."""


def check_grammar(
    events: Iterable[Event],
    *,
    queued: int | None = None,
    peer_received: int | None = None,
    progress_interval: int | None = None,
    ended: bool = True,
) -> None:
    """Assert that the unmerged events of one connection make sense.

    That is: of one socket; ``Connected`` first and once; at most one ``ErrorOccurred``, after
    which nothing comes but sends, and those only after ``REMOTE_CLOSED``; one ``SendComplete``
    for each batch, whose numbers are those of its ``SendProgress``; ``bytes_left`` 0 at the end
    of a batch that was not aborted.

    Args:
        events: from a handler, or from a channel that was read faster than events merge.
        queued: how many bytes were written in all; checked against sent and unsent.
        peer_received: how many bytes the peer of a graceful end received; all that was sent.
        progress_interval: no ``SendProgress`` is larger.
        ended: every batch has ended; False for a look in between.
    """
    events = list(events)
    try:
        _check_order(events)
        sent, unsent = _check_batches(events, progress_interval, ended)
        if queued is not None:
            assert sent + unsent == queued, f"{sent} sent + {unsent} unsent != {queued} queued"
        if peer_received is not None:
            assert peer_received == sent, f"the peer got {peer_received}, {sent} were sent"
    except AssertionError as exc:
        exc.add_note("the events were:\n" + "\n".join(f"  {event}" for event in events))
        raise


def check_merged(events: Iterable[Event], *, queued: int | None = None) -> None:
    """Assert what holds of the events of one connection even if some were merged.

    Args:
        events: all that a channel gave.
        queued: how many bytes were written in all, every batch having ended.
    """
    events = list(events)
    _check_order(events)
    completes = [event for event in events if isinstance(event, SendComplete)]
    progress = sum(event.bytes_sent for event in events if isinstance(event, SendProgress))
    sent = sum(event.bytes_sent for event in completes)
    assert progress == sent, f"progress sums to {progress}, the batches to {sent}"
    if queued is not None:
        assert sent + sum(event.bytes_unsent for event in completes) == queued
    for event in completes:
        assert event.user_aborted == (event.bytes_unsent > 0)


def _check_order(events: Sequence[Event]) -> None:
    assert len({id(event.socket) for event in events}) <= 1, "events of several sockets"
    connected = any(isinstance(event, Connected) for event in events)
    loss: SocketError | None = None
    for index, event in enumerate(events):
        if isinstance(event, Connected):
            assert index == 0, "Connected comes first and once"
        elif isinstance(event, ErrorOccurred):
            assert loss is None, "a connection is lost once"
            loss = event.error
            assert isinstance(loss, SocketError)
            if connected:
                assert isinstance(loss, LostConnectionError | TLSError), repr(loss)
        elif loss is not None:
            assert not isinstance(event, DataAvailable), "no data is announced after the end"
            half_open = isinstance(loss, LostConnectionError) and (
                loss.reason is LossReason.REMOTE_CLOSED
            )
            assert half_open, f"{event} after {loss!r}"


def _check_batches(
    events: Sequence[Event], progress_interval: int | None, ended: bool
) -> tuple[int, int]:
    sent = unsent = in_batch = 0
    left: int | None = None  # of the batch's last progress; None where no batch is open
    for event in events:
        if isinstance(event, SendProgress):
            assert event.bytes_sent > 0, "progress tells of something"
            assert event.bytes_left >= 0
            if progress_interval is not None:
                assert event.bytes_sent <= progress_interval
            assert left != 0, "the batch was done, but no SendComplete came"
            in_batch += event.bytes_sent
            left = event.bytes_left
            assert event.total_sent == in_batch, f"{event}: {in_batch} went out in this batch"
        elif isinstance(event, SendComplete):
            assert event.bytes_sent == in_batch, f"{event}: progress sums to {in_batch}"
            if event.user_aborted:
                assert event.bytes_unsent == UNKNOWN or event.bytes_unsent > 0
            else:
                assert left == 0, f"{event}: {left} bytes were left"
                assert event.bytes_unsent == 0
            sent += event.bytes_sent
            unsent += event.bytes_unsent
            in_batch, left = 0, None
    assert not (ended and left is not None), "a batch has no SendComplete"
    return sent, unsent

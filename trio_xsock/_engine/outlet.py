"""``Outlet``: the sending half of a connection, which counts every byte.

It posts ``SendProgress`` and ``SendComplete``, and wakes the tasks that wait for their bytes, for
an empty queue, or for room. What the OS says of the connection (``OSError``) goes to the caller.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import trio

from trio_xsock._machines.ledger import Batch, Chunk, FileRange, SendLedger, Ticket
from trio_xsock._network.file_sending import send_range
from trio_xsock._network.page_cache import PageCache
from trio_xsock._network.transport import Transport
from trio_xsock._platform.sockets import NO_SIGNAL
from trio_xsock._runtime.delivery import Delivery
from trio_xsock._runtime.guard import ConflictDetector, Parking, protect_from_ki
from trio_xsock._runtime.readiness import Watch
from trio_xsock._values.errors import SocketError
from trio_xsock._values.events import SendComplete, SendProgress

_CHUNKS_PER_STEP = 4
"""Of what nobody watches 1 MiB: a quarter of a millisecond in which all other sockets wait."""
_UNWATCHED_CHUNK = 2**18
_BUSY = "another task is sending through this socket"

WhyRemoved = Callable[[Ticket], SocketError]
"""Makes the error for a caller whose bytes were dropped."""


@protect_from_ki
class Outlet:
    """Sends what is queued on one connection.

    Args:
        delivery: where events are posted.
        ledger: the send queue and its books.
        progress_interval: bytes that one ``SendProgress`` covers at the most.

    Attributes:
        ledger, progress_interval: as above.
        caller: held by the task that is sending; no second one may.
        bytes_sent: bytes that the transport took on this connection.
        refused: the OS took no more at the last try; it reports when it does.
    """

    __slots__ = (
        "_delivery",
        "_flushers",
        "_cache",
        "_interrupt",
        "_room",
        "_senders",
        "_watch",
        "_watching",
        "bytes_sent",
        "caller",
        "ledger",
        "progress_interval",
        "refused",
    )

    def __init__(self, delivery: Delivery, ledger: SendLedger, progress_interval: int) -> None:
        self.ledger = ledger
        self.progress_interval = progress_interval
        self.bytes_sent: int = 0
        self.caller = ConflictDetector(_BUSY)
        self.refused = False
        self._delivery = delivery
        self._watch: Watch | None = None
        self._watching = False
        # Most connections never have any of these.
        self._senders: deque[tuple[Ticket, Parking[None]]] | None = None
        self._flushers: list[Parking[None]] | None = None
        self._room: Parking[None] | None = None
        self._cache: PageCache | None = None
        self._interrupt: trio.CancelScope | None = None

    def attach(self, watch: Watch | None) -> None:
        """Use this watch from now on; ``None`` for no more."""
        self._watch = watch
        self._watching = False
        if watch is None:
            self.refused = False
        else:
            self._update_interest()

    def _refuse(self, refused: bool) -> None:
        if refused is not self.refused:
            self.refused = refused
            self._update_interest()

    def _update_interest(self) -> None:
        wanted = self.refused or self._room is not None
        if wanted is not self._watching and self._watch is not None:
            self._watching = wanted
            self._watch.writing(wanted)

    # Sending

    def send_at_once(self, transport: Transport, data: bytes | memoryview) -> int:
        """Offer bytes to the transport while nothing is queued, without queueing them.

        Args:
            transport: where to.
            data: at least one byte.

        Returns:
            How many bytes were taken; as a batch of its own, and accounted for, if that is all.
            -1 if nothing was tried: it is not its turn, or too much for one chunk.

        Raises:
            OSError: the connection is lost.
        """
        size = len(data)
        if (
            self.ledger.open
            or self.refused
            or (size > self.progress_interval and size > self._chunk_size())
            or size > transport.most
        ):
            return -1
        try:
            sent = transport.send(data, NO_SIGNAL)
        except (BlockingIOError, InterruptedError):
            return 0
        if sent == size:
            self.bytes_sent += sent
            if self._delivery.hub.watches_sends:
                self._post_sent(sent)
        return sent

    def _post_sent(self, sent: int) -> None:
        """Report a batch that went at once.

        If only ``on_send_complete`` listens, and the delivery is held by a step, it is called
        without being queued first.
        """
        delivery = self._delivery
        hub = delivery.hub
        if not delivery.held or hub.has_channels or hub.calls or hub.progress_method is not None:
            hub.post_sent(delivery.socket, sent)
            delivery.schedule()
        elif hub.complete_method is not None:
            hub.posted += 1
            hub.called += 1
            delivery.call(hub.complete_method, delivery.socket, False)

    def offer(self, transport: Transport, payload: bytes) -> None:
        """Send bytes at once if it is their turn; what is not taken is queued.

        Raises:
            OSError: the connection is lost; ``payload`` is queued.
        """
        try:
            sent = self.send_at_once(transport, payload)
        except OSError:
            self.ledger.queue(payload)
            raise
        if sent < len(payload):
            self.ledger.queue(payload)
            if sent > 0:
                self.account(sent)

    def offer_again(self, transport: Transport) -> bool:
        """Send a batch that is one queued write, as if it had not been queued.

        Returns:
            Whether there was one and all of it went.

        Raises:
            OSError: as for ``offer``.
        """
        if self._flushers:
            return False  # they wait for this batch's end
        payload = self.ledger.take_back()
        if payload is None:
            return False
        try:
            sent = self.send_at_once(transport, payload)
        except OSError:
            self.ledger.queue(payload)
            raise
        if sent == len(payload):
            return not self.ledger.left
        self.ledger.queue(payload)
        if sent > 0:
            self.account(sent)
        return False

    def write(self, transport: Transport) -> None:
        """Give the transport what it takes, and ask to be called again if that is not all.

        Raises:
            OSError: the connection is lost.
        """
        ledger, hub = self.ledger, self._delivery.hub
        if hub.watches_progress and hub.calls:
            return  # the handler may want to abort; this is called again when it was told
        for _ in range(_CHUNKS_PER_STEP):
            chunk = ledger.chunk(min(self._chunk_size(), transport.most))
            if chunk is None:
                self._refuse(False)
                return
            try:
                sent = self._send_chunk(transport, chunk)
            except (BlockingIOError, InterruptedError):
                break
            if sent:
                self.account(sent)
            if hub.watches_progress and ledger.left:
                self._refuse(False)  # the next chunk goes when the handler has seen this one
                return
        if ledger.left:
            self._refuse(True)

    def _chunk_size(self) -> int:
        if self._delivery.hub.watches_sends:
            return self.progress_interval
        return max(self.progress_interval, _UNWATCHED_CHUNK)

    def _send_chunk(self, transport: Transport, chunk: Chunk) -> int:
        if not isinstance(chunk, FileRange):
            return transport.send(chunk, NO_SIGNAL)
        cache = self._cache
        if cache is not None:
            size = cache.available(chunk.offset, chunk.size)
            if not size:  # to send it could wait for the disk: its caller has it loaded first
                self.ledger.give_up_file(for_now=True)
                self.settle()
                return 0
            chunk = chunk._replace(size=size)
        sent = send_range(transport, chunk)
        if not sent:  # the kernel does not send this file: its caller reads it instead
            self.ledger.give_up_file()
            self.settle()
        return sent

    def ask_before_sending_files(self, cache: PageCache | None) -> None:
        """Have the kernel send only what ``cache`` says is in memory."""
        self._cache = cache

    def account(self, sent: int) -> None:
        """The transport took the first ``sent`` bytes of the queue."""
        ledger, delivery = self.ledger, self._delivery
        ledger.account(sent)
        self.bytes_sent += sent
        if sent and SendProgress in delivery.hub.wanted:
            delivery.post(SendProgress, sent, ledger.left, ledger.batch_sent)
        if self._senders:
            self.settle()
        if not ledger.left:
            self.end_batch(None)

    # Dropping

    def drop(self, why: WhyRemoved, lost: SocketError | None = None) -> None:
        """Take all that is queued out of the queue; the batch ends.

        Args:
            why: for the callers whose bytes these were.
            lost: why the connection is over, for who waits for an empty queue; ``None`` if it
                goes on.
        """
        self.ledger.abort()
        self._fail_removed(why)
        self.end_batch(lost)

    def abort(self, why: WhyRemoved) -> None:
        """As ``drop``, by the user's wish; a message that has begun to go out stays."""
        self.ledger.abort_unbegun()
        self._fail_removed(why)
        self.end_batch(None)

    def remove(self, ticket: Ticket) -> None:
        """Its caller was cancelled: its own bytes leave the queue, nobody else's."""
        self.ledger.remove(ticket)
        if not self.ledger.left:
            self.end_batch(None)

    def end_batch(self, lost: SocketError | None) -> None:
        """If the queue has run empty, report the batch and wake those who wait for that."""
        batch: Batch | None = self.ledger.end_batch()
        if batch is None:
            return
        self._refuse(False)
        delivery = self._delivery
        if SendComplete in delivery.hub.wanted:
            delivery.post(SendComplete, batch.unsent > 0, batch.sent, batch.unsent)
        while self._flushers:
            parking = self._flushers.pop()
            if lost is None:
                parking.unpark()
            else:
                parking.fail(lost)

    # Waiting

    def wait_for(self, ticket: Ticket, parking: Parking[None]) -> None:
        """Wake ``parking`` when ``ticket`` has nothing to send at present, or was dropped."""
        if self._senders is None:
            self._senders = deque()
        self._senders.append((ticket, parking))
        self.settle()

    def forget(self, ticket: Ticket) -> None:
        """Nobody waits for ``ticket`` any more."""
        self._senders = deque(each for each in self._senders or () if each[0] is not ticket)

    def settle(self) -> None:
        """Wake the callers whose bytes have gone; they are sent in their order."""
        senders = self._senders
        while senders and senders[0][0].idle and not senders[0][0].removed:
            senders.popleft()[1].unpark()

    def interrupt_on_drop(self, scope: trio.CancelScope | None) -> None:
        """Cancel ``scope``, in which a caller reads what it sends next, if the queue is dropped."""
        self._interrupt = scope

    def interrupt(self) -> None:
        """Whoever reads what it would send next need not go on."""
        if self._interrupt is not None:
            self._interrupt.cancel("the send was dropped")

    def _fail_removed(self, why: WhyRemoved) -> None:
        self.interrupt()
        waiting, self._senders = self._senders, None
        for ticket, parking in waiting or ():
            if ticket.removed:
                parking.fail(why(ticket))
            else:
                self.wait_for(ticket, parking)

    def wait_until_empty(self, parking: Parking[None]) -> None:
        """Wake ``parking`` when the queue is empty."""
        if not self.ledger.open:
            parking.unpark()
            return
        if self._flushers is None:
            self._flushers = []
        self._flushers.append(parking)

    def forget_flusher(self, parking: Parking[None]) -> None:
        """Its task was cancelled."""
        if self._flushers and parking in self._flushers:
            self._flushers.remove(parking)

    def wait_for_room(self, parking: Parking[None]) -> None:
        """Wake ``parking`` when the OS takes bytes and nothing is queued."""
        self._room = parking
        self._update_interest()

    def forget_room(self) -> None:
        """The task that waited for room was cancelled."""
        self._room = None
        self._update_interest()

    def wake_for_room(self) -> None:
        """There is room, or nobody needs to wait for it any more."""
        parking, self._room = self._room, None
        if parking is not None:
            parking.unpark()
        self._update_interest()

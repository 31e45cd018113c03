"""``Outlet``: the sending half of a connection, which counts every byte.

It posts ``SendProgress`` and ``SendComplete``; the tasks that wait for that are in its
``SendWaits``. An ``OSError`` of the connection is raised to the caller.
"""

from __future__ import annotations

import trio

from trio_xsock._machines.ledger import Batch, Chunk, FileRange, SendLedger, Ticket
from trio_xsock._network.file_sending import send_range
from trio_xsock._network.page_cache import PageCache
from trio_xsock._network.transport import Transport
from trio_xsock._platform.sockets import NO_SIGNAL
from trio_xsock._runtime.delivery import Delivery
from trio_xsock._runtime.guard import Parking, protect_from_ki
from trio_xsock._runtime.readiness import Watch
from trio_xsock._values.events import SendComplete, SendProgress

from .send_waits import SendWaits, WhyLost, WhyRemoved

_CHUNKS_PER_STEP = 4
"""1 MiB without a consumer of progress: a quarter of a millisecond in which other sockets wait."""
_UNWATCHED_CHUNK = 2**18
_BUSY = "another task is sending through this socket"


class Outlet:
    """Sends what is queued on one connection.

    Args:
        delivery: where events are posted.
        ledger: the send queue and its counts.
        progress_interval: bytes that one ``SendProgress`` covers at the most.

    Attributes:
        ledger, progress_interval: as above.
        bytes_sent: bytes that the transport took on this connection.
        refused: the OS took no more at the last try; it reports when it does.
    """

    __slots__ = (
        "_busy",
        "_cache",
        "_delivery",
        "_room",
        "_waits",
        "_watch",
        "bytes_sent",
        "ledger",
        "progress_interval",
        "refused",
    )

    def __init__(self, delivery: Delivery, ledger: SendLedger, progress_interval: int) -> None:
        self.ledger = ledger
        self.progress_interval = progress_interval
        self.bytes_sent: int = 0
        self.refused = False
        self._busy = False  # a task is sending
        self._delivery = delivery
        self._watch: Watch | None = None
        # Most connections never have any of these.
        self._waits: SendWaits | None = None
        self._room: Parking[None] | None = None
        self._cache: PageCache | None = None

    def enter(self) -> None:
        """A task begins to send: until ``leave`` no other may.

        Raises:
            trio.BusyResourceError: another one is sending.
        """
        if self._busy:
            raise trio.BusyResourceError(_BUSY)
        self._busy = True

    def leave(self) -> None:
        """The task of ``enter`` sends no more."""
        self._busy = False

    @property
    def waits(self) -> SendWaits:
        """The tasks that wait for bytes to go out."""
        if self._waits is None:
            self._waits = SendWaits()
        return self._waits

    def attach(self, watch: Watch | None) -> None:
        """Use this watch from now on; ``None`` for no more."""
        self._watch = watch
        if watch is None:
            self.refused = False
        elif self.refused or self._room is not None:
            watch.writing(True)

    def _refuse(self, refused: bool) -> None:
        if refused is not self.refused:
            self.refused = refused
            self._update_interest()

    def _update_interest(self) -> None:
        if self._watch is not None:
            self._watch.writing(self.refused or self._room is not None)

    # Sending

    def send_at_once(self, transport: Transport, data: bytes | memoryview) -> int:
        """Offer bytes to the transport while nothing is queued, without queueing them.

        Args:
            transport: the transport.
            data: at least one byte.

        Returns:
            How many bytes were taken; if that is all, they were counted as a batch of their own.
            -1 if nothing was tried: something is queued, or it is too much for one chunk.

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
        """Report a batch that was sent at once.

        If only ``on_send_complete`` listens, and the delivery is held by a step, it is called
        without being queued first.
        """
        delivery = self._delivery
        hub = delivery.hub
        if hub.has_channels or not delivery.held or hub.calls or hub.progress_method is not None:
            hub.post_sent(delivery.socket, sent)
            if hub.calls:
                delivery.schedule()
        elif hub.complete_method is not None:
            hub.posted += 1
            delivery.call(hub.complete_method, delivery.socket, False)

    def queue_rest(self, payload: bytes, sent: int) -> None:
        """Queue what ``send_at_once`` has left; ``sent`` is what it has returned."""
        self.ledger.queue(payload)
        if sent > 0:
            self.account(sent)

    def offer_again(self, transport: Transport) -> bool:
        """Send a batch that is one queued write, as if it had not been queued.

        Returns:
            Whether there was one and all of it was sent.

        Raises:
            OSError: the connection is lost; the bytes are queued.
        """
        if self._waits is not None and self._waits.batch_matters:
            return False
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
        self.queue_rest(payload, sent)
        return False

    def write(self, transport: Transport) -> None:
        """Give the transport what it takes, and ask to be called again if that is not all.

        Raises:
            OSError: the connection is lost.
        """
        ledger, hub = self.ledger, self._delivery.hub
        if hub.watches_progress and hub.calls:
            return  # the handler may abort; this is called again after the handler's call
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
            if not size:  # sending could wait for the disk: its caller loads it first
                self.ledger.give_up_file(for_now=True)
                self._settle()
                return 0
            chunk = chunk._replace(size=size)
        sent = send_range(transport, chunk)
        if not sent:  # ``sendfile`` does not work for this file: its caller reads it instead
            self.ledger.give_up_file()
            self._settle()
        return sent

    def _settle(self) -> None:
        """A ticket has nothing to send until its caller feeds it."""
        if self._waits is not None:
            self._waits.settle()

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
        if self._waits is not None:
            self._waits.settle()
        if not ledger.left:
            self.end_batch(None)

    # Dropping

    def drop(self, why: WhyRemoved, lost: WhyLost | None = None) -> None:
        """Take all that is queued out of the queue; the batch ends.

        Args:
            why: for the callers whose bytes these were.
            lost: why the connection is over, for the tasks that wait for an empty queue; ``None``
                if it is not.
        """
        self.ledger.abort()
        self._drop_waits(why)
        self.end_batch(lost)

    def abort(self, why: WhyRemoved) -> None:
        """As ``drop``, by the user; a message that was partly sent stays."""
        self.ledger.abort_unbegun()
        self._drop_waits(why)
        self.end_batch(None)

    def remove(self, ticket: Ticket) -> None:
        """Its caller was cancelled: remove its bytes, and no others."""
        self.ledger.remove(ticket)
        if not self.ledger.left:
            self.end_batch(None)

    def end_batch(self, lost: WhyLost | None) -> None:
        """If the queue is empty now, report the batch and wake the tasks that wait for that."""
        batch: Batch | None = self.ledger.end_batch()
        if batch is None:
            return
        self._refuse(False)
        delivery = self._delivery
        if SendComplete in delivery.hub.wanted:
            delivery.post(SendComplete, batch.unsent > 0, batch.sent, batch.unsent)
        if self._waits is not None:
            self._waits.wake_flushers(lost)

    def _drop_waits(self, why: WhyRemoved) -> None:
        """Tickets were dropped."""
        if self._waits is not None:
            self._waits.interrupt()
            self._waits.fail_removed(why)

    # Waiting

    def wait_until_empty(self, parking: Parking[None]) -> None:
        """Wake ``parking`` when the queue is empty."""
        if self.ledger.open:
            self.waits.wait_until_empty(parking)
        else:
            parking.unpark(None)

    def wait_for_room(self, parking: Parking[None]) -> None:
        """Wake ``parking`` when the OS takes bytes and nothing is queued."""
        self._room = parking
        self._update_interest()

    def forget_room(self) -> None:
        """The task that waited for room was cancelled."""
        self._room = None
        self._update_interest()

    def end_waits(self) -> None:
        """The transport is gone: end the waits for room, and the reading of files to send.

        Tasks that wait for bytes in the queue are woken when it is dropped.
        """
        self.wake_for_room()
        if self._waits is not None and not self.ledger.open:
            self._waits.interrupt()

    def wake_for_room(self) -> None:
        """There is room, or no reason to wait for it any more."""
        parking, self._room = self._room, None
        if parking is not None:
            parking.unpark(None)
            self._update_interest()


protect_from_ki(Outlet)

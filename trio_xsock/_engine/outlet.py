"""Writing: the ledger goes into the OS, chunk by chunk, and every byte is accounted for."""

from __future__ import annotations

import socket as stdlib_socket
from typing import Final

from trio_xsock._machines.ledger import Chunk, FileRange
from trio_xsock._machines.state import CONNECTED
from trio_xsock._runtime.guard import protect_from_ki
from trio_xsock._values.errors import SocketClosedError, SocketError, translate_loss
from trio_xsock._values.events import SendComplete, SendProgress

from .intake import Intake

_CHUNKS_PER_STEP = 4
"""Of what nobody watches 1 MiB: a quarter of a millisecond in which all other sockets wait."""
_UNWATCHED_CHUNK = 2**18
_NO_SIGNAL: Final[int] = getattr(stdlib_socket, "MSG_NOSIGNAL", 0)
"""A program may have restored the default action of SIGPIPE; this flag keeps it from dying."""


@protect_from_ki
class Outlet(Intake):
    """The writing half of a connection."""

    __slots__ = ()

    def _check_sending(self) -> None:
        """Raise what stands in the way of sending."""
        if self._state is not CONNECTED or self._output_ended or self._loss is not None:
            raise self._why_not_sending()

    def _why_not_sending(self) -> SocketError:
        if self._closed_by_us:
            return self._closed_error()
        loss = self._loss or self._sender_refusal
        if loss is not None:
            return loss.with_traceback(None)
        if self._output_ended:
            return SocketClosedError(f"{self!r}: our direction was ended by send_eof()")
        return self._not_connected()

    def _on_writable(self) -> None:
        self._run_step(self._write_step)

    def _send_some(self) -> bool:
        ledger = self._ledger
        if not ledger.left or self._blocked or self._transport is None:
            return False
        if not self._output_ended and not self._flushers:  # nobody waits for this batch's end
            payload = ledger.take_back()
            if payload is not None and self._offer(payload):
                return ledger.left > 0 or bool(self._hub.calls)
        before = self._bytes_sent
        self._write_step()
        # A connection that turns out to be dead takes nothing, and has news all the same.
        return self._bytes_sent != before or bool(self._hub.calls)

    def _offer(self, payload: bytes) -> bool:
        """Send bytes if it is their turn; what the OS does not take is queued.

        Returns:
            Whether all went.
        """
        try:
            sent = self._send_at_once(payload)
        except OSError as exc:
            self._ledger.queue(payload)
            self._output_failed(exc)
            return False
        if sent == len(payload):
            return True
        self._ledger.queue(payload)
        if sent > 0:
            self._account(sent)
        return False

    def _send_now(self) -> None:
        """After something was queued in a plain call: try the OS, unless a handler runs."""
        if not self._blocked and not self._pumping:
            self._write_step()
            if self._hub.watches_progress and self._ledger.left and self._keeper is not None:
                self._keeper.wake()  # the rest goes when the handler has seen this chunk
            self._schedule_pump()

    def _write_step(self) -> None:
        """Give the OS what it takes; ask to be called again if it does not take all."""
        ledger = self._ledger
        if self._hub.watches_progress and self._hub.calls:
            return  # the handler may want to abort; this is called again when it was told
        for _ in range(_CHUNKS_PER_STEP):
            transport = self._transport
            if transport is None:
                return
            chunk = ledger.chunk(self._chunk_size())
            if chunk is None:
                self._set_blocked(False)
                return
            try:
                sent = self._send_chunk(transport, chunk)
            except (BlockingIOError, InterruptedError):
                break
            except OSError as exc:
                self._output_failed(exc)
                return
            if sent:  # 0: the chunk is of a file, which has to be read instead
                self._account(sent)
            if self._hub.watches_progress and ledger.left:
                self._set_blocked(False)  # the next chunk goes when the handler has seen this one
                return
        if ledger.left:
            self._set_blocked(True)

    def _chunk_size(self) -> int:
        if self._hub.watches_sends:
            return self._progress_interval
        return max(self._progress_interval, _UNWATCHED_CHUNK)

    def _send_chunk(self, transport: stdlib_socket.socket, chunk: Chunk) -> int:
        if isinstance(chunk, FileRange):
            raise AssertionError("files are sent by TCPSocket")  # pragma: no cover
        return transport.send(chunk, _NO_SIGNAL)

    def _set_blocked(self, blocked: bool) -> None:
        if blocked is not self._blocked and self._watch is not None:
            self._blocked = blocked
            self._watch.writing(blocked)

    def _account(self, sent: int) -> None:
        """The OS took ``sent`` bytes of the queue."""
        ledger = self._ledger
        ledger.account(sent)
        self._bytes_sent += sent
        if self._notes_activity:
            self._note_activity()
        if SendProgress in self._hub.wanted:
            self._post_if_active(SendProgress, sent, ledger.left, ledger.batch_sent)
        self._sent_some()
        if not ledger.left:
            self._queue_ran_empty()

    def _send_at_once(self, data: bytes | memoryview) -> int:
        """Offer bytes to the OS while nothing is queued, without queueing them.

        Args:
            data: at least one byte.

        Returns:
            How many bytes were sent and accounted for, as a batch of its own if that is all;
            -1 if nothing was tried, because it is not its turn or too much for one chunk.

        Raises:
            OSError: the connection is dead.
        """
        size = len(data)
        if (
            self._ledger.open
            or self._blocked
            or (size > self._progress_interval and size > self._chunk_size())
        ):
            return -1
        assert self._transport is not None
        try:
            sent = self._transport.send(data, _NO_SIGNAL)
        except (BlockingIOError, InterruptedError):
            return 0
        if sent == size:
            self._bytes_sent += sent
            if self._notes_activity:
                self._note_activity()
            if self._hub.watches_sends:
                self._tell_sent(sent)
            if self._loss_announced:
                self._end_channels()
        return sent

    def _tell_sent(self, sent: int) -> None:
        """A batch went at once: tell of its progress and its end.

        What a handler wrote goes when it has returned. Where a handler alone listens it is told
        at once, without its calls being queued first.
        """
        hub = self._hub
        if not self._pumping or hub.has_channels or hub.calls:
            hub.post_sent(self, sent)
            self._schedule_pump()
            return
        if hub.progress_method is not None:
            hub.posted += 1
            hub.called += 1
            if self._call_handler(hub.progress_method, self, sent, 0) is True:
                self._abort_from_handler()
        if hub.complete_method is not None:
            hub.posted += 1
            hub.called += 1
            self._call_handler(hub.complete_method, self, False)

    def _sent_some(self) -> None:
        """For those who wait for their own bytes."""

    def _queue_ran_empty(self) -> None:
        batch = self._ledger.end_batch()
        if batch is None:
            return
        self._set_blocked(False)
        self._post_if_active(SendComplete, batch.unsent > 0, batch.sent, batch.unsent)
        alive = self._transport is not None and self._loss is None
        while self._flushers:
            parking = self._flushers.pop()
            if alive:
                parking.unpark()
            else:
                parking.fail(self._why_not_sending())
        self._after_queue()

    def _drop_queue(self) -> None:
        """Take all that is queued out of the queue; the batch ends."""
        self._ledger.abort()
        self._sent_some()
        self._queue_ran_empty()

    def _abort_from_handler(self) -> None:
        self._drop_queue()

    def _output_failed(self, exc: OSError) -> None:
        """Sending found the connection dead.

        That ate the OS's error, and the reader would now see a clean end: remember the cause,
        and let the reader take what arrived before.
        """
        self._loss = self._loss or translate_loss(exc, f"{self._endpoint()}: connection lost")
        self._drop_queue()
        more = True
        while more:
            more = (
                self._has_unread_input()
            )  # then it is that which is read, and the OS is not asked
            more = self._read_step() or more
        # Unless reading has paused nothing is left to be read: it is over.
        if self._transport is not None and (self._reading or self._input_ended):
            self._lose(self._loss)

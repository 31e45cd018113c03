"""Reading: what the OS has goes into the receive buffer, or to the task that waits for it."""

from __future__ import annotations

from trio_xsock._machines.state import CLOSING, CONNECTED
from trio_xsock._runtime.guard import call_unprotected, protect_from_ki
from trio_xsock._values.errors import SocketError, translate_loss

from .link import SMALLEST_READ, Link

_LARGEST_READ = 2**20

CLEAN_END = SocketError("the stream has ended")
"""Stands for the peer's clean end where a reason is wanted; never raised."""


@protect_from_ki
class Intake(Link):
    """The reading half of a connection."""

    __slots__ = ()

    def purge(self) -> None:
        """Empty the receive buffer; the send queue is untouched. Xojo: ``Purge``."""
        self._settle()
        self._buffer.clear()
        self._unannounced = False
        self._hub.withdraw_data()
        self._resume_reading()

    def _limit(self) -> int:
        limit = self._receive_buffer_limit
        return limit if self._receiver is None else max(limit, self._receiver.limit)

    def _resume_reading(self) -> None:
        """After something was taken: read on if there is room again."""
        if self._reading or self._watch is None or self._input_ended:
            return
        # Half the limit apart, so that a reader of single bytes does not toggle us.
        if self._buffer.size <= self._limit() // 2 or self._buffer.size < self._receiver_limit():
            self._reading = True
            self._watch.reading(True)

    def _receiver_limit(self) -> int:
        return self._receiver.limit if self._receiver is not None else 0

    def _stop_reading(self) -> None:
        if self._reading and self._watch is not None:
            self._reading = False
            self._watch.reading(False)

    def _on_readable(self) -> None:
        """Take in what has come, and let the handler have it at once.

        Where a handler alone listens, as in most servers, it is called without detours: the rest
        costs as much again as all of this.
        """
        hub = self._hub
        method = hub.data_method
        more = False
        self._pumping = True  # what happens in the step is delivered after it, not by a task
        try:
            if (
                method is None
                or hub.calls
                or self._receiver is not None
                or self._state is not CONNECTED
            ):
                self._read_step()
            elif self._take_in(self._receive_buffer_limit):
                self._unannounced = False
                hub.posted += 1
                hub.called += 1
                keeper = self._keeper
                assert keeper is not None
                try:  # as _call_handler does, whose call costs an eighth of all this
                    keeper.context.run(call_unprotected, method, self)
                except BaseException as exc:  # noqa: ASYNC103 - nothing here awaits
                    keeper.fail(exc)
                if self._ledger.left:
                    more = self._send_some()
        finally:
            self._pumping = False
        if hub.calls or more:
            self._pump()

    def _read_step(self) -> bool:
        """Take in what the OS has, once; whether anything happened."""
        if self._transport is None or self._input_ended:
            return False
        if self._state is CLOSING:
            return self._discard_step(self._transport)
        data = self._take_in(self._limit())
        if data:
            self._serve_input()
        return data is not None

    def _has_input(self) -> bool:
        """Whether there is input that the OS does not tell of; for transports that keep some."""
        return False

    def _has_unread_input(self) -> bool:
        """Whether a read that brought nothing may be followed by one that does."""
        return self._has_input()

    def _take_in(self, limit: int) -> bytes | None:
        """Put what the OS has into the buffer.

        Args:
            limit: how many bytes there may be in the buffer.

        Returns:
            What came, or ``b""`` if it is the end; ``None`` if there is nothing now.
        """
        wanted = limit - self._buffer.size
        if wanted > self._read_size:
            wanted = self._read_size
        elif wanted <= 0:
            self._read_pauses += self._reading
            self._stop_reading()
            return None
        assert self._transport is not None
        try:
            data = self._transport.recv(wanted)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError as exc:
            self._lose(self._loss or translate_loss(exc, f"{self._endpoint()}: connection lost"))
            return b""
        size = len(data)
        if not size:
            self._end_input()
            return data
        if size == wanted or wanted > SMALLEST_READ:
            self._adapt_read_size(size, wanted)
        self._bytes_in += size
        if self._notes_activity:
            self._note_activity()
        self._buffer.append(data)
        return data

    def _adapt_read_size(self, size: int, wanted: int) -> None:
        if size == wanted:
            self._read_size = min(self._read_size * 4, _LARGEST_READ)
        elif size * 4 < self._read_size:
            self._read_size = SMALLEST_READ

    def _serve_input(self) -> None:
        """Something was put into the buffer: for who waits for it, or to be announced."""
        if self._receiver is None:
            self._unannounced = False
            self._announce_data()
            return
        self._unannounced = True
        if self._receiver.serve(None):
            self._receiver = None
            self._announce_unread()

    def _announce_data(self) -> None:
        hub = self._hub
        if hub.wants_data:
            hub.post_data(self)
            if not self._pumping:
                self._schedule_pump()

    def _announce_unread(self) -> None:
        if self._unannounced and self._buffer.size:
            self._unannounced = False
            self._announce_data()

    def _serve_end(self, loss: SocketError | None = None) -> None:
        """Nothing more will come: let the waiting reader have what there is.

        Args:
            loss: why, where the state does not tell yet.
        """
        receiver, self._receiver = self._receiver, None
        if receiver is None:
            return
        verdict = loss or self._input_verdict()
        assert verdict is not None
        if self._closed_by_us:  # the reader gets none of what came so far
            receiver.fail(verdict)
        else:
            receiver.serve(verdict)

    def _input_verdict(self) -> SocketError | None:
        """Why nothing more will come, or ``None`` while something may."""
        if self._closed_by_us:
            return self._closed_error()
        if self._state is CONNECTED and not self._input_ended:
            return None
        if self._input_ended:
            return CLEAN_END
        return self._loss or self._not_connected()

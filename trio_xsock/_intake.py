"""Reading: what the OS has goes into the receive buffer, or to the task that waits for it."""

from __future__ import annotations

from ._errors import SocketError, translate_loss
from ._events import DataAvailable
from ._guard import protect_from_ki
from ._link import SMALLEST_READ, Link
from ._state import SocketState

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
        self._pumping = True  # what happens in the step is delivered after it, not by a task
        try:
            self._read_step()
        finally:
            self._pumping = False
        if self._hub.calls:
            self._pump()

    def _read_step(self) -> bool:
        """Take in what the OS has, once; whether anything happened."""
        transport = self._transport
        if transport is None or self._input_ended:
            return False
        if self._state is SocketState.CLOSING:
            return self._discard_step(transport)
        wanted = self._limit() - self._buffer.size
        if wanted <= 0:
            self._read_pauses += self._reading
            self._stop_reading()
            return False
        if wanted > self._read_size:
            wanted = self._read_size
        try:
            data = transport.recv(wanted)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as exc:
            self._lose(self._loss or translate_loss(exc, f"{self._endpoint()}: connection lost"))
            return True
        if not data:
            self._end_input()
            return True
        size = len(data)
        if size == wanted:
            self._read_size = min(self._read_size * 4, _LARGEST_READ)
        elif self._read_size > SMALLEST_READ and size * 4 < self._read_size:
            self._read_size = SMALLEST_READ
        self._take_in(data)
        return True

    def _take_in(self, data: bytes) -> None:
        """Put received bytes where they belong: to who waits for them, or into the buffer."""
        self._bytes_in += len(data)
        if self._notes_activity:
            self._note_activity()
        self._buffer.append(data)
        if self._receiver is None:  # the common case of those who listen
            self._unannounced = False
            if DataAvailable in self._hub.wanted:
                self._post_if_active(DataAvailable)
            return
        self._unannounced = True
        if self._receiver.serve(None):
            self._receiver = None
            self._announce_unread()

    def _announce_unread(self) -> None:
        if self._unannounced and self._buffer.size:
            self._unannounced = False
            self._post_if_active(DataAvailable)

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
        if self._state is SocketState.CONNECTED and not self._input_ended:
            return None
        if self._input_ended:
            return CLEAN_END
        return self._loss or self._not_connected()

"""How much may wait, either way, and what becomes of half a connection: options of every kind."""

from __future__ import annotations

from trio_xsock._network.options import check_optional_bool, check_positive
from trio_xsock._runtime.guard import protect_from_ki

from .listening import ListeningCalls


@protect_from_ki
class LimitedConnection(ListeningCalls):
    """A connection whose limits can be set."""

    __slots__ = ()

    @property
    def receive_buffer_limit(self) -> int:
        """Bytes that may be unread before reading stops; takes effect at once."""
        return self._receive_buffer_limit

    @receive_buffer_limit.setter
    def receive_buffer_limit(self, limit: int) -> None:
        self._receive_buffer_limit = check_positive("receive_buffer_limit", limit)
        self._resume_reading()

    @property
    def send_buffer_limit(self) -> int:
        """Bytes that ``write`` queues at the most; takes effect at the next ``write``."""
        return self._send_buffer_limit

    @send_buffer_limit.setter
    def send_buffer_limit(self, limit: int) -> None:
        self._send_buffer_limit = check_positive("send_buffer_limit", limit)

    @property
    def progress_interval(self) -> int:
        """Bytes that one ``SendProgress`` tells of at the most; takes effect at once."""
        return self._progress_interval

    @progress_interval.setter
    def progress_interval(self, interval: int) -> None:
        self._progress_interval = check_positive("progress_interval", interval)

    @property
    def allow_half_close(self) -> bool | None:
        """Whether our direction stays open when the peer ends its own; ``None``: see above."""
        return self._allow_half_close

    @allow_half_close.setter
    def allow_half_close(self, allow: bool | None) -> None:
        self._allow_half_close = check_optional_bool("allow_half_close", allow)

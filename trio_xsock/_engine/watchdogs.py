"""Dead peers: keepalive, ``unacknowledged_timeout`` and ``idle_timeout``.

The kernel keeps the first; the keeper task looks after the other two when their time has come,
so that nothing is paid for them on the way of the bytes but one clock reading, and only where
``idle_timeout`` is set.
"""

from __future__ import annotations

import math
import socket as stdlib_socket
from typing import Any

import trio

from trio_xsock._machines.dead_peers import DeadPeerDetector
from trio_xsock._network.options import check_keepalive, check_optional_seconds
from trio_xsock._network.tcp_info import set_keepalive, take_sample
from trio_xsock._runtime.guard import protect_from_ki
from trio_xsock._values.errors import LossReason, LostConnectionError

from .connection import Connection


@protect_from_ki
class WatchedConnection(Connection):
    """A connection that notices when its peer is gone."""

    __slots__ = (
        "_active_at",
        "_detector",
        "_idle_timeout",
        "_keepalive",
        "_sample_at",
        "_sampled_bytes",
    )

    def _init_watchdogs(
        self,
        keepalive: tuple[int, int, int] | None,
        unacknowledged_timeout: float | None,
        idle_timeout: float | None,
    ) -> None:
        self._active_at = 0.0
        self._sample_at = math.inf
        self._sampled_bytes: int = 0  # that had been sent when nothing was in flight
        self._keepalive = check_keepalive(keepalive)
        self._idle_timeout = check_optional_seconds("idle_timeout", idle_timeout)
        seconds = check_optional_seconds("unacknowledged_timeout", unacknowledged_timeout)
        self._detector = None if seconds is None else DeadPeerDetector(seconds)

    @property
    def keepalive(self) -> tuple[int, int, int] | None:
        """Whether the kernel probes an idle peer; ``None`` for off. Takes effect at once.

        Seconds of idleness before the first probe, seconds between probes, and the number of
        unanswered ones after which the connection ends as ``TIMED_OUT``. Source: tcp(7).

        Raises (assignment):
            TypeError, ValueError: not three whole numbers of at least 1, or ``None``; the first
                two go up to 32767, the third to 127.
        """
        return self._keepalive

    @keepalive.setter
    def keepalive(self, keepalive: tuple[int, int, int] | None) -> None:
        self._keepalive = check_keepalive(keepalive)
        if self._transport is not None:
            set_keepalive(self._transport, self._keepalive)

    @property
    def unacknowledged_timeout(self) -> float | None:
        """Seconds; ``None`` for off. Takes effect at once. Linux only.

        Ends a connection, as ``TIMED_OUT``, whose peer has acknowledged nothing for so long
        while data was in flight. A live peer that merely does not read is not ended: the OS
        asks it now and then, and it answers. If it vanishes meanwhile, the time runs from the
        first question that it leaves unanswered, and it takes three of them.

        Raises (assignment):
            TypeError, ValueError: not a number of seconds above 0, or ``None``.
        """
        return None if self._detector is None else self._detector.timeout

    @unacknowledged_timeout.setter
    def unacknowledged_timeout(self, timeout: float | None) -> None:
        seconds = check_optional_seconds("unacknowledged_timeout", timeout)
        self._detector = None if seconds is None else DeadPeerDetector(seconds)
        self._start_watchdogs()

    @property
    def idle_timeout(self) -> float | None:
        """Seconds; ``None`` for off. Takes effect at once.

        Ends a connection, as ``TIMED_OUT``, on which no byte went either way for so long.

        Raises (assignment):
            TypeError, ValueError: not a number of seconds above 0, or ``None``.
        """
        return self._idle_timeout

    @idle_timeout.setter
    def idle_timeout(self, timeout: float | None) -> None:
        self._idle_timeout = check_optional_seconds("idle_timeout", timeout)
        self._start_watchdogs()

    def _adopt(self, sock: stdlib_socket.socket, peer: tuple[Any, ...]) -> None:
        if self._keepalive is not None:
            set_keepalive(sock, self._keepalive)
        super()._adopt(sock, peer)
        self._start_watchdogs()

    def _start_watchdogs(self) -> None:
        if self._transport is None:
            return
        self._sample_at = math.inf
        detector = self._detector
        if detector is not None:
            self._detector = DeadPeerDetector(detector.timeout)  # nothing is known of this one
            self._sample_at = -math.inf
        self._notes_activity = self._idle_timeout is not None or detector is not None
        if self._notes_activity:
            self._active_at = trio.current_time()
            self._wake_keeper()

    def _note_activity(self) -> None:
        """Bytes moved, one way or the other."""
        if self._idle_timeout is not None:
            self._active_at = trio.current_time()
        if self._sample_at == math.inf and self._bytes_out != self._sampled_bytes:
            self._start_sampling()

    def _start_sampling(self) -> None:
        if self._detector is not None:
            self._sample_at = -math.inf
            self._wake_keeper()

    def _send_fin(self) -> None:
        super()._send_fin()
        if self._sample_at == math.inf:
            self._start_sampling()  # it has to be acknowledged as well

    def _next_deadline(self) -> float:
        deadline = super()._next_deadline()
        if self._transport is not None:
            deadline = min(deadline, self._check_idle(trio.current_time()))
        if self._transport is not None and self._detector is not None:
            now = trio.current_time()
            if now >= self._sample_at:
                self._sample_at = self._take_sample(self._transport, self._detector, now)
            deadline = min(deadline, self._sample_at)
        return deadline

    def _check_idle(self, now: float) -> float:
        if self._idle_timeout is None:
            return math.inf
        deadline = self._active_at + self._idle_timeout
        if now < deadline:
            return deadline
        self._time_out(f"no byte went either way for {self._idle_timeout:g} seconds")
        return math.inf

    def _take_sample(
        self, transport: stdlib_socket.socket, detector: DeadPeerDetector, now: float
    ) -> float:
        """Sample while something is in flight, and not otherwise; when to do so next."""
        sample = take_sample(transport)
        if sample is None or not sample.in_flight:
            self._sampled_bytes = self._bytes_out
            return math.inf  # until bytes are sent again
        if detector.observe(now, sample):
            self._time_out(f"the peer acknowledged nothing for {detector.timeout:g} seconds")
            return math.inf
        return detector.next_look(now)

    def _time_out(self, why: str) -> None:
        text = f"{self._endpoint()}: connection lost: {why}"
        self._lose(LostConnectionError(text, reason=LossReason.TIMED_OUT))
        self._pump()

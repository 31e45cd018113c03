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
from trio_xsock._machines.time_limit import TimeLimit
from trio_xsock._network.kernel import has_unread_input, unacknowledged_bytes
from trio_xsock._network.options import check_keepalive, check_optional_seconds
from trio_xsock._network.tcp_info import set_keepalive, take_sample
from trio_xsock._runtime.clock import runs_by_itself
from trio_xsock._runtime.guard import protect_from_ki
from trio_xsock._values.errors import LossReason, LostConnectionError

from .connection import Connection


@protect_from_ki
class WatchedConnection(Connection):
    """A connection that notices when its peer is gone."""

    __slots__ = (
        "_active_at",
        "_detector",
        "_idle_limit",
        "_idle_since",
        "_idle_timeout",
        "_in_flight",
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
        self._idle_limit: TimeLimit | None = None
        self._idle_since = -math.inf  # the silence that the limit is for
        self._in_flight: tuple[int, int | None] = 0, 0  # sent, and of that not acknowledged
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

        A byte counts when the operating system has handed it over, has taken it, or has it
        acknowledged by the peer, whatever it is part of: data, a message or a TLS record that is
        not complete, or a handshake. Before the connection is ended the socket is looked at. Time
        does not count in which the program did not run (it was stopped, or blocked the event
        loop), nor in which the receive buffer was full and more had come.

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
            self._idle_limit = None
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
        if self._transport is not None and self._idle_timeout is not None:
            deadline = min(deadline, self._check_idle(self._idle_timeout))
        if self._transport is not None and self._detector is not None:
            now = trio.current_time()
            if now >= self._sample_at:
                self._sample_at = self._take_sample(self._transport, self._detector, now)
            deadline = min(deadline, self._sample_at)
        return deadline

    def _check_idle(self, seconds: float) -> float:
        """End the connection if it has been silent for too long; when to look again."""
        limit = self._limit_of_silence(seconds)
        if trio.current_time() >= limit.deadline:
            self._take_stock()
        if self._transport is None or self._idle_timeout != seconds:
            return -math.inf  # a handler has changed things: look again
        now = trio.current_time()
        if self._peer_is_alive(self._transport):
            self._active_at = now
        limit = self._limit_of_silence(seconds)
        if limit.is_over(now, counts_lateness=runs_by_itself()):
            self._time_out(f"no byte went either way for {seconds:g} seconds")
            return math.inf
        # Twice in that time, lest something is acknowledged unseen.
        return min(limit.deadline, now + seconds / 2)

    def _limit_of_silence(self, seconds: float) -> TimeLimit:
        limit, since = self._idle_limit, self._active_at
        if limit is None or since != self._idle_since:
            limit = self._idle_limit = TimeLimit(since, seconds)
            self._idle_since = since
        return limit

    def _peer_is_alive(self, transport: stdlib_socket.socket) -> bool:
        """Whether there are signs of life that no step of ours has brought.

        The peer has acknowledged some of what we sent; or it has sent what we have no room for,
        and it is we who are slow.
        """
        (sent, waited), waiting = self._in_flight, unacknowledged_bytes(transport)
        self._in_flight = self._bytes_out, waiting
        acknowledged = sent == self._bytes_out and waited != waiting
        return acknowledged or (not self._reading and has_unread_input(transport))

    def _take_sample(
        self, transport: stdlib_socket.socket, detector: DeadPeerDetector, now: float
    ) -> float:
        """Sample while something is in flight, and not otherwise; when to do so next."""
        sample = take_sample(transport)
        if sample is None or not sample.in_flight:
            self._sampled_bytes = self._bytes_out
            return math.inf  # until bytes are sent again
        if detector.observe(now, sample):
            self._take_stock()  # what had arrived before stays readable
            if self._transport is not transport:
                return math.inf
            self._time_out(f"the peer acknowledged nothing for {detector.timeout:g} seconds")
            return math.inf
        return detector.next_look(now)

    def _time_out(self, why: str) -> None:
        text = f"{self._endpoint()}: connection lost: {why}"
        self._lose(LostConnectionError(text, reason=LossReason.TIMED_OUT))
        self._pump()

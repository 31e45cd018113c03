"""What is known of one socket of a pair, without looking into it: the reference model.

Every byte is followed from the call that queued it, over the wire, to the call that took it.
What the OS took is learnt from ``bytes_sent`` alone, and which bytes those were follows.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import trio

from tests.support import EventRecorder, check_grammar, check_merged
from trio_xsock import (
    DataAvailable,
    DelimiterNotFoundError,
    Event,
    EventChannel,
    IncompleteReadError,
    LossReason,
    LostConnectionError,
    SocketClosedError,
    SocketError,
    SocketState,
    TCPSocket,
)

_BLOCK = bytes((i * i + i // 7) % 256 for i in range(65536 * 3 + 1))


def pattern(offset: int, size: int) -> bytes:
    """Bytes that tell where in a stream they belong."""
    begin = offset % 65536
    data = _BLOCK[begin : begin + size]
    return data if len(data) == size else (data + _BLOCK * (size // len(_BLOCK) + 1))[:size]


class Operation:
    """A call that waits, in a task of its own.

    Attributes:
        kind: the name of the call.
        running: it has neither returned nor raised.
        cancelled: it raised ``Cancelled``.
        error: what else it raised.
        value: what it returned.
        limit: of a receive call, how many bytes it may need.
        needs: of a receive call, whether it cannot be satisfied by such a buffer.
    """

    def __init__(
        self,
        kind: str,
        call: Callable[[], Awaitable[Any]],
        *,
        limit: int = 0,
        needs: Callable[[bytes], bool] | None = None,
        on_value: Callable[[Any], None] | None = None,
    ) -> None:
        self.kind = kind
        self.scope = trio.CancelScope()
        self.running = True
        self.cancelled = False
        self.ended = trio.Event()
        self.error: BaseException | None = None
        self.value: Any = None
        self.limit = limit
        self.needs = needs
        self._call = call
        self._on_value = on_value

    async def run(self) -> None:
        """The task."""
        try:
            with self.scope:
                self.value = await self._call()
                if self._on_value is not None:
                    self._on_value(self.value)
        except (SocketError, trio.BusyResourceError) as error:
            self.error = error
        finally:
            self.running = False
            self.cancelled = self.scope.cancelled_caught
            self.ended.set()

    def __repr__(self) -> str:
        state = "running" if self.running else "cancelled" if self.cancelled else "ended"
        return f"<{self.kind} {state} {self.value!r:.40} {self.error!r}>"


@dataclass
class Item:
    """Bytes that one call queued."""

    data: bytes
    operation: Operation | None = None


@dataclass
class Life:
    """One connection, as one of its ends sees it."""

    queue: list[Item] = field(default_factory=list)
    wire: bytearray = field(default_factory=bytearray)
    queued: int = 0
    taken: int = 0
    closed_by_us: bool = False
    abrupt: bool = False
    """Closed with something left to be sent, or without asking."""
    wrote_eof: bool = False
    events: list[Event] = field(default_factory=list)
    """What came out of the channel."""
    announced: int = -1
    """How many bytes had arrived when they were all read at once."""
    peer_had_queued: int = -1
    """How many bytes the peer had sent, all it ever queued, when this end closed in good order."""
    told: int | None = None
    """How many bytes had been queued when the channel ended."""
    first_call: int = 0
    """Where the recorder's part begins."""
    largest_interval: int = 0
    allowed_buffer: int = 0
    """How large the receive buffer may be."""


class Side:
    """One end of a pair, and what has to be true of it.

    Args:
        sock: the socket.
        recorder: its handler, if it has one.
        aborts: the handler may abort a send.
    """

    def __init__(self, sock: TCPSocket, recorder: EventRecorder | None, aborts: bool) -> None:
        self.sock = sock
        self.recorder = recorder
        self.aborts = aborts
        self.peer: Side = self
        self.life = Life()
        self.channel: EventChannel = sock.subscribe()
        self.sender: Operation | None = None  # the one that excludes others
        self.receiver: Operation | None = None
        self.others: list[Operation] = []
        self.bytes_out_before = 0
        self.bytes_gone_before = 0  # taken in earlier lives

    # What the rules do

    def begin_life(self) -> None:
        """A new connection has been made; the channel was subscribed before."""
        before = self.life
        self.bytes_out_before += len(before.wire)
        self.bytes_gone_before = self.sock.statistics().bytes_in - self.sock.bytes_available
        self.life = Life(
            first_call=len(self.recorder.events) if self.recorder else 0,
            largest_interval=self.sock.progress_interval,
            allowed_buffer=self.sock.receive_buffer_limit,
        )

    def next_bytes(self, size: int) -> bytes:
        """Fresh bytes to send."""
        return pattern(self.life.queued, size)

    def queue(self, data: bytes, operation: Operation | None = None) -> None:
        """A call has queued bytes."""
        self.life.queued += len(data)
        self.life.queue.append(Item(data, operation))

    def remove(self, operation: Operation) -> int:
        """A call was cancelled: its bytes leave the queue; returns how many that were."""
        removed = [item for item in self.life.queue if item.operation is operation]
        self.life.queue = [item for item in self.life.queue if item.operation is not operation]
        return sum(len(item.data) for item in removed)

    def take(self, data: bytes) -> None:
        """A call has handed over received bytes."""
        begin = self.life.taken
        expected = bytes(self.peer.life.wire[begin : begin + len(data)])
        assert data == expected, f"wrong bytes at {begin}"
        self.life.taken += len(data)

    def drop_queue(self) -> None:
        """All that is queued was dropped."""
        self.life.queue.clear()

    # What is true

    @property
    def left(self) -> int:
        """Bytes in the model's queue."""
        return sum(len(item.data) for item in self.life.queue)

    @property
    def operations(self) -> list[Operation]:
        """All that were started and not yet looked at."""
        exclusive = [each for each in (self.sender, self.receiver) if each is not None]
        return [*exclusive, *self.others]

    @property
    def arrived(self) -> int:
        """Bytes of this life that were read from the OS."""
        return self.life.taken + self.sock.bytes_available

    @property
    def has_ended(self) -> bool:
        """The socket knows that nothing more will come."""
        return self.sock.state is not SocketState.CONNECTED or self.sock.last_error is not None

    def observe(self) -> None:
        """Bring the model up to date with what the OS took, and compare."""
        life, sock = self.life, self.sock
        went = sock.bytes_sent - len(life.wire)
        assert went >= 0
        self.peer.observe_arrivals()
        while went:
            assert life.queue, f"{went} bytes more went out than were queued"
            item = life.queue[0]
            piece, item.data = item.data[:went], item.data[went:]
            life.wire += piece
            went -= len(piece)
            if not item.data:
                life.queue.pop(0)
        if sock.bytes_left_to_send != self.left:
            assert sock.bytes_left_to_send == 0, f"{sock!r}: {self.left} should be queued"
            assert self.may_drop(), f"{sock!r}: {self.left} bytes were dropped without a reason"
            self.drop_queue()
            life.abrupt = life.abrupt or not sock.is_connected
        self.observe_arrivals()

    def may_drop(self) -> bool:
        """Whether there is a reason to drop what is queued."""
        return self.aborts or self.is_closed or self.is_lost or self.peer.is_closed

    @property
    def is_lost(self) -> bool:
        """The connection was torn down by others."""
        error = self.sock.last_error
        return isinstance(error, LostConnectionError) and error.reason is LossReason.RESET

    def observe_arrivals(self) -> None:
        """What is buffered is what was sent, in order, and within the limit."""
        sock, life = self.sock, self.life
        limits = [sock.receive_buffer_limit]
        if self.receiver is not None:
            limits.append(self.receiver.limit)
        available = sock.bytes_available
        assert available <= max(life.allowed_buffer, *limits), f"{sock!r}: over the limit"
        life.allowed_buffer = max(available, *limits)

    def check(self) -> None:
        """Everything that holds at every instant."""
        self.observe()
        sock, life = self.sock, self.life
        begin = life.taken
        data = sock.lookahead()
        assert data == bytes(self.peer.life.wire[begin : begin + len(data)]), "wrong bytes"
        statistics = sock.statistics()
        assert statistics.bytes_out == self.bytes_out_before + len(life.wire)
        assert statistics.bytes_in == self.bytes_gone_before + life.taken + len(data)
        assert statistics.bytes_available == sock.bytes_available == len(data)
        assert sock.remote_port, "kept after the end, as the address is"
        if sock.is_connected:
            assert sock.state is SocketState.CONNECTED
            assert not life.closed_by_us
            assert not life.wrote_eof
        if life.closed_by_us:
            assert sock.state in (SocketState.CLOSED, SocketState.CLOSING)
        if 0 <= self.peer.life.peer_had_queued == life.queued:  # it tried to send nothing more
            assert not self.is_lost, "the peer closed in good order"
        if sock.state is SocketState.CLOSED:
            assert not sock.bytes_left_to_send
            assert not [each for each in self.operations if each.running], self.operations
        assert sock.at_eof == (sock.end_of_file and self.has_ended)
        check_grammar(
            self.handler_events(),
            progress_interval=life.largest_interval,
            ended=sock.state is SocketState.CLOSED,
        )

    def handler_events(self) -> list[Event]:
        """What the handler was told in this life."""
        return self.recorder.events[self.life.first_call :] if self.recorder else []

    def is_quiet(self) -> str:
        """Why something should still happen, or ``""`` if all may stay as it is."""
        sock, peer = self.sock, self.peer
        if sock.bytes_left_to_send and peer.arrived == sock.bytes_sent and not peer.is_closed:
            return f"{sock!r} does not send, although the way is free"
        if self.must_be_reading and self.arrived < peer.sock.bytes_sent and not peer.life.abrupt:
            return f"{sock!r} does not read, although there are bytes"
        if self.must_be_reading and not self.has_ended and peer.has_ended_output:
            return f"{sock!r} does not see that its peer has ended"
        for operation in self.operations:
            if operation.running and (reason := self.is_stuck(operation)):
                return f"{sock!r}: {operation!r} waits, although {reason}"
        return ""

    @property
    def is_closed(self) -> bool:
        """It has no descriptor any more."""
        return self.sock.state is SocketState.CLOSED

    @property
    def has_ended_output(self) -> bool:
        """Its peer has every reason to see an end."""
        # A socket that is closing has sent its FIN before it is closed: it waits for its peer's.
        ending = self.life.wrote_eof or self.life.closed_by_us
        ended = ending and not self.sock.bytes_left_to_send
        return self.is_closed or ended

    @property
    def must_be_reading(self) -> bool:
        """There is room, and the connection is up."""
        sock, available = self.sock, self.sock.bytes_available
        wanted = self.receiver.limit if self.receiver and self.receiver.running else 0
        room = available <= sock.receive_buffer_limit // 2 or available < wanted
        return sock.state is SocketState.CONNECTED and room

    def is_stuck(self, operation: Operation) -> str:
        """Why an operation should have ended, or ``""``."""
        if operation.needs is not None:
            if self.has_ended:
                return "nothing more will come"
            if not operation.needs(self.sock.lookahead()):
                return "its bytes are there"
        elif operation.kind in ("aclose", "disconnect"):
            if self.is_closed:
                return "the socket is closed"
        elif operation.kind == "send_all":
            if not any(item.operation is operation for item in self.life.queue):
                return "all of it was sent"
        elif not self.sock.bytes_left_to_send:
            return "the queue is empty"
        return ""

    # Ends

    def finished(self, operation: Operation) -> None:
        """Judge how an operation ended."""
        error, life = operation.error, self.life
        if operation.cancelled or error is None:
            return
        if isinstance(error, SocketClosedError):
            assert life.closed_by_us or life.wrote_eof, repr(error)
        elif isinstance(error, LostConnectionError):
            posted = self.sock.last_error
            if posted is None:  # to be posted when what arrived before has been read
                assert error.reason is LossReason.RESET
                assert not self.must_be_reading
            elif posted is not error:  # found by sending to a peer that had ended before
                assert isinstance(posted, LostConnectionError)
                assert posted.reason is LossReason.REMOTE_CLOSED
            peer = self.peer
            assert peer.life.closed_by_us or peer.is_closed or peer.life.wrote_eof, repr(error)
        elif isinstance(error, IncompleteReadError):
            assert error.partial == self.sock.lookahead()
            assert self.has_ended or self.peer.has_ended_output
        elif isinstance(error, DelimiterNotFoundError):
            assert self.sock.bytes_available >= error.max_bytes
        else:
            text = str(error)
            assert "aborted" in text, repr(error)

    def read_channel(self, count: int) -> None:
        """Take events, as many as there are, up to ``count``."""
        for _ in range(count):
            try:
                event = self.channel.receive_nowait()
            except trio.WouldBlock:
                return
            except trio.EndOfChannel:
                # A channel that has ended stays so: what is written afterwards is not told.
                if self.life.told is None:
                    self.observe()
                    self.life.told = self.life.queued
                    assert not self.left
                return
            assert self.life.told is None
            self.life.events.append(event)
            if isinstance(event, DataAvailable):
                assert self.arrived > self.life.announced, "announces what had been read"

    def end_life(self) -> None:
        """Both ends are closed: look at the books and at the events."""
        life = self.life
        assert self.is_closed
        assert self.left == 0
        self.read_channel(11)  # at most ten of one socket wait
        assert life.told is not None, "the channel does not end"
        check_merged(life.events, queued=life.told)
        check_grammar(self.handler_events(), progress_interval=life.largest_interval)
        self.channel.close()
        self.channel = self.sock.subscribe()
        with contextlib.suppress(trio.EndOfChannel):
            while True:  # what this life was is told to late comers, too
                self.channel.receive_nowait()

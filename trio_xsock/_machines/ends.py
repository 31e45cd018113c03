"""How a connection ends, as a table.

Two directions end on their own: *ours* and the peer's, *theirs*. ``Ends`` knows how far each is,
which cause of a loss was the first, and what has been announced. It is told what happened
(``Happening``) and answers with what has to be done (``Effect``). It reads no byte, keeps no time
and holds no socket.

Where each happening leads; a dash stands for "nothing changes":

============ ============ ========== ============ ================ ============ ===========
phase        SEND_EOF     FIN_SENT   THEIR_END    THEIR_END_CLOSES ACLOSE       SEND_FAILED
============ ============ ========== ============ ================ ============ ===========
OPEN         OURS_ENDING  -          THEIRS_ENDED CLOSING_LAST     CLOSING      DYING
HELD         -            -          GONE         GONE             GONE         GONE
OURS_ENDING  -            OURS_ENDED BOTH_ENDING  BOTH_ENDING      CLOSING      DYING
OURS_ENDED   -            -          GONE         GONE             LINGERING    DYING
THEIRS_ENDED BOTH_ENDING  -          -            -                CLOSING_LAST GONE
BOTH_ENDING  -            GONE       -            -                CLOSING_LAST GONE
CLOSING      -            LINGERING  CLOSING_LAST CLOSING_LAST     -            GONE
CLOSING_LAST -            GONE       -            -                -            GONE
LINGERING    -            -          GONE         GONE             -            GONE
DYING        -            -          GONE         GONE             GONE         GONE
GONE         -            -          -            -                -            -
============ ============ ========== ============ ================ ============ ===========

DISCONNECT leads where ACLOSE does. CLOSE and LOSS lead to GONE, from everywhere. DELIVERED leads
there from BOTH_ENDING and the three phases of a graceful close (CLOSING, CLOSING_LAST,
LINGERING), GRACE_OVER from these three. HOLD leads from OPEN and THEIRS_ENDED to HELD, GO_ON
back. QUEUE_EMPTY changes no phase.

The effects of each step are in ``TABLE``. Those that have nothing to do are left out:

=============  =================================================================================
effect         is left out
=============  =================================================================================
DROP_QUEUE     if nothing is queued
SERVE_READER   if it was known before that nothing more comes: no reader has waited since
ANNOUNCE       if an end has been announced, and where we close, unless disconnect() began that
SEND_FIN       while something is queued; QUEUE_EMPTY brings it
END_CHANNELS   while something is queued (QUEUE_EMPTY brings it), or no end was announced; it is
               never left out beside RELEASE
=============  =================================================================================

The first cause of a loss wins, whoever finds it. Our own close comes before any cause: every
call tells of it from then on, whatever ended the connection before.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final

from trio_xsock._values.errors import SocketError


class Phase(enum.Enum):
    """How far the two ends are."""

    if not TYPE_CHECKING:  # its type is not known
        __hash__ = object.__hash__  # of an enum it is a Python function

    OPEN = "both directions are open"
    HELD = "nobody may send: TLS is about to begin"
    OURS_ENDING = "our direction ends after the queue"
    OURS_ENDED = "our FIN is out; the peer's direction is open"
    THEIRS_ENDED = "the peer has ended its direction; ours is open"
    BOTH_ENDING = "the peer has ended; our direction ends after the queue"
    CLOSING = "a graceful close: our direction ends after the queue"
    CLOSING_LAST = "a graceful close, and the peer has ended"
    LINGERING = "a graceful close: our FIN is out, input is discarded"
    DYING = "sending found the connection dead; what came before is still to be read"
    GONE = "the descriptor was given back"


class Happening(enum.Enum):
    """What can happen to a connection."""

    if not TYPE_CHECKING:
        __hash__ = object.__hash__

    SEND_EOF = "send_eof() was called"
    QUEUE_EMPTY = "the send queue ran empty, or the OS took what TLS still held"
    FIN_SENT = "the OS has our FIN"
    DELIVERED = "nothing that is unread can turn our FIN into a reset (any more)"
    THEIR_END = "the peer ended its direction; ours may stay open"
    THEIR_END_CLOSES = "the peer ended its direction, and allow_half_close is False"
    LOSS = "nothing more can be read: reset, time-out, error of TLS or of framing"
    SEND_FAILED = "sending found the connection dead; input may still be unread"
    ACLOSE = "aclose() was called"
    DISCONNECT = "disconnect() was called"
    CLOSE = "close() was called"
    GRACE_OVER = "a graceful close took too long"
    HOLD = "start_tls() was called, or a handshake comes first"
    GO_ON = "the handshake is done"


class Effect(enum.IntEnum):
    """What has to be done; effects are carried out in this order."""

    if not TYPE_CHECKING:
        __hash__ = int.__hash__

    RELEASE = 1
    """Close the watch and the transport; the socket's state is CLOSED. If our close drops
    nothing (nothing is queued, no loss), TLS says close_notify first."""
    DROP_QUEUE = 2
    """Empty the queue; its batch ends with ``SendComplete(user_aborted=True)``."""
    SERVE_READER = 3
    """The waiting reader gets what there is and ``verdict()``; what it leaves is announced."""
    ANNOUNCE = 4
    """Post ``ErrorOccurred`` with ``announced``."""
    START_CLOSING = 5
    """Discard input from now on, start the grace, give a server its place back."""
    SEND_FIN = 6
    """End our direction (with TLS: close_notify first), then report FIN_SENT; or DELIVERED
    instead, without a FIN of its own, if closing the descriptor does the same."""
    LINGER = 7
    """Report DELIVERED when nothing unread can harm: at once, or after looking repeatedly."""
    END_CHANNELS = 8
    """Iteration over events ends."""


class Why(enum.Enum):
    """Why something is not possible, where no error says it."""

    CLOSED_BY_US = "we closed the socket"
    CLEAN_END = "the peer ended its direction"
    OUTPUT_ENDED = "we ended our direction"
    TLS_BEGINS = "TLS is about to begin"


class Side(enum.Enum):
    """Who ended a connection."""

    US = "us"
    PEER = "the peer"
    NETWORK = "the network"


_P = Phase
_H = Happening
_E = Effect

_Step = tuple[Phase, tuple[Effect, ...]]
_Table = dict[tuple[Phase, Happening], _Step]

_THEIR_ENDS = (_H.THEIR_END, _H.THEIR_END_CLOSES)
_CLOSES = (_H.ACLOSE, _H.DISCONNECT)
_LOSSES = (_H.LOSS, _H.SEND_FAILED)

_ALIVE = [phase for phase in Phase if phase is not _P.GONE]
_TOLD = (_E.SERVE_READER, _E.ANNOUNCE, _E.END_CHANNELS)
_OVER: _Step = _P.GONE, (_E.RELEASE, _E.DROP_QUEUE, *_TOLD)
_CLOSE: _Step = _P.CLOSING, (_E.SERVE_READER, _E.START_CLOSING, _E.SEND_FIN)
_CLOSE_LAST: _Step = _P.CLOSING_LAST, (_E.START_CLOSING, _E.SEND_FIN)
_CLOSE_ENDED: _Step = _P.LINGERING, (_E.SERVE_READER, _E.START_CLOSING, _E.LINGER)
_ANSWERED = (_E.SERVE_READER, _E.ANNOUNCE, _E.START_CLOSING, _E.SEND_FIN, _E.END_CHANNELS)
_DIE: _Step = _P.DYING, (_E.DROP_QUEUE,)


def _each(phase: Phase, happenings: tuple[Happening, ...], step: _Step) -> _Table:
    return {(phase, happening): step for happening in happenings}


TABLE: Final[_Table] = {
    # These end the connection at once, with few exceptions below.
    **{(phase, what): _OVER for phase in _ALIVE for what in (_H.CLOSE, *_LOSSES)},
    # Both directions are open.
    (_P.OPEN, _H.SEND_EOF): (_P.OURS_ENDING, (_E.SEND_FIN,)),
    (_P.OPEN, _H.THEIR_END): (_P.THEIRS_ENDED, _TOLD),
    (_P.OPEN, _H.THEIR_END_CLOSES): (_P.CLOSING_LAST, _ANSWERED),
    **_each(_P.OPEN, _CLOSES, _CLOSE),
    (_P.OPEN, _H.SEND_FAILED): _DIE,
    (_P.OPEN, _H.HOLD): (_P.HELD, ()),
    # TLS is about to begin; half of a handshake is good for nothing.
    (_P.HELD, _H.GO_ON): (_P.OPEN, ()),
    **_each(_P.HELD, (*_THEIR_ENDS, *_CLOSES), _OVER),
    # Our direction is ending, or has ended.
    (_P.OURS_ENDING, _H.QUEUE_EMPTY): (_P.OURS_ENDING, (_E.SEND_FIN,)),
    (_P.OURS_ENDING, _H.FIN_SENT): (_P.OURS_ENDED, ()),
    **_each(_P.OURS_ENDING, _THEIR_ENDS, (_P.BOTH_ENDING, _TOLD)),
    **_each(_P.OURS_ENDING, _CLOSES, _CLOSE),
    (_P.OURS_ENDING, _H.SEND_FAILED): _DIE,
    **_each(_P.OURS_ENDED, _THEIR_ENDS, _OVER),
    **_each(_P.OURS_ENDED, _CLOSES, (_P.LINGERING, (_E.SERVE_READER, _E.START_CLOSING, _E.LINGER))),
    (_P.OURS_ENDED, _H.SEND_FAILED): _DIE,
    # The peer has ended, and that was announced.
    (_P.THEIRS_ENDED, _H.QUEUE_EMPTY): (_P.THEIRS_ENDED, (_E.END_CHANNELS,)),
    (_P.THEIRS_ENDED, _H.SEND_EOF): (_P.BOTH_ENDING, (_E.SEND_FIN,)),
    **_each(_P.THEIRS_ENDED, _CLOSES, _CLOSE_LAST),
    (_P.THEIRS_ENDED, _H.HOLD): (_P.HELD, ()),
    (_P.BOTH_ENDING, _H.QUEUE_EMPTY): (_P.BOTH_ENDING, (_E.SEND_FIN, _E.END_CHANNELS)),
    **_each(_P.BOTH_ENDING, (_H.FIN_SENT, _H.DELIVERED), _OVER),
    **_each(_P.BOTH_ENDING, _CLOSES, _CLOSE_LAST),
    # A graceful close.
    (_P.CLOSING, _H.QUEUE_EMPTY): (_P.CLOSING, (_E.SEND_FIN,)),
    (_P.CLOSING, _H.FIN_SENT): (_P.LINGERING, (_E.LINGER,)),
    **_each(_P.CLOSING, _THEIR_ENDS, (_P.CLOSING_LAST, (_E.SEND_FIN,))),
    **_each(_P.CLOSING, (_H.DELIVERED, _H.GRACE_OVER), _OVER),
    (_P.CLOSING_LAST, _H.QUEUE_EMPTY): (_P.CLOSING_LAST, (_E.SEND_FIN, _E.END_CHANNELS)),
    **_each(_P.CLOSING_LAST, (_H.FIN_SENT, _H.DELIVERED, _H.GRACE_OVER), _OVER),
    **_each(_P.LINGERING, (_H.DELIVERED, _H.GRACE_OVER, *_THEIR_ENDS), _OVER),
    # A loss that the reader has not come to yet.
    **_each(_P.DYING, (*_THEIR_ENDS, *_CLOSES), _OVER),
}
"""Every step that changes something; what is missing here changes nothing."""

_CLOSING_PHASES = frozenset({_P.CLOSING, _P.CLOSING_LAST, _P.LINGERING})
_OURS_OPEN = frozenset({_P.OPEN, _P.THEIRS_ENDED})
_OUR_CLOSES = frozenset({_H.CLOSE, *_CLOSES})


def _applicable(effects: tuple[Effect, ...], facts: int) -> tuple[Effect, ...]:
    """Those effects that have something to do; see the table above.

    Args:
        effects: of a step.
        facts: bits: something is queued; a reader may have waited until now; there is news to be
            announced; iteration over events may end.
    """
    useless = {
        _E.DROP_QUEUE: not facts & 1,
        _E.SEND_FIN: facts & 1,
        _E.SERVE_READER: not facts & 2,
        _E.ANNOUNCE: not facts & 4,
        _E.END_CHANNELS: not facts & 8,
    }
    return tuple(effect for effect in effects if not useless.get(effect))


_APPLICABLE: Final = {
    effects: tuple(_applicable(effects, facts) for facts in range(16))
    for effects in {effects for _, effects in TABLE.values()}
}
"""Worked out beforehand: ends are half of the life of a short connection."""


class Ends:
    """The ends of one connection; each connection has its own.

    Attributes:
        phase: how far the two ends are.
        may_send: our direction is open, and nobody holds it.
        may_receive: something more may come.
        loss: the first cause for which nothing can be sent any more, less our own doing.
        announced: the error that was announced, or ``None``.
        closed_by_us: we closed, before or after whatever else happened.
        their_end: the peer has ended its direction in good order.
    """

    __slots__ = (
        "_farewell",
        "announced",
        "closed_by_us",
        "loss",
        "may_receive",
        "may_send",
        "phase",
        "their_end",
    )

    def __init__(self) -> None:
        self.phase = _P.OPEN
        self.may_send = True
        self.may_receive = True
        self.loss: SocketError | None = None
        self.announced: SocketError | None = None
        self.closed_by_us = False
        self.their_end = False
        self._farewell: SocketError | None = None  # what disconnect() has to announce at the end

    @property
    def closing(self) -> bool:
        """A graceful close is going on: what comes is discarded."""
        return self.phase in _CLOSING_PHASES

    @property
    def by(self) -> Side | None:
        """Who ended the connection, or has begun to; ``None`` while nobody has."""
        if self.closed_by_us:
            return Side.US
        if self.their_end:
            return Side.PEER
        return Side.NETWORK if self.loss is not None else None

    def happens(
        self, what: Happening, cause: SocketError | None = None, *, queued: bool = False
    ) -> tuple[Effect, ...]:
        """Take note of what happened.

        Args:
            what: it.
            cause: the error that tells of it; for the peer's end, losses and DISCONNECT.
            queued: whether something is in the send queue.

        Returns:
            What has to be done, in this order. The attributes tell the new state already.
        """
        if what in _OUR_CLOSES:
            self.closed_by_us = True
        step = TABLE.get((self.phase, what))
        if step is None:
            return ()
        before, (self.phase, effects) = self.phase, step
        if what is _H.GO_ON and self.their_end:
            self.phase = _P.THEIRS_ENDED  # as it was before TLS
        elif what is _H.DISCONNECT:
            self._farewell = cause
        elif cause is not None:
            self._note_cause(before, what, cause)
        waited = self.may_receive
        self.may_send = self.phase in _OURS_OPEN
        over = self.closed_by_us or self.their_end or self.phase is _P.GONE
        self.may_receive = not over
        news = None
        if self.announced is None and _E.ANNOUNCE in effects:
            news = self.announced = self._farewell if self.closed_by_us else self.loss or cause
        may_end = self.phase is _P.GONE or (self.announced is not None and not queued)
        facts = (
            int(queued)
            + 2 * (waited is not self.may_receive)
            + 4 * (news is not None)
            + 8 * may_end
        )
        return _APPLICABLE[effects][facts]

    def _note_cause(self, before: Phase, what: Happening, cause: SocketError) -> None:
        if what in _THEIR_ENDS and before not in (_P.HELD, _P.DYING):
            self.their_end = True
            if what is _H.THEIR_END or before is not _P.OPEN:
                return  # we may go on sending, or have ended our direction ourselves
        if self.loss is None:
            self.loss = cause

    def why_not_sending(self) -> SocketError | Why | None:
        """Why nothing can be sent; ``None`` while it can."""
        if self.closed_by_us:
            return Why.CLOSED_BY_US
        if self.loss is not None:
            return self.loss
        if self.phase is _P.HELD:
            return Why.TLS_BEGINS
        return None if self.may_send else Why.OUTPUT_ENDED

    def verdict(self) -> SocketError | Why | None:
        """Why nothing more will come; ``None`` while something may.

        What is buffered may be read all the same, unless we have closed.
        """
        if self.closed_by_us:
            return Why.CLOSED_BY_US
        if self.their_end:
            return Why.CLEAN_END
        return self.loss if self.phase is _P.GONE else None

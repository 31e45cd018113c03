"""How a connection ends, as a table.

Two directions end independently: *ours* and the peer's, *theirs*. ``Ends`` keeps the phase of both,
the first cause of a loss, and what has been announced. Its input is what happened
(``Happening``), its output what has to be done (``Effect``). It does no I/O and has no clock.

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

THEIR_END_IS_LAST leads from OPEN to GONE, and elsewhere where THEIR_END_CLOSES does. DISCONNECT
leads where ACLOSE does. CLOSE and LOSS lead to GONE, from everywhere. DELIVERED leads there from
BOTH_ENDING and the three phases of a graceful close (CLOSING, CLOSING_LAST, LINGERING), GRACE_OVER
from these three. HOLD leads from OPEN and THEIRS_ENDED to HELD, GO_ON back. QUEUE_EMPTY changes no
phase.

The effects of each step are in ``TABLE`` of ``end_steps.py``. Those that have nothing to do are
left out:

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

The first cause of a loss is kept, whichever call finds it. Our own close takes precedence over any
cause: from then on every call reports that we closed, whatever ended the connection before.
"""

from __future__ import annotations

from typing import Final

from trio_xsock._values.errors import SocketError

from .end_steps import TABLE as TABLE
from .end_steps import Effect as Effect
from .end_steps import Happening as Happening
from .end_steps import Phase as Phase
from .end_steps import Side as Side
from .end_steps import Why as Why

_P = Phase
_H = Happening
_E = Effect
# As constants, because an attribute of an enum costs 0.2 us on Python 3.11.
_OPEN: Final = _P.OPEN
_HELD: Final = _P.HELD
_THEIRS_ENDED: Final = _P.THEIRS_ENDED
_GONE: Final = _P.GONE
_GO_ON: Final = _H.GO_ON
_THEIR_END: Final = _H.THEIR_END
_DISCONNECT: Final = _H.DISCONNECT
_ANNOUNCE: Final = _E.ANNOUNCE
_CLOSED_BY_US: Final = Why.CLOSED_BY_US
_CLEAN_END: Final = Why.CLEAN_END
_OUTPUT_ENDED: Final = Why.OUTPUT_ENDED
_TLS_BEGINS: Final = Why.TLS_BEGINS

_CLOSES = (_H.ACLOSE, _H.DISCONNECT)
_THEIR_ENDS = (_H.THEIR_END, _H.THEIR_END_CLOSES, _H.THEIR_END_IS_LAST)
_CLOSING_PHASES = frozenset({_P.CLOSING, _P.CLOSING_LAST, _P.LINGERING})
_HELD_OR_DYING = (_HELD, _P.DYING)
_OURS_OPEN = frozenset({_P.OPEN, _P.THEIRS_ENDED})
_OUR_CLOSES = frozenset({_H.CLOSE, *_CLOSES})


def _applicable(effects: tuple[Effect, ...], facts: int) -> tuple[Effect, ...]:
    """Those effects that have something to do; see the table above.

    Args:
        effects: of a step.
        facts: bits: something is queued; a reader may have waited until now; there is an end to
            announce; iteration over events may end.
    """
    useless = {
        _E.DROP_QUEUE: not facts & 1,
        _E.SEND_FIN: facts & 1,
        _E.SERVE_READER: not facts & 2,
        _E.ANNOUNCE: not facts & 4,
        _E.END_CHANNELS: not facts & 8,
    }
    return tuple(effect for effect in effects if not useless.get(effect))


_STEPS: Final = {
    step: (
        after,
        after in _OURS_OPEN,
        _ANNOUNCE in effects,
        tuple(_applicable(effects, facts) for facts in range(16)),
    )
    for step, (after, effects) in TABLE.items()
}
"""Of each step: the phase after it, whether we may send then, whether there may be something to
announce, and the effects for all facts. Computed in advance, because a short connection spends much
of its time on its ends."""


class Ends:
    """The ends of one connection; each connection has its own.

    Attributes:
        phase: how far the two ends are.
        may_send: our direction is open, and not held for a start of TLS.
        may_receive: something more may come.
        loss: the first cause for which nothing can be sent any more, other than our own close.
        announced: the error that was announced, or ``None``.
        closed_by_us: we closed, before or after whatever else happened.
        their_end: the peer has ended its direction gracefully.
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
        self.phase = _OPEN
        self.may_send = True
        self.may_receive = True
        self.loss: SocketError | None = None
        self.announced: SocketError | None = None
        self.closed_by_us = False
        self.their_end = False
        self._farewell: SocketError | None = None  # what disconnect() has to announce at the end

    @property
    def closing(self) -> bool:
        """A graceful close is going on: input is discarded."""
        return self.phase in _CLOSING_PHASES

    @property
    def by(self) -> Side | None:
        """The side that ended the connection, or has begun to; ``None`` for none so far."""
        if self.closed_by_us:
            return Side.US
        if self.their_end:
            return Side.PEER
        return Side.NETWORK if self.loss is not None else None

    def happens(
        self, what: Happening, cause: SocketError | None = None, queued: bool = False
    ) -> tuple[Effect, ...]:
        """Change the phase according to what happened.

        Args:
            what: what happened.
            cause: the error that describes it; for the peer's end, losses and DISCONNECT.
            queued: whether something is in the send queue.

        Returns:
            What has to be done, in this order. The attributes have their new values already.
        """
        if what in _OUR_CLOSES:
            self.closed_by_us = True
        before = self.phase
        step = _STEPS.get((before, what))
        if step is None:
            return ()
        after, self.may_send, announces, effects = step
        if cause is not None:
            if what is _DISCONNECT:
                self._farewell = cause
            else:
                self._note_cause(before, what, cause)
        elif what is _GO_ON and self.their_end:
            after = _THEIRS_ENDED  # as it was before TLS
        self.phase = after
        facts = int(queued)
        if self.may_receive and (self.closed_by_us or self.their_end or after is _GONE):
            self.may_receive = False
            facts += 2
        if announces and self.announced is None:
            self.announced = self._farewell if self.closed_by_us else self.loss or cause
            if self.announced is not None:
                facts += 4
        if after is _GONE or (self.announced is not None and not queued):
            facts += 8
        return effects[facts]

    def note_earlier_cause(self, cause: SocketError) -> None:
        """The input read before the loss was found contained a loss itself: the first one."""
        if self.announced is None:
            self.loss = cause

    def _note_cause(self, before: Phase, what: Happening, cause: SocketError) -> None:
        if what in _THEIR_ENDS and before not in _HELD_OR_DYING:
            self.their_end = True
            if what is _THEIR_END or before is not _OPEN:
                return  # we may go on sending, or have ended our direction ourselves
        if self.loss is None:
            self.loss = cause

    def why_not_sending(self) -> SocketError | Why | None:
        """Why nothing can be sent; ``None`` while it can."""
        if self.closed_by_us:
            return _CLOSED_BY_US
        if self.loss is not None:
            return self.loss
        if self.phase is _HELD:
            return _TLS_BEGINS
        return None if self.may_send else _OUTPUT_ENDED

    def verdict(self) -> SocketError | Why | None:
        """Why nothing more will come; ``None`` while something may.

        What is buffered may be read all the same, unless we have closed.
        """
        if self.closed_by_us:
            return _CLOSED_BY_US
        if self.their_end:
            return _CLEAN_END
        return self.loss if self.phase is _GONE else None

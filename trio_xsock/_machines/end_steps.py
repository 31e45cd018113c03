"""What can happen to the ends of a connection, where it leads, and what is to be done then.

The words and the table of ``ends.py``, which says how to read it.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final


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
    THEIR_END_IS_LAST = "the same, and the OS does all that is left as the descriptor is closed"
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
    """Discard input from now on, start the grace period, free the place in a server."""
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
    """The side that ended a connection."""

    US = "us"
    PEER = "the peer"
    NETWORK = "the network"


_P = Phase
_H = Happening
_E = Effect

_Step = tuple[Phase, tuple[Effect, ...]]
_Table = dict[tuple[Phase, Happening], _Step]

_THEIR_ENDS = (_H.THEIR_END, _H.THEIR_END_CLOSES, _H.THEIR_END_IS_LAST)
_CLOSES = (_H.ACLOSE, _H.DISCONNECT)
_LOSSES = (_H.LOSS, _H.SEND_FAILED)

_ALIVE = [phase for phase in Phase if phase is not _P.GONE]
_TOLD = (_E.SERVE_READER, _E.ANNOUNCE, _E.END_CHANNELS)
_OVER: _Step = _P.GONE, (_E.RELEASE, _E.DROP_QUEUE, *_TOLD)
_CLOSE: _Step = _P.CLOSING, (_E.SERVE_READER, _E.START_CLOSING, _E.SEND_FIN)
_CLOSE_LAST: _Step = _P.CLOSING_LAST, (_E.START_CLOSING, _E.SEND_FIN)
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
    (_P.OPEN, _H.THEIR_END_IS_LAST): _OVER,
    **_each(_P.OPEN, _CLOSES, _CLOSE),
    (_P.OPEN, _H.SEND_FAILED): _DIE,
    (_P.OPEN, _H.HOLD): (_P.HELD, ()),
    # TLS is about to begin; a connection whose handshake is interrupted cannot be used.
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
    # A loss; the reader has not reached the end of the input yet.
    **_each(_P.DYING, (*_THEIR_ENDS, *_CLOSES), _OVER),
}
"""Every step that changes something; what is missing here changes nothing."""

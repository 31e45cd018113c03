"""The life of a socket as a table.

``TRANSITIONS`` has all there is about which state follows which. The diagram in the documentation
is drawn from it.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final

from trio_xsock._values.errors import InvalidStateError


class SocketState(enum.Enum):
    """Where in its life a socket is."""

    if not TYPE_CHECKING:  # its type is not known
        __hash__ = object.__hash__  # of an enum it is a Python function

    CLOSED = "closed"
    """No OS resource is held; the state before the first connection and after the last."""
    CONNECTING = "connecting"
    """Resolving, connecting, or shaking hands."""
    LISTENING = "listening"
    """Waiting for one peer."""
    CONNECTED = "connected"
    """Linked to a peer."""
    BOUND = "bound"
    """UDP: can send and receive."""
    CLOSING = "closing"
    """The rest of the queue is being sent, or unread input discarded; then it is closed."""


# Python 3.11 takes 100 ns to look a member up in its class: a tenth of what a message costs.
CLOSED: Final = SocketState.CLOSED
CONNECTING: Final = SocketState.CONNECTING
LISTENING: Final = SocketState.LISTENING
CONNECTED: Final = SocketState.CONNECTED
CLOSING: Final = SocketState.CLOSING
BOUND: Final = SocketState.BOUND


class Move(enum.Enum):
    """What can happen to a state; the value is how a message calls it."""

    if not TYPE_CHECKING:
        __hash__ = object.__hash__

    CONNECT = "connect()"
    LISTEN = "listen()"
    BIND = "bind()"
    ESTABLISH = "the connection being made"
    FAIL = "the attempt failing"
    DRAIN = "a graceful close"
    CLOSE = "close()"


_S = SocketState
_M = Move

TRANSITIONS: dict[tuple[SocketState, Move], SocketState] = {
    (_S.CLOSED, _M.CONNECT): _S.CONNECTING,
    (_S.CLOSED, _M.LISTEN): _S.LISTENING,
    (_S.CLOSED, _M.BIND): _S.BOUND,
    (_S.CONNECTING, _M.ESTABLISH): _S.CONNECTED,
    (_S.LISTENING, _M.ESTABLISH): _S.CONNECTED,
    (_S.CONNECTING, _M.FAIL): _S.CLOSED,
    (_S.LISTENING, _M.FAIL): _S.CLOSED,
    (_S.CONNECTED, _M.DRAIN): _S.CLOSING,
    **{(state, _M.CLOSE): _S.CLOSED for state in _S},
}
"""Every legal move; what is missing here is refused."""

_CURES = {
    _S.CLOSED: "it is not open",
    _S.CONNECTING: "it is still connecting; wait for connect() or close() it first",
    _S.LISTENING: "it is listening; close() it first",
    _S.CONNECTED: "it is connected; close() it first",
    _S.BOUND: "it is bound; close() it first",
    _S.CLOSING: "it is closing; wait for aclose() first",
}


def next_state(state: SocketState, move: Move) -> SocketState:
    """The state that follows.

    Args:
        state: where the socket is.
        move: what is about to happen.

    Returns:
        The state afterwards.

    Raises:
        InvalidStateError: the move is illegal; the message names the state, the move, and what to
            do instead.
    """
    try:
        return TRANSITIONS[state, move]
    except KeyError:
        text = f"{move.value} is not possible while the socket is {state.value}: {_CURES[state]}"
        raise InvalidStateError(text) from None

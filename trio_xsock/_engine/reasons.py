"""The errors that say why a call is not possible on a connection."""

from __future__ import annotations

from trio_xsock._machines.state import CONNECTING, SocketState
from trio_xsock._runtime.keeper import Keeper
from trio_xsock._values.errors import InvalidStateError, SocketClosedError


def closed_error(
    who: object, keeper: Keeper | None, what: str, *, accepted: bool
) -> SocketClosedError:
    """The error that says that we closed it.

    Args:
        who: the socket, for the text.
        keeper: of its block.
        what: what happened.
        accepted: a server accepted the connection, so the socket cannot connect again.
    """
    cure = "connect() opens it again"
    if accepted or (keeper is not None and keeper.ended):
        cure = f"make a new {type(who).__name__}"
    error = SocketClosedError(f"{who!r}: {what}; {cure}")
    if keeper is not None and keeper.failures:
        error.__cause__ = keeper.failures[0]
    return error


def not_connected(who: object, keeper: Keeper | None, state: SocketState) -> InvalidStateError:
    """The error that says that there is no connection; arguments as above."""
    if keeper is None:
        text = "never connected; use `async with`, then connect()"
    elif state is CONNECTING:
        text = "still connecting; wait for connect() to return"
    else:
        text = "not connected; `await connect()` first"
    return InvalidStateError(f"{who!r}: {text}")

"""The ``async with`` block of a socket: its nursery, its body, and what leaves it.

Three rules make the body's exception leave as the very same object:

* the body runs in a cancel scope of its own, inside the nursery. A failing handler or task
  cancels that scope, and a scope, unlike a nursery, lets other exceptions pass unwrapped;
* the nursery is left with no exception in flight;
* failures of handlers and tasks never enter the nursery, see ``_keeper``. They are raised
  here, at the very end.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from types import TracebackType

import trio

from .groups import as_group, single, without_cancelled
from .guard import protect_from_ki


@protect_from_ki
class Block:
    """One socket's block, entered once."""

    __slots__ = ("_body", "_manager", "_nursery")

    def __init__(self) -> None:
        self._manager: AbstractAsyncContextManager[trio.Nursery] | None = None
        self._nursery: trio.Nursery | None = None
        self._body = trio.CancelScope()

    async def open_nursery(self) -> trio.Nursery:
        """Open the nursery that hosts the socket's tasks; not a checkpoint."""
        manager = trio.open_nursery()
        nursery = await manager.__aenter__()  # noqa: ASYNC910 - Trio's own is not one either
        self._manager = manager
        self._nursery = nursery
        return nursery

    def cancel_tasks(self) -> None:
        """Cancel what runs in the nursery and is not shielded."""
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel("the block was left")

    def open_body(self) -> None:
        """From here on the code of the ``async with`` runs."""
        self._body.__enter__()

    def cancel_body(self) -> None:
        """Something of the socket failed: stop the code of the ``async with``."""
        self._body.cancel("a handler or task of the socket failed")

    def close_body(self, exc: BaseException | None) -> BaseException | None:
        """The body ended with ``exc``; returns what is left of it besides our own cancelling."""
        try:
            absorbed = self._body.__exit__(type(exc) if exc else None, exc, _traceback_of(exc))
        except BaseException as rest:  # noqa: ASYNC103 - what is left is for raise_errors
            # Trio copies groups to take our cancellation out of them. If there was none inside,
            # what the body raised is still the object to go on with.
            return rest if _holds_cancelled(exc) else exc  # noqa: ASYNC104
        return None if absorbed else exc

    async def close_nursery(self) -> BaseException | None:
        """Leave the nursery, all of whose tasks have ended; returns what came out of it.

        Only Ctrl-C during the wait, and errors of the library itself, ever do.
        """
        if self._manager is None:
            await trio.lowlevel.cancel_shielded_checkpoint()
            return None
        try:
            await self._manager.__aexit__(None, None, None)
        except BaseException as exc:  # noqa: ASYNC103 - for raise_errors, too
            return single(exc)  # noqa: ASYNC104, ASYNC910
        return None

    def raise_errors(
        self,
        original: BaseException | None,
        error: BaseException | None,
        failures: list[BaseException],
        leftover: BaseException | None,
    ) -> None:
        """Raise what has to leave the block, except for ``original``, which travels on.

        Args:
            original: what the body raised.
            error: what is left of that, or what closing raised.
            failures: what handlers and tasks raised.
            leftover: what the nursery raised.
        """
        errors = [*failures]
        if error is not None and not (errors and _is_cancelled(error)):
            errors.insert(0, error)
        if leftover is not None and not (errors and _is_cancelled(leftover)):
            errors.append(leftover)
        try:
            if len(errors) > 1:
                _raise_as_is(BaseExceptionGroup("several errors leave a socket's block", errors))
            if errors and errors[0] is not original:
                _raise_as_is(errors[0])
        finally:
            del original, error, failures, leftover, errors  # their tracebacks refer to this frame


def _raise_as_is(exc: BaseException) -> None:
    """Raise without making what the body raised the context."""
    context = exc.__context__
    try:
        raise exc
    finally:
        exc.__context__ = context
        del exc, context


def _holds_cancelled(exc: BaseException | None) -> bool:
    return as_group(exc) is not None and exc is not None and without_cancelled(exc) is not exc


def _is_cancelled(exc: BaseException) -> bool:
    return without_cancelled(exc) is None


def _traceback_of(exc: BaseException | None) -> TracebackType | None:
    return exc.__traceback__ if exc else None

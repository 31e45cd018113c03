"""The ``async with`` block of a socket: its nursery, its body, and what leaves it.

Three rules make the body's exception leave as the very same object:

* a failing handler or task cancels the body by the nursery's own scope, which saves a second one
  for each client. (The library's tasks in it are shielded, the user's have been cancelled before.)
  A socket that a server accepted has no nursery; its body runs in a cancel scope;
* the nursery is left with no exception in flight but our own cancellation;
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

    __slots__ = ("_cancelled", "_manager", "_scope")

    def __init__(self) -> None:
        self._manager: AbstractAsyncContextManager[trio.Nursery] | None = None
        self._scope: trio.CancelScope | None = None  # the nursery's, or that of the body alone
        self._cancelled = False

    async def open_nursery(self) -> trio.Nursery:
        """Open the nursery that hosts the socket's tasks; not a checkpoint."""
        manager = trio.open_nursery()
        nursery = await manager.__aenter__()  # noqa: ASYNC910 - Trio's own is not one either
        self._manager = manager
        self._scope = nursery.cancel_scope
        return nursery

    def cancel_tasks(self) -> None:
        """Cancel what runs in the nursery and is not shielded."""
        if self._manager is not None and self._scope is not None:
            self._scope.cancel("the block was left")

    def open_body(self) -> None:
        """From here on the code of the ``async with`` runs."""
        if self._manager is None:
            self._scope = trio.CancelScope()
            self._scope.__enter__()

    def cancel_body(self) -> None:
        """Something of the socket failed: stop the code of the ``async with``."""
        self._cancelled = True
        if self._scope is not None:
            self._scope.cancel("a handler or task of the socket failed")

    def close_body(self, exc: BaseException | None) -> BaseException | None:
        """The body ended with ``exc``; returns what is left of it besides our own cancelling.

        That of a nursery is left in it; ``close_nursery`` takes it out.
        """
        scope = self._scope
        if self._manager is not None or scope is None:
            return exc
        try:
            absorbed = scope.__exit__(type(exc) if exc else None, exc, _traceback_of(exc))
        except BaseException as rest:  # noqa: ASYNC103 - what is left is for raise_errors
            # Trio copies groups to take our cancellation out of them. If there was none inside,
            # what the body raised is still the object to go on with.
            return rest if _holds_cancelled(exc) else exc  # noqa: ASYNC104
        return None if absorbed else exc

    async def close_nursery(
        self, error: BaseException | None = None
    ) -> tuple[BaseException | None, BaseException | None]:
        """Leave the nursery, all of whose tasks have ended.

        Args:
            error: what the body or its end has raised.

        Returns:
            What is left of ``error`` besides our own cancelling, and what the nursery raised: only
            Ctrl-C during the wait, and errors of the library itself, are ever that.
        """
        manager = self._manager
        if manager is None:
            await trio.lowlevel.cancel_shielded_checkpoint()
            return error, None
        inside = error if self._cancelled and _holds_cancelled(error) else None
        try:
            await manager.__aexit__(type(inside) if inside else None, inside, _traceback_of(inside))
        except BaseException as exc:  # noqa: ASYNC103 - for raise_errors, too
            if inside is None:
                return error, single(exc)  # noqa: ASYNC104, ASYNC910
            return _of_one(exc), None  # noqa: ASYNC104, ASYNC910
        return (error, None) if inside is None else (None, None)

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
    return exc is not None and without_cancelled(exc) is not exc


def _is_cancelled(exc: BaseException) -> bool:
    return without_cancelled(exc) is None


def _of_one(exc: BaseException) -> BaseException:
    """The exception in a nursery's group of one, which may be a group of the user's."""
    group = as_group(exc)
    return group.exceptions[0] if group is not None and len(group.exceptions) == 1 else exc


def _traceback_of(exc: BaseException | None) -> TracebackType | None:
    return exc.__traceback__ if exc else None

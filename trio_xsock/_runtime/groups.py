"""Exception groups, for code that must tell what is in them."""

from __future__ import annotations

from typing import cast

import trio


def as_group(exc: BaseException | None) -> BaseExceptionGroup[BaseException] | None:
    """``exc`` if it is a group, with its type spelled out; ``None`` if it is not."""
    if isinstance(exc, BaseExceptionGroup):
        return cast("BaseExceptionGroup[BaseException]", exc)
    return None


def without_cancelled(exc: BaseException) -> BaseException | None:
    """What is left of ``exc`` without the cancellations in it: itself, a part, or ``None``."""
    group = as_group(exc)
    if group is None:
        return None if isinstance(exc, trio.Cancelled) else exc
    cancelled, rest = group.split(trio.Cancelled)
    return group if cancelled is None else rest


def single(exc: BaseException) -> BaseException:
    """The one exception in a group of one, however deep; other exceptions as they are."""
    group = as_group(exc)
    while group is not None and len(group.exceptions) == 1:
        exc = group.exceptions[0]
        group = as_group(exc)
    return exc


def leaves(exc: BaseException) -> list[BaseException]:
    """The exceptions in a group, however deep; a single one by itself."""
    group = as_group(exc)
    if group is None:
        return [exc]
    return [leaf for each in group.exceptions for leaf in leaves(each)]

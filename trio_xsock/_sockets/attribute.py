"""``Attribute``: the base of the attributes that several classes of sockets may name as theirs."""

from __future__ import annotations

import abc
from typing import Any, Generic, Self, TypeVar, overload

S = TypeVar("S", contravariant=True)
T = TypeVar("T", covariant=True)


class Attribute(abc.ABC, Generic[S, T]):
    """A descriptor with a docstring, which knows its name; of sockets ``S``, with values ``T``.

    Args:
        doc: the attribute's docstring.
    """

    def __init__(self, doc: str | None) -> None:
        self.__doc__ = doc
        self._name = ""

    def __set_name__(self, owner: type[Any], name: str) -> None:
        self._name = name

    @overload
    def __get__(self, socket: None, owner: type[Any]) -> Self: ...
    @overload
    def __get__(self, socket: S, owner: type[Any]) -> T: ...
    def __get__(self, socket: S | None, owner: type[Any]) -> Self | T:
        return self if socket is None else self._read(socket)

    @abc.abstractmethod
    def _read(self, socket: S) -> T:
        """The value."""

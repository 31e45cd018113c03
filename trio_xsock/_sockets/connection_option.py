"""``ConnectionOption``: an attribute of a socket that is one of its ``ConnectionOptions``."""

from __future__ import annotations

from typing import Any, Generic, Protocol, Self, TypeVar, overload

from trio_xsock._engine.options import ConnectionOptions

T = TypeVar("T")


class _Optioned(Protocol):
    _options: ConnectionOptions

    def _set_option(self, **option: object) -> None: ...


class ConnectionOption(Generic[T]):
    """A limit or a time-out as an attribute, which takes effect at once.

    Args:
        doc: the attribute's docstring.
    """

    def __init__(self, doc: str) -> None:
        self.__doc__ = doc
        self._name = ""

    def __set_name__(self, owner: type[Any], name: str) -> None:
        self._name = name

    @overload
    def __get__(self, socket: None, owner: type[Any]) -> Self: ...
    @overload
    def __get__(self, socket: _Optioned, owner: type[Any]) -> T: ...
    def __get__(self, socket: _Optioned | None, owner: type[Any]) -> Self | T:
        if socket is None:
            return self
        value: T = getattr(socket._options, self._name)
        return value

    def __set__(self, socket: _Optioned, value: T) -> None:
        socket._set_option(**{self._name: value})

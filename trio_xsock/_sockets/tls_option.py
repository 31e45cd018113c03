"""``TLSOption``: an attribute of a socket that is an option of its ``Security``."""

from __future__ import annotations

from typing import Any, Generic, Protocol, Self, TypeVar, overload

from trio_xsock._engine.security import Security

Get = TypeVar("Get")
Set = TypeVar("Set")


class _Secured(Protocol):
    _tls: Security


class TLSOption(Generic[Get, Set]):
    """An option of TLS as an attribute, which takes effect at the next handshake.

    Args:
        name: its name in ``Security``.
        doc: the attribute's docstring.
    """

    def __init__(self, name: str, doc: str) -> None:
        self._name = name
        self.__doc__ = doc

    @overload
    def __get__(self, socket: None, owner: type[Any]) -> Self: ...
    @overload
    def __get__(self, socket: _Secured, owner: type[Any]) -> Get: ...
    def __get__(self, socket: _Secured | None, owner: type[Any]) -> Self | Get:
        if socket is None:
            return self
        value: Get = socket._tls.get(self._name)
        return value

    def __set__(self, socket: _Secured, value: Set) -> None:
        socket._tls.set(self._name, value)

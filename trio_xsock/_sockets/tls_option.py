"""The kinds of attributes that are about TLS: options, the switch, and facts of the encryption."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Never, Protocol, Self, TypeAlias, TypeVar, overload

from trio_xsock._engine.connection import Connection
from trio_xsock._engine.security import Security
from trio_xsock._network.options import check_bool
from trio_xsock._network.tls_options import Path

from .attribute import Attribute

Get = TypeVar("Get")
Set = TypeVar("Set")
T = TypeVar("T")


class _Secured(Protocol):
    _tls: Security

    def _check_closed(self, what: str) -> None: ...


class _Connected(Protocol):
    _connection: Connection


class TLSOption(Generic[Get, Set]):
    """An option of TLS as an attribute, which takes effect at the next handshake.

    No ``Attribute``: Pyright sees that what is read differs from what is set only if one class
    defines both ways.

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


PathOption: TypeAlias = TLSOption[str | None, Path | None]
"""An option that names a file; it is set to any kind of path, and returned as text."""


class TLSSwitch(Attribute[_Secured, bool]):
    """Whether connections are encrypted from their beginning on; settable while closed."""

    def _read(self, socket: _Secured) -> bool:
        return socket._tls.enabled

    def __set__(self, socket: _Secured, enabled: bool) -> None:
        socket._check_closed(self._name)
        socket._tls.set("enabled", check_bool(self._name, enabled))


class TLSFact(Attribute[_Connected, T]):
    """A fact about the encryption of a socket's connection: an attribute that cannot be set.

    A decorator, as ``property`` is one, but of a function of the connection. So sockets of more
    than one kind may have the attribute.

    Args:
        fact: returns the fact; its docstring becomes that of the attribute.
    """

    def __init__(self, fact: Callable[[Connection], T]) -> None:
        super().__init__(fact.__doc__)
        self._fact = fact

    def _read(self, socket: _Connected) -> T:
        return self._fact(socket._connection)

    def __set__(self, socket: _Connected, value: Never) -> None:
        raise AttributeError(f"{self._name} of {socket!r} cannot be set")

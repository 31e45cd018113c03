"""``ConnectionOption``: an attribute of a socket that is one of its ``ConnectionOptions``."""

from __future__ import annotations

from typing import Protocol, TypeVar

from trio_xsock._engine.options import ConnectionOptions

from .attribute import Attribute

T = TypeVar("T")


class _Optioned(Protocol):
    _options: ConnectionOptions

    def _set_option(self, **option: object) -> None: ...


class ConnectionOption(Attribute[_Optioned, T]):
    """A limit or a time-out as an attribute, which takes effect at once."""

    def _read(self, socket: _Optioned) -> T:
        value: T = getattr(socket._options, self._name)
        return value

    def __set__(self, socket: _Optioned, value: T) -> None:
        socket._set_option(**{self._name: value})

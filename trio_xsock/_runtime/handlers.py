"""Handler objects: the methods they may have, and which of them are called."""

from __future__ import annotations

import contextlib
import difflib
import functools
import inspect
import weakref
from collections.abc import Callable, Collection, Iterable
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic

from trio_xsock._values.errors import SocketError
from trio_xsock._values.member import Member

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    H = TypeVar("H", contravariant=True, default=Any)
else:  # `typing` knows defaults only from Python 3.13 on
    from typing import TypeVar

    H = TypeVar("H", contravariant=True)


class _KnownMethods:
    """The methods of a handler that was looked at: mostly, all of its class have the same.

    A server asks for them once for each connection, and this takes a third of the time. It is kept
    in the class, and freed with it.

    Args:
        handler: the handler.
        names: the methods that were looked for.
        methods: those of them that are called.

    Attributes:
        kind: the class of the handler.
        names: as above.
    """

    __slots__ = ("_methods", "kind", "names")

    def __init__(self, handler: object, names: Collection[str], methods: Collection[str]) -> None:
        self.kind = type(handler)
        self.names = names
        self._methods = [(name, getattr(handler, name).__func__, name in methods) for name in names]

    def of(self, handler: object) -> dict[str, Callable[..., object]] | None:
        """Those of another handler that are called; ``None`` if it has others."""
        methods: dict[str, Callable[..., object]] = {}
        try:
            for name, function, is_called in self._methods:
                method = getattr(handler, name)
                if method.__func__ is not function:
                    return None
                if is_called:
                    methods[name] = method
        except AttributeError:  # one is no method, but some other callable
            return None
        return methods


class SocketHandler(Generic[H]):
    """Base class for handler objects, with all methods of all sockets; each does nothing.

    Deriving from it is optional; of any object, the methods it has are called. All are plain
    functions; to do async work call ``socket.start_soon(async_fn, ...)`` in them. One call at
    a time per socket. A method that raises closes the socket, and its exception leaves the
    socket's ``async with`` block. Xojo: the events of ``TCPSocket`` and of its relatives.

    It is generic in its sockets: the methods of a ``SocketHandler[TCPSocket]`` take one.
    """

    _xsock_methods: ClassVar[_KnownMethods | None] = None

    def on_connected(self, socket: H) -> None:
        """The connection is up (UDP: the socket is bound)."""

    def on_data_available(self, socket: H) -> None:
        """Something arrived; take it with ``socket.read_all()`` or leave it for later."""

    def on_send_progress(self, socket: H, bytes_sent: int, bytes_left: int) -> bool | None:
        """The OS took ``bytes_sent`` more bytes; ``bytes_left`` are queued.

        Returns:
            True to drop what is queued, like ``abort_send()``.
        """

    def on_send_complete(self, socket: H, user_aborted: bool) -> None:
        """The send queue is empty; ``user_aborted`` says if anything was dropped."""

    def on_error(self, socket: H, error: SocketError) -> None:
        """The connection was lost, or could not be made."""

    def on_received_message(self, socket: Any, *args: Any, **kwargs: Any) -> None:
        """A message socket received a message.

        ``EasyTCPSocket`` passes ``(socket, command, data)``; ``EasyUDPSocket`` and
        ``AutoDiscovery`` pass ``(socket, from_address, from_port, command, data)``.
        """

    def on_member_joined(self, socket: Any, member: Member) -> None:
        """A program has joined the group of an ``AutoDiscovery``."""

    def on_member_left(self, socket: Any, member: Member) -> None:
        """A program has left the group of an ``AutoDiscovery``."""

    def on_connections_changed(self, server: Any, opened: int, closed: int, live: int) -> None:
        """Connections of a ``ServerSocket`` came or went; ``live`` is how many there are now."""


METHODS: Final = (
    "on_connected",
    "on_data_available",
    "on_send_progress",
    "on_send_complete",
    "on_error",
)
"""The methods that the handler object of a socket may have."""

SERVER_METHODS: Final = ("on_error", "on_connections_changed")
"""Those of a server."""

_FAMILY: Final = tuple(name for name in vars(SocketHandler) if name.startswith("on_"))
"""The methods of all handlers, of any kind of socket."""

_IGNORED = {getattr(SocketHandler, name) for name in _FAMILY}
_SOUND: Final[weakref.WeakSet[type]] = weakref.WeakSet()
"""Classes without a misspelt method."""
_ALIKE: Final[weakref.WeakSet[type]] = weakref.WeakSet()
"""Those whose objects have no such methods of their own, as the first one shows.

To look at each would make a dict of its attributes, 64 bytes for each of a server's handlers.
"""

_ASYNC: Final = inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR

_NEARLY = 0.85
"""How similar a name has to be, of 1, to be taken for a misspelt one."""


def handler_methods(handler: object, names: Collection[str]) -> dict[str, Callable[..., object]]:
    """The methods of ``handler`` that are called.

    Args:
        handler: any object.
        names: the methods to look for.

    Returns:
        The bound methods by name, without those inherited from ``SocketHandler``.

    Raises:
        TypeError: ``handler`` is a class, or has none of the methods, or one with nearly such a
            name; or one of them is an ``async def``, or not callable.
    """
    kind = type(handler)
    known: _KnownMethods | None = getattr(kind, "_xsock_methods", None)
    if known is not None and known.kind is kind and known.names is names:
        methods = known.of(handler)
        if methods is not None:
            return methods
    methods = _find_methods(handler, names)
    if issubclass(kind, SocketHandler) and kind in _ALIKE:
        # Not if one is no method but some other callable, or the class lets nothing be set.
        with contextlib.suppress(AttributeError, TypeError):
            kind._xsock_methods = _KnownMethods(handler, names, methods)
    return methods


def _find_methods(handler: object, names: Collection[str]) -> dict[str, Callable[..., object]]:
    if isinstance(handler, type):
        raise TypeError(
            f"handler must be an object, not the class {handler.__name__}; "
            f"make one: handler={handler.__name__}()"
        )
    _check_spelling(handler, names)
    methods: dict[str, Callable[..., object]] = {}
    for name in names:
        method = getattr(handler, name, None)
        if getattr(method, "__func__", None) not in _IGNORED and method is not None:
            _check_method(name, method)
            methods[name] = method
    if not methods and all(getattr(handler, name, None) is None for name in names):
        raise TypeError(
            f"handler has none of the methods that are called here: {handler!r}; "
            f"they are {', '.join(names)}"
        )
    return methods


def _check_method(name: str, method: object) -> None:
    """Refuse what is not a plain function."""
    if type(method) is MethodType:
        is_async = _is_async_function(method.__func__)
    elif callable(method):
        is_async = _is_async(method) or _is_async(type(method).__call__)
    else:
        raise TypeError(f"handler.{name} is not callable: {method!r}")
    if is_async:
        raise TypeError(
            f"handler.{name} is an async function; handlers are plain functions: "
            "use socket.start_soon(async_fn, ...) inside it"
        )


def _check_spelling(handler: object, names: Collection[str]) -> None:
    """Refuse a method whose name is nearly that of one that would be called."""
    kind = type(handler)
    if kind in _ALIKE:
        return
    own: list[str] = [*getattr(handler, "__dict__", ())]
    if not any(map(_may_be_method, own)):
        _ALIKE.add(kind)
    if kind not in _SOUND:
        own += dir(kind)
    for name in filter(_may_be_method, own):
        meant = _meant(name, names) or _meant(name, _FAMILY)
        if meant is not None and callable(getattr(handler, name, None)):
            _ALIKE.discard(kind)
            raise TypeError(f"handler.{name} is never called; did you mean {meant}?")
    _SOUND.add(kind)


def _may_be_method(name: str) -> bool:
    """Whether ``name`` looks like a misspelt name of a method that is called."""
    return name.lower().startswith("on") and name not in _FAMILY


def _meant(name: str, names: Iterable[str]) -> str | None:
    """Which of ``names`` is nearly ``name``, whatever its case and underscores."""
    plain = {_letters(each): each for each in names}
    close = difflib.get_close_matches(_letters(name), plain, n=1, cutoff=_NEARLY)
    return plain[close[0]] if close else None


def _letters(name: str) -> str:
    return name.replace("_", "").lower()


def check_async_function(what: str, function: object) -> None:
    """Raise unless ``function`` is an async function.

    Args:
        what: its name in the message.
        function: what the user gave; a ``functools.partial`` of an async function, an object
            whose ``__call__`` is one, and a wrapper made with ``functools.wraps`` are allowed.

    Raises:
        TypeError: anything else.
    """
    while isinstance(function, functools.partial):
        function = function.func
    inner = inspect.unwrap(function) if callable(function) else function
    if any(inspect.iscoroutinefunction(each) for each in (function, inner, _call_of(inner))):
        return
    text = f"{what} must be an async function, not {function!r}"
    if inspect.iscoroutine(function):
        function.close()  # otherwise Python warns that it was never awaited
        text = f"{what} must be an async function, not what a call of one returns: leave the () out"
    elif inspect.isasyncgenfunction(inner):
        text += ", which is an async generator"
    elif callable(function):
        text += ", which is a plain one; write `async def`"
    raise TypeError(text)


def _call_of(function: object) -> object:
    """The ``__call__`` of an object that is no function and no class."""
    return None if isinstance(function, type) else getattr(type(function), "__call__", None)  # noqa: B004


def _is_async(function: object) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)


def _is_async_function(function: object) -> bool:
    """As ``_is_async``; quick for a plain function, as a server asks it for each connection."""
    if type(function) is FunctionType and not function.__dict__:  # no mark of ``inspect`` in it
        return bool(function.__code__.co_flags & _ASYNC)
    return _is_async(function)

"""Handler objects: any object may be one; of its methods, those with the right names are called."""

from __future__ import annotations

import functools
import gc
import weakref
from typing import Any

import pytest

from tests.support.handlers import Everything
from trio_xsock import (
    AutoDiscovery,
    EasyTCPSocket,
    Member,
    ServerSocket,
    SocketError,
    SocketHandler,
    TCPSocket,
    UDPSocket,
)
from trio_xsock._runtime.handlers import (
    METHODS,
    SERVER_METHODS,
    check_async_function,
    handler_methods,
)
from trio_xsock._runtime.message_hub import MESSAGE_METHODS

ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "on_connected": (None,),
    "on_data_available": (None,),
    "on_send_progress": (None, 3, 4),
    "on_send_complete": (None, True),
    "on_error": (None, SocketError("gone")),
}


def test_the_methods_a_handler_has_are_called() -> None:
    """Any object will do; what it has beyond the events is its own business."""
    handler = Everything()
    methods = handler_methods(handler, METHODS)
    assert methods == {name: getattr(handler, name) for name in METHODS}


def test_what_is_inherited_from_the_base_class_is_not_called() -> None:
    """``SocketHandler`` does nothing, so it costs nothing; overridden methods count."""

    class Handler(SocketHandler):
        def on_error(self, socket: object, error: SocketError) -> None: ...

    assert handler_methods(SocketHandler(), METHODS) == {}
    assert list(handler_methods(Handler(), METHODS)) == ["on_error"]


def test_the_base_class_has_every_method_and_does_nothing() -> None:
    """Called through ``super()`` its methods answer ``None``."""
    handler = SocketHandler()
    for name in METHODS:
        assert getattr(handler, name)(*ARGUMENTS[name]) is None
    handler.on_received_message(None, 1, b"")
    handler.on_received_message(None, "127.0.0.1", 5, 1, b"")
    member = Member("id", "127.0.0.1", 5, "name", {})
    handler.on_member_joined(None, member)
    handler.on_member_left(None, member)
    handler.on_connections_changed(None, opened=1, closed=0, live=1)
    family = {*METHODS, *MESSAGE_METHODS, *SERVER_METHODS, *AutoDiscovery._HANDLER_METHODS}
    assert {name for name in dir(handler) if name.startswith("on_")} == family


def test_the_base_class_will_do_for_every_kind() -> None:
    """It has all methods of the family, and none of them is called."""
    for names in METHODS, MESSAGE_METHODS, SERVER_METHODS, AutoDiscovery._HANDLER_METHODS:
        assert handler_methods(SocketHandler(), names) == {}


@pytest.mark.parametrize("handler", [object(), 5, "text"])
def test_an_object_without_methods_is_no_handler(handler: object) -> None:
    """It would never be called; the error says what would."""
    with pytest.raises(TypeError, match=r"none of the methods.*on_connected, on_data_available"):
        TCPSocket(handler=handler)


def test_no_handler_is_fine() -> None:
    """``None`` takes a handler away."""
    sock = TCPSocket(handler=Everything())
    sock.handler = None
    assert sock.handler is None


@pytest.mark.parametrize("kind", [TCPSocket, EasyTCPSocket, UDPSocket, AutoDiscovery, ServerSocket])
def test_a_class_is_no_handler(kind: Any) -> None:
    """It has the methods, but they would lack their ``self``."""
    with pytest.raises(TypeError, match=r"not the class Everything.*handler=Everything\(\)"):
        kind(handler=Everything)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("on_data_availble", "on_data_available"),
        ("on_dataavailable", "on_data_available"),
        ("onDataAvailable", "on_data_available"),
        ("on_conected", "on_connected"),
        ("on_errors", "on_error"),
        ("on_send_completed", "on_send_complete"),
        ("on_recieved_message", "on_received_message"),
    ],
)
def test_a_misspelt_method_is_refused(name: str, meant: str) -> None:
    """The text says which was meant, be it a method of the class or of the object."""

    class Handler(Everything):
        pass

    handler = Handler()
    setattr(handler, name, print)
    with pytest.raises(TypeError, match=f"{name} is never called; did you mean {meant}"):
        TCPSocket(handler=handler)
    setattr(Handler, name, lambda self, socket: None)
    with pytest.raises(TypeError, match=f"{name} is never called; did you mean {meant}"):
        TCPSocket(handler=Handler())


def test_other_methods_are_the_handlers_own_business() -> None:
    """Also what is private, no method, or belongs to another socket of the family."""

    class Handler(Everything):
        on_errors = 3

        def _on_error(self) -> None: ...

        def once(self) -> None: ...

        def on_received_message(self) -> None: ...

        def on_member_joined(self) -> None: ...

    assert set(handler_methods(Handler(), METHODS)) == set(METHODS)


class AsyncCall:
    """An object that can be called as an async function."""

    async def __call__(self) -> None: ...


def wrapper() -> Any:
    """What a decorator makes of an async function."""

    @functools.wraps(async_function)
    def wrapped() -> Any: ...

    return wrapped


def test_what_is_an_async_function() -> None:
    """Whatever gives a coroutine when it is called."""
    for function in (
        async_function,
        AsyncCall(),
        AsyncCall().__call__,
        functools.partial(functools.partial(async_function, 1), 2),
        wrapper(),
    ):
        check_async_function("it", function)


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (print, "a plain one"),
        (Everything().on_connected, "a plain one"),
        (functools.partial(print), "a plain one"),
        (lambda: None, "a plain one"),
        (AsyncCall, "a plain one"),
        (None, "not None"),
        (5, "not 5"),
    ],
)
def test_what_is_no_async_function(function: Any, text: str) -> None:
    """Refused, and never called."""
    with pytest.raises(TypeError, match=f"it must be an async function.*{text}"):
        check_async_function("it", function)


def test_a_call_of_an_async_function_is_none() -> None:
    """Nor is an async generator."""
    with pytest.raises(TypeError, match=r"leave the \(\) out"):
        check_async_function("it", async_function())
    with pytest.raises(TypeError, match="async generator"):
        check_async_function("it", async_generator)


async def test_plain_functions_are_refused_at_once() -> None:
    """By start_soon and serve, which would otherwise tell when it is too late."""
    closed: list[bool] = []
    async with TCPSocket() as sock:
        with pytest.raises(TypeError, match="async_fn must be an async function"):
            sock.start_soon(closed.append, True)  # type: ignore[arg-type]
    async with ServerSocket(address="127.0.0.1") as server:
        with pytest.raises(TypeError, match="handler must be an async function"):
            await server.serve(closed.append)  # type: ignore[arg-type]
        assert not server.is_listening
    assert not closed


def test_a_method_may_be_any_callable() -> None:
    """A function in an attribute, ``None`` for none, a partial, an object with ``__call__``."""

    class Callable:
        def __call__(self, socket: object) -> None: ...

    class Handler:
        def __init__(self) -> None:
            self.on_connected = print
            self.on_error = None
            self.on_data_available = functools.partial(print, "data")
            self.on_send_complete = Callable()

    found = handler_methods(Handler(), METHODS)
    assert list(found) == ["on_connected", "on_data_available", "on_send_complete"]


async def async_function(*_: object) -> None:
    """Refused as a handler method."""


async def async_generator(*_: object) -> Any:
    """Refused as well."""
    yield  # pragma: no cover


class AsyncCallable:
    """And so are its instances."""

    async def __call__(self, *_: object) -> None: ...

    async def method(self, *_: object) -> None: ...


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(
    "function",
    [
        async_function,
        async_generator,
        functools.partial(async_function, 1),
        AsyncCallable(),
        AsyncCallable().method,
    ],
    ids=["function", "generator", "partial", "object", "method"],
)
def test_async_methods_are_refused(name: str, function: object) -> None:
    """At once, by a text that names the method and says what to do instead."""

    class Handler:
        pass

    handler = Handler()
    setattr(handler, name, function)
    with pytest.raises(TypeError, match=rf"handler\.{name} is an async function.*start_soon"):
        handler_methods(handler, METHODS)


def test_what_cannot_be_called_is_refused() -> None:
    """A number is no method."""

    class Handler:
        on_error = 5

    with pytest.raises(TypeError, match=r"handler\.on_error is not callable: 5"):
        handler_methods(Handler(), METHODS)


class Known(SocketHandler[Any]):
    """The methods of one object of it are those of the next."""

    def on_error(self, socket: Any, error: SocketError) -> None: ...


def called(handler: object) -> list[str]:
    """The methods of ``handler`` that would be called."""
    return [*handler_methods(handler, METHODS)]


def test_the_next_object_of_a_class_has_methods_of_its_own() -> None:
    """They are bound to it, and not to the first one."""
    assert called(Known()) == ["on_error"]
    handler = Known()
    assert handler_methods(handler, METHODS) == {"on_error": handler.on_error}


def test_methods_are_found_again_where_they_have_changed() -> None:
    """In the class, in a class derived from it, and in an object."""

    class Changing(Known): ...

    class Derived(Changing):
        def on_connected(self, socket: Any) -> None: ...

    for _ in range(2):
        assert called(Changing()) == ["on_error"]
        assert called(Derived()) == ["on_connected", "on_error"]
    Changing.on_send_complete = lambda self, socket, user_aborted: None  # type: ignore[method-assign]
    for _ in range(2):
        assert called(Changing()) == ["on_send_complete", "on_error"]
        assert called(Derived()) == ["on_connected", "on_send_complete", "on_error"]
    handler = Changing()
    handler.on_data_available = print  # type: ignore[method-assign]
    assert called(handler) == ["on_data_available", "on_send_complete", "on_error"]
    assert called(Changing()) == ["on_send_complete", "on_error"]


def test_what_is_wrong_is_found_however_often_the_class_was_looked_at() -> None:
    """A misspelt name in a derived class, and an async function that comes later."""

    class Misspelt(Known):
        def on_conected(self, socket: Any) -> None: ...

    for _ in range(2):
        assert called(Known()) == ["on_error"]
        with pytest.raises(TypeError, match="did you mean on_connected"):
            called(Misspelt())

    class Late(Known): ...

    async def on_connected(_self: object, _socket: Any) -> None: ...

    called(Late())
    Late.on_connected = on_connected  # type: ignore[assignment]
    for _ in range(2):
        with pytest.raises(TypeError, match="on_connected is an async function"):
            called(Late())


def test_a_class_is_freed_after_it_was_looked_at() -> None:
    """What is known of it belongs to it."""

    def look() -> weakref.ref[type]:
        class Passing(Known): ...

        called(Passing())
        called(Passing())
        return weakref.ref(Passing)

    passing = look()
    gc.collect()
    assert passing() is None

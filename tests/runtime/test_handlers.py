"""Handler objects: any object may be one; of its methods, those with the right names are called."""

from __future__ import annotations

import functools
from typing import Any

import pytest

from tests.support.handlers import Everything
from trio_xsock import SocketError, SocketHandler
from trio_xsock._runtime.handlers import METHODS, handler_methods

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
    assert [name for name in dir(handler) if name.startswith("on_")] == sorted(METHODS)


@pytest.mark.parametrize("handler", [None, object(), 5, "text"])
def test_an_object_without_methods_is_no_handler(handler: object) -> None:
    """It is accepted, and nothing is called."""
    assert handler_methods(handler, METHODS) == {}


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

"""Faults injected into calls that the library makes: to the OS, to TLS, to its own engine.

An ``Injector`` notes every call of what it was put around, and where it was made. Armed with one
of these calls it makes that one raise, the next time it comes to it.
"""

from __future__ import annotations

import fcntl
import inspect
import os
import select
import socket
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import pytest

from trio_xsock._machines.tls import TLSEngine
from trio_xsock.testing import is_compiled

OF_SOCKETS = (
    "accept",
    "close",
    "getpeername",
    "getsockname",
    "getsockopt",
    "recv",
    "recv_into",
    "send",
    "sendmsg",
    "setblocking",
    "setsockopt",
    "shutdown",
)
OF_EPOLL = ("register", "modify", "unregister")
ONLY_ON_LINUX = (*OF_EPOLL, "ioctl", "sendfile")
"""Calls that the library makes nowhere else."""
OF_THE_ENGINE = (
    *("_engine.attempt", "_engine.byte_inbox", "_engine.closing", "_engine.connection"),
    *("_engine.ending", "_engine.intake", "_engine.link", "_engine.losing"),
    *("_engine.message_inbox", "_engine.outlet", "_engine.reading", "_engine.requests"),
    *("_engine.send_waits", "_engine.ticking", "_engine.upgrade", "_engine.watchdogs"),
    *("_engine.writing", "_network.handshake", "_network.rejection"),
)
"""Modules of which all functions are the library's own work for one connection."""


_OURS = ("trio_xsock.", "trio._core._run") if is_compiled() else "trio_xsock."
"""Modules whose calls count. A compiled function has no frame: the next one is that of its caller,
which may be the loop of Trio; that makes no such calls itself."""


class Call(NamedTuple):
    """One call: of what, where it was made, and which of those made there it was."""

    name: str
    where: str
    number: int


class Injector:
    """Notes calls, and makes one of them raise.

    Attributes:
        calls: what was called since it was armed, or began to watch, in order.
        raised: the fault, once it was raised.
    """

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.raised: Exception | None = None
        self._counts: Counter[tuple[str, str]] = Counter()
        self._at: Call | None = None
        self._fault: Callable[[], Exception] = RuntimeError

    def watch(self) -> None:
        """Note calls, and let them all be."""
        self.calls, self._at, self.raised = [], None, None
        self._counts.clear()

    def arm(self, at: Call, fault: Callable[[], Exception]) -> None:
        """Have that call raise; note calls from now on."""
        self.watch()
        self._at, self._fault = at, fault

    def wrap(self, name: str, function: Callable[..., Any], *, sites: bool = True) -> Any:
        """``function``, watched; ``sites``: calls of different places are told apart."""

        def call(*args: Any, **kwargs: Any) -> Any:
            frame = sys._getframe(1)
            if not frame.f_globals["__name__"].startswith(_OURS):
                return function(*args, **kwargs)
            where = f"{frame.f_code.co_qualname}:{frame.f_lineno}" if sites else ""
            self._counts[name, where] += 1
            this = Call(name, where, self._counts[name, where])
            self.calls.append(this)
            if this != self._at:
                return function(*args, **kwargs)
            if name == "close":  # as the OS does: the descriptor is gone all the same
                function(*args, **kwargs)
            self.raised = self._fault()
            raise self.raised

        return call

    # What it may be put around

    def put_around_system(self, patch: pytest.MonkeyPatch) -> None:
        """The calls of sockets, of epoll sets and of TLS."""
        for name in OF_SOCKETS:
            patch.setattr(socket.socket, name, self.wrap(name, getattr(socket.socket, name)))
        for name, member in vars(TLSEngine).items():
            if inspect.isfunction(member) and (name == "__init__" or not name.startswith("_")):
                patch.setattr(TLSEngine, name, self.wrap(f"TLS {name}", member))
            elif isinstance(member, property) and member.fget is not None:
                getter = property(self.wrap(f"TLS {name}", member.fget))
                patch.setattr(TLSEngine, name, getter)
        patch.setattr(fcntl, "ioctl", self.wrap("ioctl", fcntl.ioctl))
        patch.setattr(os, "sendfile", self.wrap("sendfile", os.sendfile))
        patch.setattr("trio_xsock._runtime.epoll.make_epoll", lambda: FaultyEpoll(self))

    def put_around_engine(self, patch: pytest.MonkeyPatch) -> None:
        """All functions and methods of the modules that are the engine, wherever they are used.

        Compiled ones cannot be replaced; the rest of the engine is interpreted.
        """
        ours = [each for name, each in list(sys.modules.items()) if name.startswith("trio_xsock.")]
        for name in OF_THE_ENGINE:
            module = sys.modules[f"trio_xsock.{name}"]
            for member in list(vars(module).values()):
                if getattr(member, "__module__", None) != module.__name__:
                    continue
                if inspect.isfunction(member):
                    wrapped = self.wrap(member.__name__, member, sites=False)
                    for user in ours:
                        if vars(user).get(member.__name__) is member:
                            patch.setattr(user, member.__name__, wrapped)
                elif inspect.isclass(member):
                    self._put_around_class(patch, member)

    def _put_around_class(self, patch: pytest.MonkeyPatch, cls: type) -> None:
        for name, member in list(vars(cls).items()):
            if inspect.isfunction(member) and name != "__init__":
                patch.setattr(cls, name, self.wrap(member.__qualname__, member, sites=False))


class FaultyEpoll:
    """An epoll set whose calls for single descriptors may fail."""

    def __init__(self, injector: Injector) -> None:
        self._epoll = select.epoll()
        self.fileno, self.poll, self.close = (
            self._epoll.fileno,
            self._epoll.poll,
            self._epoll.close,
        )
        for name in OF_EPOLL:
            setattr(self, name, injector.wrap(name, getattr(self._epoll, name)))

    @property
    def closed(self) -> bool:
        return self._epoll.closed


def calls_of_every_connection(kind: str) -> set[str]:
    """Functions of the engine that can be made to raise, and that every connection comes to."""
    if is_compiled():
        return {f"{'MessageInbox' if kind == 'easy' else 'ByteInbox'}.restart"}
    return {"Connection.open", "Connection.happens", "Link.close"}


def first_and_last(calls: Iterable[Call]) -> list[Call]:
    """Of the calls that were made at one place only the first and the last."""
    kept: dict[tuple[str, str], list[Call]] = {}
    for call in calls:
        kept.setdefault((call.name, call.where), []).append(call)
    return [each for group in kept.values() for each in dict.fromkeys((group[0], group[-1]))]


def is_in(fault: BaseException, error: BaseException | None) -> bool:
    """Whether ``error`` is that fault, was caused by it, or raised while it was handled."""
    if error is None:
        return False
    if error is fault:
        return True
    inner = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    return any(is_in(fault, each) for each in (error.__cause__, error.__context__, *inner))

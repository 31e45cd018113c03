"""The error tree, its numbers, and the map from the OS's errors to it."""

from __future__ import annotations

import copy
import errno
import gc
import pickle
import socket
import sys
import types
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import trio

from trio_xsock._values import errors as _errors
from trio_xsock._values.errors import (
    AddressInUseError,
    ConnectError,
    DelimiterNotFoundError,
    ErrorCode,
    FramingError,
    IncompleteReadError,
    InvalidPortError,
    InvalidStateError,
    LossReason,
    LostConnectionError,
    NameResolutionError,
    OpenDriverError,
    OutOfMemoryError,
    SocketClosedError,
    SocketError,
    TLSError,
    describe,
    forget_frames,
    translate_loss,
    translate_os_error,
)

# SPEC 7: the class, its code, and what else it is.
TREE: list[tuple[type[SocketError], int | None, type[BaseException]]] = [
    (SocketError, None, Exception),
    (OpenDriverError, 100, SocketError),
    (LostConnectionError, 102, trio.BrokenResourceError),
    (NameResolutionError, 103, OSError),
    (AddressInUseError, 105, OSError),
    (InvalidStateError, 106, SocketError),
    (SocketClosedError, 106, InvalidStateError),
    (SocketClosedError, 106, trio.ClosedResourceError),
    (InvalidPortError, 107, ValueError),
    (OutOfMemoryError, 108, SocketError),
    (TLSError, 303, trio.BrokenResourceError),
    (ConnectError, None, OSError),
    (IncompleteReadError, None, EOFError),
    (DelimiterNotFoundError, None, SocketError),
    (FramingError, None, ValueError),
]
CLASSES = sorted({kind for kind, _, _ in TREE}, key=lambda kind: kind.__name__)

GAIERROR = socket.gaierror(socket.EAI_NONAME, "Name or service not known")

# What opening, binding, listening or resolving may say, and what becomes of it.
OPENING: list[tuple[OSError, type[SocketError]]] = [
    (OSError(errno.EMFILE, "x"), OpenDriverError),
    (OSError(errno.ENFILE, "x"), OpenDriverError),
    (OSError(errno.EAFNOSUPPORT, "x"), OpenDriverError),
    (OSError(errno.EPROTONOSUPPORT, "x"), OpenDriverError),
    (OSError(errno.EADDRINUSE, "x"), AddressInUseError),
    (OSError(errno.EACCES, "x"), InvalidPortError),
    (OSError(errno.EPERM, "x"), InvalidPortError),
    (OSError(errno.ENOMEM, "x"), OutOfMemoryError),
    (OSError(errno.ENOBUFS, "x"), OutOfMemoryError),
    (OSError(errno.EADDRNOTAVAIL, "x"), SocketError),
    (OSError(errno.EINVAL, "x"), SocketError),
    (OSError("no number"), SocketError),
    (GAIERROR, NameResolutionError),
]

# What an established connection may say, and the reason that users see.
LOSSES: list[tuple[OSError, LossReason]] = [
    (ConnectionResetError(errno.ECONNRESET, "x"), LossReason.RESET),
    (BrokenPipeError(errno.EPIPE, "x"), LossReason.RESET),
    (ConnectionAbortedError(errno.ECONNABORTED, "x"), LossReason.RESET),
    (OSError(errno.ENOTCONN, "x"), LossReason.RESET),
    (OSError("no number"), LossReason.RESET),
    (TimeoutError(errno.ETIMEDOUT, "x"), LossReason.TIMED_OUT),
    (OSError(errno.EHOSTUNREACH, "x"), LossReason.TIMED_OUT),
    (OSError(errno.ENETUNREACH, "x"), LossReason.TIMED_OUT),
    (OSError(errno.EHOSTDOWN, "x"), LossReason.TIMED_OUT),
]


@pytest.mark.parametrize(("kind", "code", "base"), TREE)
def test_the_tree(kind: type[SocketError], code: int | None, base: type[BaseException]) -> None:
    """Each class has Xojo's number or none, a text, no errno by itself, and its ancestors."""
    error = kind("example.org:80: it went wrong")
    assert isinstance(error, base)
    assert isinstance(error, SocketError)
    assert error.error_number == code
    assert code is None or isinstance(error.error_number, ErrorCode)
    assert error.errno is None
    assert str(error) == "example.org:80: it went wrong"
    assert str(kind()) == ""


def test_every_class_of_the_module_is_in_the_table() -> None:
    """A class added to the tree is added here as well."""
    found = {
        value
        for value in vars(_errors).values()
        if isinstance(value, type) and issubclass(value, SocketError)
    }
    assert found == set(CLASSES)


def test_the_numbers_are_xojos() -> None:
    """101 and 104 are unused, and so is every other number."""
    assert sorted(ErrorCode) == [0, 100, 102, 103, 105, 106, 107, 108, 303]


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("duplicate", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))])
def test_errors_survive_copies(
    kind: type[SocketError], duplicate: Callable[[SocketError], SocketError]
) -> None:
    """A copied or pickled error has the same class, text and facts."""
    error = kind("text")
    error.errno = 7
    other = duplicate(error)
    assert type(other) is kind
    assert str(other) == "text"
    assert vars(other) == vars(error)
    assert other.errno == 7


def test_facts_of_the_classes() -> None:
    """What is passed at construction can be read, and the defaults say little."""
    assert SocketError("x", errno=90).errno == 90
    lost = LostConnectionError("x", reason=LossReason.LOCAL, errno=104)
    assert (lost.reason, lost.errno) == (LossReason.LOCAL, 104)
    assert LostConnectionError().reason is LossReason.RESET
    tls = TLSError("x", reason="CERTIFICATE_VERIFY_FAILED")
    assert tls.reason == "CERTIFICATE_VERIFY_FAILED"
    assert TLSError().reason == ""
    incomplete = IncompleteReadError("x", partial=b"ab", expected=3)
    assert (incomplete.partial, incomplete.expected) == (b"ab", 3)
    assert (IncompleteReadError().partial, IncompleteReadError().expected) == (b"", None)
    assert DelimiterNotFoundError("x", max_bytes=9).max_bytes == 9
    attempts = (OSError(errno.ECONNREFUSED, "x"), OSError(errno.EHOSTUNREACH, "y"))
    failed = ConnectError("x", errors=attempts)
    assert (failed.errors, failed.errno) == (attempts, errno.EHOSTUNREACH)
    assert (ConnectError().errors, ConnectError().errno) == ((), None)


@pytest.mark.parametrize(("exc", "kind"), OPENING)
def test_errors_of_opening_are_translated(exc: OSError, kind: type[SocketError]) -> None:
    """Each errno gets the class of SPEC 7, with cause, number and both texts."""
    error = translate_os_error(exc, "[::1]:80: cannot bind")
    assert type(error) is kind
    assert error.__cause__ is exc
    assert error.errno == exc.errno
    assert str(error) == f"[::1]:80: cannot bind: {describe(exc)}"


@pytest.mark.parametrize(("exc", "reason"), LOSSES)
def test_losses_are_translated(exc: OSError, reason: LossReason) -> None:
    """Every error of a connection ends it; silence keeps its name."""
    error = translate_loss(exc, "[::1]:80: connection lost")
    assert type(error) is LostConnectionError
    assert error.reason is reason
    assert error.__cause__ is exc
    assert error.errno == exc.errno
    assert str(error) == f"[::1]:80: connection lost: {describe(exc)}"


@pytest.mark.parametrize(
    ("exc", "text"),
    [
        (OSError(errno.ECONNRESET, "whatever Python says"), "Connection reset by peer"),
        (OSError("no number"), "no number"),
        (GAIERROR, "Name or service not known"),
        (socket.gaierror("no number"), "no number"),
    ],
)
def test_the_os_is_quoted_in_words(exc: OSError, text: str) -> None:
    """No errno in brackets; a resolver's number is not taken for an errno."""
    assert describe(exc) == text


class Fact:
    """Something that a frame may keep alive."""


def library_function(error: BaseException, kept: list[weakref.ref[Fact]]) -> None:
    """Raises; called with the globals of a module of the library."""
    fact = Fact()
    kept.append(weakref.ref(fact))
    raise error


def as_if_in(module: str) -> Callable[..., Any]:
    """``library_function`` as it would be in another module."""
    names = {**globals(), "__name__": module}
    return types.FunctionType(library_function.__code__, names)


@pytest.mark.parametrize(
    ("module", "forgotten"),
    [("trio_xsock._sockets.sending", True), ("trio_xsock_of_mine", False), ("program", False)],
)
def test_an_error_can_forget_our_frames(module: str, forgotten: bool) -> None:
    """What a frame of the library kept is let go of at once; users' frames are left alone."""
    error, kept = SocketError("x"), list[weakref.ref[Fact]]()
    gc.disable()
    try:
        with pytest.raises(SocketError):
            as_if_in(module)(error, kept)
        assert kept[0]() is not None
        forget_frames(error)
        assert (kept[0]() is None) is forgotten
        assert error.__traceback__ is not None
    finally:
        gc.enable()


def test_frames_that_still_run_are_left_alone() -> None:
    """An error may be told to forget while it is on its way."""
    outcome: list[SocketError] = []

    def forget() -> None:
        exc = sys.exc_info()[1]
        assert isinstance(exc, SocketError)
        forget_frames(exc)
        outcome.append(exc)

    source = "def function(error, forget):\n try:\n  raise error\n except Exception:\n  forget()\n"
    names: dict[str, Any] = {"__name__": "trio_xsock._sockets.sending"}
    exec(source, names)
    names["function"](SocketError("x"), forget)
    assert len(outcome) == 1


def test_an_error_without_a_traceback_has_nothing_to_forget() -> None:
    """Errors that were posted and never raised are fine."""
    forget_frames(SocketError("x"))

"""The pool of sockets that wait for a connection, made by ``add_socket``."""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from typing import Any

import pytest
import trio

from tests.support import EventRecorder, raw_pair
from tests.support.pairs import linked
from trio_xsock import EventChannel, InvalidStateError, SocketHandler, SocketState, TCPSocket
from trio_xsock._server.pool import SocketPool, is_live

VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("VARIABLE", default="unset")


def pool_of(add_socket: Callable[[], Any]) -> tuple[SocketPool[Any], contextvars.Context]:
    return SocketPool(add_socket), contextvars.copy_context()


def test_fill_makes_what_is_missing() -> None:
    """The pool is filled up to the number asked for, and never emptied by that."""
    made = []

    def add_socket() -> TCPSocket:
        made.append(TCPSocket())
        return made[-1]

    pool, context = pool_of(add_socket)
    assert len(pool) == 0
    pool.fill(3, context)
    pool.fill(2, context)
    assert len(pool) == len(made) == 3
    assert [pool.take(context) for _ in range(3)] == made


def test_take_makes_one_if_there_is_none() -> None:
    """On demand, and first come, first served."""
    pool, context = pool_of(TCPSocket)
    assert isinstance(pool.take(context), TCPSocket)
    assert len(pool) == 0


def test_clear_forgets_all() -> None:
    """What was made ahead is dropped."""
    pool, context = pool_of(TCPSocket)
    pool.fill(2, context)
    pool.clear()
    assert len(pool) == 0


def test_a_socket_of_a_derived_class_will_do() -> None:
    """Whatever is a TCPSocket, is one."""

    class Mine(TCPSocket):
        pass

    pool, context = pool_of(Mine)
    assert type(pool.take(context)) is Mine


@pytest.mark.parametrize("value", [None, "socket", 5, TCPSocket])
def test_anything_but_a_socket_is_refused(value: object) -> None:
    """The text names what was returned (F50)."""
    pool, context = pool_of(lambda: value)
    with pytest.raises(InvalidStateError, match="add_socket must return a new TCPSocket"):
        pool.fill(1, context)
    assert len(pool) == 0


def test_an_error_of_add_socket_is_the_cause() -> None:
    """It raises, and the text says so (F50)."""
    error = ValueError("no more")

    def add_socket() -> TCPSocket:
        raise error

    pool, context = pool_of(add_socket)
    with pytest.raises(InvalidStateError, match=r"add_socket raised ValueError\('no more'\)") as e:
        pool.take(context)
    assert e.value.__cause__ is error


def test_ctrl_c_in_add_socket_comes_out_as_itself() -> None:
    """KeyboardInterrupt and its like are no failure of add_socket."""

    def add_socket() -> TCPSocket:
        raise KeyboardInterrupt

    pool, context = pool_of(add_socket)
    with pytest.raises(KeyboardInterrupt):
        pool.fill(1, context)


def test_the_same_socket_twice_is_refused() -> None:
    """Each connection needs a socket of its own (F50)."""
    one = TCPSocket()
    pool, context = pool_of(lambda: one)
    with pytest.raises(InvalidStateError, match="twice"):
        pool.fill(2, context)
    assert len(pool) == 1


async def test_a_used_socket_is_refused() -> None:
    """Connected, closed again, or its block entered: it is not new (F50)."""
    async with linked() as (sock, _):
        pool, context = pool_of(lambda: sock)
        with pytest.raises(InvalidStateError, match="must return a new socket, not the used"):
            pool.fill(1, context)
        sock.close()
        with pytest.raises(InvalidStateError, match="used"):
            pool.fill(1, context)
    async with TCPSocket() as entered:
        pool, context = pool_of(lambda: entered)
        with pytest.raises(InvalidStateError, match="used"):
            pool.take(context)


async def test_a_socket_of_somebody_elses_descriptor_is_refused() -> None:
    """It would keep that descriptor, beside the connection that it is given."""
    raw, peer = raw_pair()
    with raw, peer:
        pool, context = pool_of(lambda: TCPSocket.from_socket(raw))
        with pytest.raises(InvalidStateError, match="used"):
            pool.take(context)


async def test_a_socket_that_is_used_while_it_waits_is_refused() -> None:
    """Somebody may have kept it and entered its block."""
    pool, context = pool_of(TCPSocket)
    pool.fill(1, context)
    async with pool._sockets[0]:
        with pytest.raises(InvalidStateError, match="used"):
            pool.take(context)
    assert len(pool) == 0


def test_next_is_live_tells_of_the_next_socket() -> None:
    """Live is what has a handler or a channel of its own; an empty pool does not know."""
    sockets = [TCPSocket(), TCPSocket(handler=EventRecorder()), TCPSocket(events=EventChannel())]
    assert [is_live(socket) for socket in sockets] == [False, True, True]
    pool, context = pool_of(lambda left=list(sockets): left.pop(0))  # type: ignore[misc]
    assert not pool.next_is_live()
    pool.fill(3, context)
    for expected in (False, True, True):
        assert pool.next_is_live() is expected
        pool.take(context)
    asked = TCPSocket()
    assert asked.events.statistics().open_send_channels == 1
    assert is_live(asked)
    assert is_live(TCPSocket(handler=SocketHandler()))
    assert asked.state is SocketState.CLOSED


def test_add_socket_runs_in_the_context_that_is_given() -> None:
    """It sees the variables there, cannot change them, and may be called from within."""
    seen = []

    def add_socket() -> TCPSocket:
        seen.append(VARIABLE.get())
        VARIABLE.set("changed")
        return TCPSocket()

    context = contextvars.copy_context()
    context.run(VARIABLE.set, "given")
    pool: SocketPool[TCPSocket] = SocketPool(add_socket)
    pool.fill(1, context)
    context.run(pool.fill, 2, context)
    assert seen == ["given", "given"]
    assert context[VARIABLE] == "given"


async def test_ctrl_c_reaches_add_socket() -> None:
    """It is the user's code, though our own calls it."""
    seen = []

    def add_socket() -> TCPSocket:
        seen.append(trio.lowlevel.currently_ki_protected())
        return TCPSocket()

    pool, context = pool_of(add_socket)
    pool.take(context)
    assert seen == [False]

"""Waiting for a peer: one that was called, and one that calls."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from tests.support import settle, until
from tests.support.messages import easy
from tests.support.peers import LOOPBACK, RawPeer, raw_listener
from trio_xsock import (
    ConnectError,
    EasyTCPSocket,
    InvalidStateError,
    LostConnectionError,
    SocketClosedError,
)


async def test_waiting_for_a_connection() -> None:
    """That listens, that connects, and that is there."""
    async with EasyTCPSocket() as sock, trio.open_nursery() as nursery:
        with pytest.raises(InvalidStateError, match="not connected"):
            await sock.wait_for_connection()
        await sock.listen()
        with trio.testing.assert_checkpoints():
            assert await sock.wait_for_connection(timeout=0.01) is False
        with pytest.raises(InvalidStateError):
            await sock.receive()
        came: list[bool] = []

        async def wait() -> None:
            came.append(await sock.wait_for_connection())

        nursery.start_soon(wait)
        nursery.start_soon(wait)
        await settle()
        with await RawPeer.connect(sock.port) as peer:
            await until(lambda: len(came) == 2)
            assert came == [True, True]
            with trio.testing.assert_checkpoints():
                assert await sock.wait_for_connection(0) is True
            peer.reset()
            await until(lambda: sock.last_error)
            with pytest.raises(LostConnectionError):
                await sock.wait_for_connection()


async def test_waiting_for_a_connection_that_never_comes() -> None:
    """Refused, closed, cancelled: each ends the wait."""
    async with EasyTCPSocket() as sock, trio.open_nursery() as nursery:
        failures: list[type[BaseException]] = []

        async def wait() -> None:
            try:
                await sock.wait_for_connection()
            except Exception as exc:
                failures.append(type(exc))

        with raw_listener() as listener:
            port = listener.getsockname()[1]
        sock.address, sock.port = LOOPBACK, port
        trio.socket.set_custom_hostname_resolver(None)
        async with trio.open_nursery() as inner:
            with pytest.raises(ConnectError):
                inner.start_soon(wait)
                await sock.connect()
        sock.port = 0
        await sock.listen()
        nursery.start_soon(wait)
        await settle()
        sock.close()
        await until(lambda: len(failures) == 2)
        assert failures[1] is SocketClosedError
        assert issubclass(failures[0], (ConnectError, InvalidStateError))


@pytest.mark.parametrize("timeout", [-1, float("nan"), "1", True])
async def test_time_outs_that_are_none(timeout: Any) -> None:  # noqa: ASYNC109
    """Refused by type or by value, also where nobody has to wait."""
    async with easy() as (sock, _):
        with pytest.raises((ValueError, TypeError), match="timeout"):
            await sock.wait_for_connection(timeout)

"""``aclose``, ``disconnect`` and the end of the block, of sockets in any state."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from tests.support import EventRecorder, accept, raw_listener
from tests.support.pairs import linked
from trio_xsock import ErrorOccurred, LossReason, LostConnectionError, SocketState, TCPSocket


@pytest.mark.parametrize("how", ["close", "aclose", "disconnect"])
async def test_closing_before_the_first_connection_harms_none(how: str) -> None:
    """It is always legal, and what is connected afterwards begins anew."""
    with raw_listener() as listener:
        async with TCPSocket("127.0.0.1", listener.getsockname()[1]) as sock:
            result = getattr(sock, how)()
            if result is not None:
                await result
            await sock.connect()
            assert sock.is_connected
            await sock.send_all(b"x")
            with await accept(listener) as peer:
                assert await peer.recv_exactly(1) == b"x"


@pytest.mark.parametrize("how", ["aclose", "disconnect"])
async def test_a_wrong_grace_changes_nothing(how: str) -> None:
    """It is refused before anything is done."""
    async with linked() as (sock, peer):
        wrong: Any = "soon"
        for grace in (wrong, -1, float("nan")):
            with pytest.raises((TypeError, ValueError)):
                await getattr(sock, how)(grace)
        assert sock.is_connected
        await sock.send_all(b"x")
        assert await peer.recv_exactly(1) == b"x"


async def test_disconnect_is_posted_at_the_end() -> None:
    """Of a connection, and once."""
    recorder = EventRecorder()
    async with linked() as (sock, peer):
        sock.handler = recorder
        sock.write(b"last")
        await sock.disconnect()
        await sock.disconnect()
        assert await peer.recv_all_to_eof() == b"last"
    (posted,) = (each for each in recorder.events if isinstance(each, ErrorOccurred))
    assert isinstance(posted.error, LostConnectionError)
    assert posted.error.reason is LossReason.LOCAL


async def test_the_end_of_the_block_while_it_listens() -> None:
    """Nothing is left over, however often it has listened."""
    async with TCPSocket() as sock:
        for _ in range(2):
            await sock.listen()
            assert sock.state is SocketState.LISTENING
            await sock.aclose()
        await sock.listen()
    assert (sock.state, sock.handle) == (SocketState.CLOSED, -1)


async def test_every_close_is_a_checkpoint() -> None:
    """Also of a socket that has nothing to close."""
    async with TCPSocket() as sock:
        for call in (sock.aclose, sock.disconnect):
            with trio.testing.assert_checkpoints():
                await call()

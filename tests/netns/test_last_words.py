"""What was written just before the end arrives whole, over a bad link, beside unread input.

Closing a socket whose input was not read makes the kernel send a reset, and a reset destroys
what is still on its way (RFC 2525, 2.17). See SPEC 3.3.
"""

from __future__ import annotations

import fcntl
import random
import struct
import termios

import pytest
import trio

from tests.netns.conftest import MakeLink
from tests.support import EventRecorder, RawPeer, check_grammar, until
from tests.support.hosts import across
from tests.support.link import Link
from trio_xsock import LossReason, LostConnectionError, SocketState

pytestmark = pytest.mark.netns

REPLY = random.Random(3).randbytes(60_000)
REQUEST = b"?" * 40_000


@pytest.fixture(params=[1, 2, 3])
def link(request: pytest.FixtureRequest, make_link: MakeLink) -> Link:
    """30 ms each way, and 3 % of all frames are lost; three times, with other dice."""
    link = make_link(delay=0.03, seed=request.param)
    link.loss = 0.03
    return link


async def request_and_receive(peer: RawPeer) -> bytes:
    """What a client does: ask, and read the reply to its end."""
    await peer.send(REQUEST)
    return await peer.recv_all_to_eof()


@pytest.mark.parametrize("read", [0, 100])
async def test_a_reply_written_just_before_aclose(link: Link, read: int) -> None:
    """The request was never read, or only its beginning; the client gets all and a clean end."""
    recorder = EventRecorder()
    async with across(link, handler=recorder, receive_buffer_limit=8192) as (sock, peer):

        async def serve() -> None:
            await until(lambda: sock.bytes_available > read)
            assert len(sock.read(read)) == read
            sock.write(REPLY)
            await sock.aclose(grace=15)
            assert (sock.state, sock.bytes_sent) == (SocketState.CLOSED, len(REPLY))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            assert await request_and_receive(peer) == REPLY
    check_grammar(recorder.events, queued=len(REPLY), peer_received=len(REPLY))


async def test_leaving_the_block_is_as_good(link: Link) -> None:
    """It is an ``aclose`` as well."""
    received: list[bytes] = []
    async with trio.open_nursery() as nursery:
        async with across(link) as (sock, peer):
            client = RawPeer(peer.sock.dup())

            @nursery.start_soon
            async def ask() -> None:
                with client:
                    received.append(await request_and_receive(client))

            await until(lambda: sock.bytes_available)
            sock.write(REPLY)
    assert received == [REPLY]


async def test_a_client_that_goes_on_asking(link: Link) -> None:
    """What still arrives while we close is no reason to destroy the reply either."""
    async with across(link, receive_buffer_limit=4096) as (sock, peer):
        received = bytearray()

        async def ask() -> None:
            try:
                while True:
                    await peer.send(b"?" * 1000)
                    await trio.sleep(0.002)
            except (BrokenPipeError, ConnectionResetError):
                pass

        async def receive() -> None:
            try:
                while data := await peer.recv_some():
                    received.extend(data)
            except ConnectionResetError:  # it asked on after we had closed
                pass
            nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            nursery.start_soon(receive)
            await until(lambda: sock.bytes_available)
            sock.write(REPLY)
            await sock.aclose(grace=15)
    assert bytes(received) == REPLY


async def test_a_server_that_just_closes(make_link: MakeLink) -> None:
    """For comparison: a plain socket in this place loses the reply, or the end of it."""
    link = make_link(delay=0.03)
    async with across(link) as (sock, peer):
        await sock.send_all(REQUEST)
        await until(lambda: unread(peer) == len(REQUEST))
        await peer.send(REPLY)
        peer.close()
        with pytest.raises(LostConnectionError) as caught:
            while await sock.receive_some():
                pass
        assert caught.value.reason is LossReason.RESET
        assert sock.statistics().bytes_in < len(REPLY)


def unread(peer: RawPeer) -> int:
    """Bytes that the peer's OS holds for it."""
    answer = fcntl.ioctl(peer.sock, termios.FIONREAD, struct.pack("i", 0))
    count: int = struct.unpack("i", answer)[0]
    return count

"""How far the counts are ahead of a peer behind a slow link, and what an abort leaves on its way.

The link takes 30 ms and carries 200 kbit/s: 4 seconds for 100 kB. The near host's send buffers
have a megabyte, as they do where the network is fast. So only ``TCP_NOTSENT_LOWAT`` limits what
the kernel takes: without it all counts as sent at once.
"""

from __future__ import annotations

import socket
from struct import Struct

import pytest
import trio

from tests.netns.conftest import MakeLink
from tests.support import EventRecorder, RawPeer, check_grammar
from tests.support.hosts import across
from tests.support.link import Link
from tests.support.pairs import descriptor_of
from trio_xsock import SendComplete, SendProgress, TCPSocket
from trio_xsock._platform import sockets

pytestmark = [
    pytest.mark.netns,
    pytest.mark.skipif(not sockets.NOTSENT_LOWAT, reason="no TCP_NOTSENT_LOWAT"),
]

QUEUED = 400_000
UNSENT = 65536
"""Bytes beyond the window that may count as sent.

The kernel takes more when less than 16 KiB wait, and then fills a segment: half of the largest
window that the peer has offered, here 32 KiB at the most. 48 KiB in all; some are left for what
the kernel of another version does.
"""

# struct tcp_info in linux/tcp.h: eight bytes of small fields, then 32-bit ones.
_SEGMENT = Struct("=16xI")  # tcpi_snd_mss
_WINDOW = Struct("=80xI")  # tcpi_snd_cwnd, in segments
_RECEIVED = Struct("=128xQ")  # tcpi_bytes_received
_SIZE = 136


@pytest.fixture
def link(make_link: MakeLink) -> Link:
    """Two hosts far apart; the far one's receive windows have 64 KiB at the most."""
    link = make_link(delay=0.03, rate=25_000)
    link.near.sysctl("tcp_wmem", "4096 1000000 4000000")
    link.far.sysctl("tcp_rmem", "4096 65536 65536")
    return link


def tcp_info(sock: socket.socket) -> bytes:
    """What the kernel says about a connection."""
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _SIZE)


def received_by(peer: RawPeer) -> int:
    """Bytes that the peer's kernel has received and acknowledged."""
    (count,) = _RECEIVED.unpack_from(tcp_info(peer.sock))
    return int(count)


class Lead(EventRecorder):
    """Compares the progress with what the peer's kernel has received, at the moment of each event.

    The window is the sender's congestion window, since it is the narrower one here: the peer's
    receive window would allow more. It is the largest so far, as it may have shrunk
    after something was sent.

    Attributes:
        bytes_sent: the sum of all progress.
        window: in bytes.
        excess: bytes by which the progress was ahead of the peer and a window, at the most.
    """

    def __init__(self) -> None:
        super().__init__(reactions={"on_send_progress": self._compare})
        self.bytes_sent = 0
        self.window = 0
        self.excess = -QUEUED
        self._peer: RawPeer | None = None

    def follow(self, peer: RawPeer) -> None:
        """Compare with this peer from now on."""
        self._peer = peer

    def _compare(self, sock: TCPSocket) -> None:
        with descriptor_of(sock) as raw:
            info = tcp_info(raw)
        (segment,), (segments,) = _SEGMENT.unpack_from(info), _WINDOW.unpack_from(info)
        self.window = max(self.window, segment * segments)
        self.bytes_sent = sum(event.bytes_sent for event in self.of(SendProgress))
        assert self._peer is not None
        self.excess = max(self.excess, self.bytes_sent - received_by(self._peer) - self.window)


async def test_progress(link: Link) -> None:
    """It is never farther ahead of the peer, from the first event on."""
    lead = Lead()
    async with across(link, handler=lead) as (sock, peer):
        lead.follow(peer)
        sock.write(bytes(QUEUED))
        await peer.recv_exactly(80_000)
        assert lead.excess <= UNSENT
        assert lead.bytes_sent == sock.bytes_sent < QUEUED
        assert len(lead.of(SendProgress)) >= 3


@pytest.mark.parametrize("how", ["abort_send", "cancel", "close"])
async def test_what_an_abort_leaves(link: Link, how: str) -> None:
    """No more than that is on its way; all of it arrives, and nothing else."""
    lead = Lead()
    async with across(link, handler=lead) as (sock, peer), trio.open_nursery() as nursery:
        lead.follow(peer)
        sending = trio.CancelScope()

        async def send() -> None:
            with sending:
                await sock.send_all(bytes(QUEUED))

        if how == "cancel":
            nursery.start_soon(send)
        else:
            sock.write(bytes(QUEUED))
        await lead.wait_for(SendProgress, 2)
        # The kernel has just taken what it takes: now an abort leaves the most.
        {"abort_send": sock.abort_send, "cancel": sending.cancel, "close": sock.close}[how]()
        left = sock.bytes_sent - received_by(peer)
        assert 0 < left <= lead.window + UNSENT
        assert sock.bytes_left_to_send == 0
        assert sock.is_connected == (how != "close")
        sock.close()
        assert await peer.count_to_eof() == sock.bytes_sent == lead.bytes_sent < QUEUED
    (complete,) = lead.of(SendComplete)
    assert (complete.user_aborted, complete.bytes_sent) == (True, sock.bytes_sent)
    check_grammar(lead.events)

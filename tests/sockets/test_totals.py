"""The counters of a socket over all its connections."""

from __future__ import annotations

from tests.support.pairs import linked
from trio_xsock._sockets.totals import NONE_YET, Totals


async def test_each_connection_is_added() -> None:
    """The present one counts once, and what waits is not added up."""
    async with linked() as (sock, peer):
        await sock.send_all(b"four")
        await peer.send(b"seven..")
        assert await sock.receive_exactly(5) == b"seven"
        connection = sock._connection
        once = NONE_YET.plus(connection)
        assert once == Totals(bytes_received=7, bytes_sent=4, read_pauses=0)
        twice = once.plus(connection)
        assert twice == Totals(bytes_received=14, bytes_sent=8, read_pauses=0)
        found = once.statistics(connection)
        assert (found.bytes_in, found.bytes_out) == (14, 8)
        assert (found.bytes_available, found.bytes_left_to_send) == (2, 0)
    assert Totals() == NONE_YET

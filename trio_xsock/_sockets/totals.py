"""``Totals``: the counters of one socket over all its connections."""

from __future__ import annotations

from typing import NamedTuple, Self

from trio_xsock._engine.connection import Connection
from trio_xsock._values.statistics import SocketStatistics


class Totals(NamedTuple):
    """The counts of the earlier connections of a socket."""

    bytes_received: int = 0
    bytes_sent: int = 0
    read_pauses: int = 0

    def plus(self, connection: Connection) -> Self:
        """With one more connection, which is over."""
        intake, outlet = connection.intake, connection.outlet
        return self._replace(
            bytes_received=self.bytes_received + intake.bytes_received,
            bytes_sent=self.bytes_sent + outlet.bytes_sent,
            read_pauses=self.read_pauses + intake.pauses,
        )

    def statistics(self, connection: Connection) -> SocketStatistics:
        """With the present connection, and the bytes in its buffers."""
        sums, hub = self.plus(connection), connection.delivery.hub
        return SocketStatistics(
            bytes_in=sums.bytes_received,
            bytes_out=sums.bytes_sent,
            bytes_available=connection.inbox.size,
            bytes_left_to_send=connection.outlet.ledger.left,
            events_posted=hub.posted,
            events_merged=hub.merged,
            read_pauses=sums.read_pauses,
        )


NONE_YET = Totals()
"""Of a socket at its first connection."""

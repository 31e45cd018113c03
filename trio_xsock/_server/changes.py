"""``Changes``: posts ``ConnectionsChanged`` as connections come and go."""

from __future__ import annotations

from trio_xsock._runtime.channel import EventChannel
from trio_xsock._runtime.delivery import Delivery
from trio_xsock._runtime.guard import protect_from_ki
from trio_xsock._values.events import ConnectionsChanged


@protect_from_ki
class Changes:
    """Posts ``ConnectionsChanged`` to those channels that asked for it, and to the handler.

    Args:
        delivery: of the server's events.
    """

    __slots__ = ("_delivery", "_followers")

    def __init__(self, delivery: Delivery) -> None:
        self._delivery = delivery
        self._followers: list[EventChannel] = []

    @property
    def followers(self) -> int:
        """How many channels have asked for it."""
        return len(self._followers)

    def follow(self, channel: EventChannel) -> None:
        """Post the event into this channel until it is closed."""
        self._followers.append(channel)

    def post(self, opened: int, closed: int, live: int) -> None:
        """Connections came or went.

        Args:
            opened: how many came.
            closed: how many went.
            live: how many there are now.
        """
        if self._followers:
            self._followers = [each for each in self._followers if not each.closed]
        hub = self._delivery.hub
        if self._followers or ConnectionsChanged in hub.wanted:
            fields = (self._delivery.socket, opened, closed, live)
            hub.post_to(self._followers, ConnectionsChanged, fields)
            self._delivery.schedule()

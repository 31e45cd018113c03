"""``Link``: what a connection moves its bytes through: its transport, and the watch of that.

TLS and testing tools put another transport in the place of the first; the connection goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from trio_xsock._network.handshake import Handshake
from trio_xsock._network.transport import Transport
from trio_xsock._runtime.faults import give_back
from trio_xsock._runtime.guard import Parking, protect_from_ki
from trio_xsock._runtime.keeper import Keeper
from trio_xsock._runtime.readiness import Watch
from trio_xsock._values.errors import SocketError

from .intake import Intake
from .outlet import Outlet


class Steps(Protocol):
    """What is called when a transport is ready for something."""

    def on_readable(self) -> None:
        """There is input, an end of it, or an error."""

    def on_writable(self) -> None:
        """The OS takes bytes again."""

    def wake(self) -> None:
        """The transport has something that the OS does not report."""


@protect_from_ki
class Link:
    """The transport of one connection.

    Args:
        intake: what reads; it is told which watch to use.
        outlet: what sends; likewise.

    Attributes:
        transport: what moves the bytes; ``None`` when the connection is not open.
        handshake: that of a connection that a server has accepted, while it goes on.
        securing: TLS's handshake is going on.
    """

    __slots__ = (
        "_drainers",
        "_intake",
        "_outlet",
        "_watch",
        "handshake",
        "securing",
        "transport",
    )

    def __init__(self, intake: Intake, outlet: Outlet) -> None:
        self._intake = intake
        self._outlet = outlet
        self._watch: Watch | None = None
        self._drainers: tuple[Parking[None], ...] = ()
        self.transport: Transport | None = None
        self.handshake: Handshake | None = None
        self.securing = False

    # Which transport

    def use(self, transport: Transport, keeper: Keeper, steps: Steps) -> None:
        """Go on through ``transport``, and watch it.

        Args:
            transport: owned from now on.
            keeper: where the watch starts its tasks.
            steps: what to call when it is ready.
        """
        self._leave_watch()
        self.handshake = None
        self.transport = transport
        transport.on_wake(steps.wake)
        self._attach(transport.make_watch(keeper, steps.on_readable, steps.on_writable))

    def take(self, transport: Transport, handshake: Handshake | None = None) -> None:
        """Take a transport without watching it: a handshake comes first, then ``use``.

        Args:
            transport: owned from now on; it may be put over the one there is.
            handshake: closed with the link.
        """
        self._leave_watch()
        self._attach(None)
        self.transport = transport
        self.handshake = handshake

    def begin_handshake(self) -> None:
        """TLS's handshake begins; what the transport holds is not for readers until it ends."""
        self.securing = True

    def end_handshake(self) -> None:
        """What the transport holds may be read from now on."""
        self.securing = False

    def close(self, *, say_so: bool) -> None:
        """Close the transport.

        Args:
            say_so: end our direction first, so that TLS's close_notify goes out.
        """
        handshake, self.handshake = self.handshake, None
        if handshake is not None:
            handshake.close()
        transport, self.transport = self.transport, None
        securing, self.securing = self.securing, False
        if transport is not None:
            if say_so and not securing:
                give_back(transport.end)
            transport.on_wake(None)
        give_back(self._leave_watch)
        self._attach(None)
        if transport is not None:
            give_back(transport.close)

    def _attach(self, watch: Watch | None) -> None:
        self._watch = watch
        self._intake.attach(watch)
        self._outlet.attach(watch)

    def _leave_watch(self) -> None:
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.close()

    # What it holds

    @property
    def has_news(self) -> bool:
        """Whether somebody waits for what the transport holds, input or output."""
        return bool(self._drainers) or self.has_input

    @property
    def has_input(self) -> bool:
        """Whether the transport holds input that may be read now."""
        transport = self.transport
        if transport is None or self.securing:
            return False
        return transport.ready and self._intake.reading

    def wait_until_drained(self, parking: Parking[None]) -> None:
        """Wake ``parking`` when the OS has what the transport holds."""
        self._drainers += (parking,)

    def forget_drainer(self, parking: Parking[None]) -> None:
        """Its task was cancelled."""
        self._drainers = tuple(each for each in self._drainers if each is not parking)

    def wake_drainers(self, transport: Transport) -> None:
        """If the OS has all that the transport held, go on with what waited for that."""
        if self._drainers and not transport.unsent:
            drainers, self._drainers = self._drainers, ()
            for parking in drainers:
                parking.unpark()

    def fail_drainers(self, why: Callable[[], SocketError]) -> None:
        """The OS will not have it any more; ``why`` makes the error that says so."""
        drainers, self._drainers = self._drainers, ()
        for parking in drainers:
            parking.fail(why())

"""``Link``: the transport of a connection, and its watch.

TLS and testing tools replace the transport while the connection stays.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from trio_xsock._network.handshake import Handshake
from trio_xsock._network.transport import Transport
from trio_xsock._runtime.faults import give_back
from trio_xsock._runtime.guard import Parking, protect_from_ki
from trio_xsock._runtime.keeper import Keeper
from trio_xsock._runtime.steps import Steps
from trio_xsock._values.errors import SocketError

from .intake import Intake
from .outlet import Outlet


class Wakeable(Steps, Protocol):
    """What is called when a transport is ready."""

    def wake(self) -> None:
        """The transport has something that the OS does not report."""


class Link:
    """The transport of one connection.

    Args:
        intake: reads; it uses the watch.
        outlet: sends; it uses the watch.

    Attributes:
        transport: the transport; ``None`` when the connection is not open.
        handshake: the running handshake of a connection that a server has accepted.
        drainers: the tasks that wait until the OS has all that the transport holds.
        securing: a TLS handshake is going on.
    """

    __slots__ = (
        "_intake",
        "_outlet",
        "drainers",
        "handshake",
        "securing",
        "transport",
    )

    def __init__(self, intake: Intake, outlet: Outlet) -> None:
        self._intake = intake
        self._outlet = outlet
        self.drainers: tuple[Parking[None], ...] = ()
        self.transport: Transport | None = None
        self.handshake: Handshake | None = None
        self.securing = False

    # Which transport

    def use(
        self,
        transport: Transport,
        keeper: Keeper,
        steps: Wakeable,
        *,
        served: bool,
        crowded: bool = False,
    ) -> None:
        """Go on through ``transport``, and watch it.

        Args:
            transport: owned from now on.
            keeper: where the watch starts its tasks.
            steps: what to call when it is ready.
            served: input is to be reported; see ``Intake``.
            crowded: nobody listens to it all the same; see ``crowd``.
        """
        if self._intake.watch is not None:
            self._leave_watch()
        self.handshake = None
        self.transport = transport
        transport.on_wake(steps.wake)
        watch = transport.make_watch(keeper, steps)
        served = served or not watch.report_hang_up()
        self._intake.attach(watch, served, crowded)
        self._outlet.attach(watch)

    def take(self, transport: Transport, handshake: Handshake | None = None) -> None:
        """Take a transport without watching it: a handshake comes first, then ``use``.

        Args:
            transport: owned from now on; it may wrap the present one.
            handshake: closed with the link.
        """
        self._leave_watch()
        self._detach()
        self.transport = transport
        self.handshake = handshake

    def begin_handshake(self) -> None:
        """A TLS handshake begins; until it ends, input in the transport is not for readers."""
        self.securing = True
        self._intake.wake_caller()

    def end_handshake(self) -> None:
        """Input in the transport may be read from now on."""
        self.securing = False

    def close(self, *, say_so: bool) -> None:
        """Close the transport.

        Args:
            say_so: end our direction first, so that TLS sends close_notify.
        """
        handshake, self.handshake = self.handshake, None
        transport, self.transport = self.transport, None
        securing, self.securing = self.securing, False
        watch = self._intake.watch
        calls: list[Callable[[], object]] = []
        if handshake is not None:
            calls.append(handshake.close)
        if transport is not None and say_so and not securing:
            calls.append(transport.end)
        if watch is not None:  # a portable one has tasks, which nothing else would end
            calls.append(watch.close)
        calls += self._intake.wake_caller, self._detach
        if transport is not None:
            calls.append(transport.close)
        give_back(*calls)

    def _detach(self) -> None:
        self._intake.detach()
        self._outlet.attach(None)

    def _leave_watch(self) -> None:
        watch = self._intake.watch
        try:
            if watch is not None:
                watch.close()
        finally:
            self._intake.wake_caller()

    # What it holds

    @property
    def has_news(self) -> bool:
        """Whether a task waits for input or output that is in the transport."""
        return bool(self.drainers) or self.has_input

    @property
    def has_input(self) -> bool:
        """Whether the transport holds input that may be read now."""
        transport = self.transport
        if transport is None or self.securing:
            return False
        return transport.ready and self._intake.reading and self._intake.served

    def wait_until_drained(self, parking: Parking[None]) -> None:
        """Wake ``parking`` when the OS has what the transport holds."""
        self.drainers += (parking,)

    def forget_drainer(self, parking: Parking[None]) -> None:
        """Its task was cancelled."""
        self.drainers = tuple(each for each in self.drainers if each is not parking)

    def wake_drainers(self, transport: Transport) -> None:
        """If the OS has taken all of the transport's output, wake the tasks that wait for it."""
        if self.drainers and not transport.unsent:
            drainers, self.drainers = self.drainers, ()
            for parking in drainers:
                parking.unpark(None)

    def fail_drainers(self, why: Callable[[], SocketError]) -> None:
        """The OS will not take it any more; ``why`` makes the error for the waiting tasks."""
        drainers, self.drainers = self.drainers, ()
        for parking in drainers:
            parking.fail(why())


protect_from_ki(Link)

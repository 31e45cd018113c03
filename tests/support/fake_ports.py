"""A datagram port without an operating system, and a delivery without tasks, for unit tests."""

from __future__ import annotations

import socket
from collections import deque
from typing import Any, cast

from trio_xsock._machines.endpoint import ResolvedAddress
from trio_xsock._machines.udp_groups import Group, Memberships
from trio_xsock._machines.udp_queue import Packet
from trio_xsock._network.udp_port import Port, Route, Sharing
from trio_xsock._runtime.delivery import Delivery
from trio_xsock._runtime.hub import EventHub
from trio_xsock._runtime.steps import StepPair, Steps
from trio_xsock._values.errors import SocketError

SOMEBODY = ("192.0.2.1", 7)


class FakeKeeper:
    """Counts what it is asked for."""

    def __init__(self) -> None:
        self.failures: tuple[BaseException, ...] = ()
        self.ended = False
        self.woken = 0
        self.closed = 0

    def wake(self) -> None:
        self.woken += 1

    def note_closed(self) -> None:
        self.closed += 1


class FakeWatch:
    """Remembers what is watched for."""

    def __init__(self, steps: Steps) -> None:
        self.steps = steps
        self.is_reading = self.is_writing = self.is_closed = False

    def reading(self, wanted: bool) -> None:
        self.is_reading = wanted

    def writing(self, wanted: bool) -> None:
        self.is_writing = wanted

    def close(self) -> None:
        self.is_closed = True


class FakePort:
    """A port whose input and whose refusals are set by the test; see ``Port``."""

    family = int(socket.AF_UNSPEC)
    own_address = "192.0.2.9"
    needs_renewal = False

    def __init__(self) -> None:
        self.arriving: deque[list[Packet]] = deque()
        self.sent: list[tuple[bytes, Any]] = []
        self.refusals: deque[OSError] = deque()  # what the next sends meet
        self.refuses_to_join: OSError | None = None
        self.extra: FakePort | None = None  # what joining a group gives
        self.drops = 0
        self.options: dict[str, Any] = {}
        self.joined: set[Group] = set()
        self.is_closed = False
        self.watched = FakeWatch(StepPair(lambda: None, lambda: None))

    def fileno(self) -> int:
        return -1

    def getsockname(self) -> Any:
        return (self.own_address, 4711)

    def descriptor(self) -> Any:
        return self

    def watch(self, keeper: object, steps: Steps) -> Any:
        self.watched = FakeWatch(steps)
        return self.watched

    def receive(self) -> list[Packet]:
        return self.arriving.popleft() if self.arriving else []

    def route(self, address: ResolvedAddress, source: str = "") -> Route:
        return Route(self._send, address.address)

    def _send(self, data: Any, address: Any) -> int:
        if self.refusals:
            raise self.refusals.popleft()
        self.sent.append((bytes(data), address))
        return len(data)

    def join(self, group: Group) -> Port | None:
        if self.refuses_to_join is not None:
            raise self.refuses_to_join
        self.joined.add(group)
        return self.extra

    def leave(self, group: Group) -> None:
        self.joined.discard(group)

    def set_hops(self, hops: int, unicast: bool) -> None:
        self.options["hops"] = (hops, unicast)

    def set_send_to_self(self, wanted: bool) -> None:
        self.options["send_to_self"] = wanted

    def dropped(self) -> int:
        return self.drops

    def refresh(self) -> bool:
        return False

    def renew(self) -> OSError | None:
        return None

    def close(self) -> None:
        self.is_closed = True


class FakeOpener:
    """Hands out the given ports, and remembers what was asked for."""

    def __init__(self, *ports: FakePort) -> None:
        self.ports = deque(ports)
        self.asked: list[tuple[Any, ...]] = []

    def __call__(
        self, local: Any, number: int, interface: Any, _: Memberships, /, *, sharing: Sharing
    ) -> Port:
        self.asked.append((local, number, interface, sharing))
        return self.ports.popleft()


def fake_delivery(hub: EventHub | None = None) -> Delivery:
    """That of a socket whose block was entered; nobody listens."""
    delivery = Delivery(EventHub() if hub is None else hub)
    delivery.socket = "the socket"
    delivery.keeper = cast(Any, FakeKeeper())
    return delivery


def why() -> SocketError:
    """An error for those who wait."""
    return SocketError("closed")

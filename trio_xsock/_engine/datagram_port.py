"""``DatagramPort``: the port of a datagram socket, for all its bindings.

It owns the ports of the network and their watches, and joins the parts: an inbox for receiving,
``DatagramOutlet`` for sending, ``Renewal`` for the groups. The work is done by *steps*, plain
functions that never wait. The watches and the keeper task call them when something is ready, and
the socket calls them for its user.
"""

from __future__ import annotations

import functools

import trio

from trio_xsock._machines.endpoint import ResolvedAddress
from trio_xsock._machines.state import BOUND, CLOSED, Move, SocketState, next_state
from trio_xsock._machines.udp_groups import Group, Memberships
from trio_xsock._network.interface import NetworkInterface
from trio_xsock._network.udp_port import Opener, Port, Sharing
from trio_xsock._network.udp_system import open_port
from trio_xsock._runtime.delivery import Delivery
from trio_xsock._runtime.guard import protect_from_ki
from trio_xsock._runtime.keeper import Keeper
from trio_xsock._runtime.readiness import Watch
from trio_xsock._runtime.steps import StepPair
from trio_xsock._values.events import Connected, Event

from .datagram_inbox import PacketInbox
from .datagram_outlet import DatagramOutlet
from .datagram_reasons import closed_error, not_heard
from .renewal import Renewal

ROUTER_HOPS = 32
"""How many routers a multicast or a broadcast may pass, unless set."""
_LOOKS = 16
"""How often to read a port before a deadline is judged."""


@protect_from_ki
class DatagramPort:
    """A UDP port, and further ones for groups if they are needed.

    Args:
        delivery: where events are posted.
        inbox: where packets go.
        sharing: when other sockets may bind to the port.

    Attributes:
        attempt: the scope of ``bind()`` while that is going on.
        bound: the port of the network; ``None`` while it is closed.
        closed_by_us: ``close()`` or ``aclose()`` was called since it was bound last.
        inbox: as above.
        interface: the interface of the last binding, if one was chosen.
        outlet: its sending half.
        renewal: when the memberships are checked.
        router_hops: see ``UDPSocket.router_hops``.
        send_to_self: see ``UDPSocket.send_to_self``.
        state: the state of the socket.
    """

    __slots__ = (
        "_delivery",
        "_dropped_before",
        "_group_ports",
        "_memberships",
        "_opener",
        "_sharing",
        "_unicast_hops",
        "_watches",
        "attempt",
        "bound",
        "closed_by_us",
        "inbox",
        "interface",
        "outlet",
        "renewal",
        "router_hops",
        "send_to_self",
        "state",
    )

    def __init__(self, delivery: Delivery, inbox: PacketInbox, sharing: Sharing) -> None:
        self.attempt: trio.CancelScope | None = None
        self.bound: Port | None = None
        self.closed_by_us = False
        self.inbox = inbox
        self.interface: NetworkInterface | None = None
        self.outlet = DatagramOutlet(delivery)
        self.renewal = Renewal()
        self.router_hops = ROUTER_HOPS
        self.send_to_self = False
        self.state: SocketState = CLOSED
        self._delivery = delivery
        self._dropped_before = 0  # by the OS, in bindings that are over
        self._sharing = sharing
        self._memberships = Memberships()
        self._opener: Opener = open_port
        self._unicast_hops = False
        self._watches: dict[Port, Watch] = {}
        self._group_ports: dict[Group, Port] = {}

    def deliver_to(self, inbox: PacketInbox) -> None:
        """Let packets go to another inbox; for a port that was never bound."""
        self.inbox = inbox

    def open_by(self, opener: Opener) -> None:
        """Bind to ports of a simulated network from now on."""
        self._opener = opener

    # Facts

    @property
    def keeper(self) -> Keeper | None:
        """The keeper of the socket's block; ``None`` before it was entered."""
        return self._delivery.keeper

    @property
    def dropped_by_system(self) -> int:
        """Datagrams that the OS has dropped, if it counts them."""
        return self._dropped_before + sum(port.dropped() for port in self._watches)

    def events_now(self, socket: object) -> list[Event]:
        """The events that describe the present state of ``socket`` to a new consumer."""
        connected: list[Event] = [Connected(socket)] if self.state is BOUND else []
        return connected + self.inbox.events_now(socket)

    @property
    def is_binding(self) -> bool:
        """``bind()`` is going on."""
        return self.attempt is not None

    # Options

    def set_hops(self, hops: int) -> None:
        """Set ``router_hops``, now and for later bindings."""
        self.router_hops = hops
        self._unicast_hops = True
        if self.bound is not None:
            self.bound.set_hops(hops, unicast=True)

    def set_send_to_self(self, wanted: bool) -> None:
        """Set ``send_to_self``, now and for later bindings."""
        self.send_to_self = wanted
        self._note_groups()

    # Binding

    def begin_attempt(self) -> trio.CancelScope:
        """``bind()`` has begun; returns the scope of what it waits for."""
        self.attempt = trio.CancelScope()
        return self.attempt

    def end_attempt(self, scope: trio.CancelScope) -> None:
        """``bind()`` is over, if ``scope`` is still that of the running attempt."""
        if self.attempt is scope:
            self.attempt = None

    def open(
        self, local: ResolvedAddress | None, number: int, interface: NetworkInterface | None
    ) -> None:
        """Bind, and post ``Connected``.

        Args:
            local: the address to bind to; ``None`` for all.
            number: the port, 0 for a free one.
            interface: what to hear and to send by; ``None`` for all.

        Raises:
            OSError: what the OS says; nothing has changed.
        """
        state = next_state(self.state, Move.BIND)
        port = self._opener(local, number, interface, self._memberships, sharing=self._sharing)
        self.state = state
        self.interface = interface
        self.inbox.begin(port.own_address)
        self.closed_by_us = False
        self.bound = port
        port.set_hops(self.router_hops, self._unicast_hops)
        self.outlet.attach(port, self._watch(port))
        self._delivery.post(Connected)

    def open_group(self, group: Group, number: int, interface: NetworkInterface | None) -> None:
        """Bind to one more port, which is shared from the beginning, and join a group there.

        Raises:
            OSError: what the OS says; nothing has changed.
        """
        port = self._opener(None, number, interface, self._memberships, sharing=Sharing.AT_ONCE)
        self._watch(port)
        try:
            port.join(group)
        except OSError:
            self._unwatch(port)
            raise
        self._group_ports[group] = port
        self._begin_renewal()

    def close_group(self, group: Group) -> None:
        """Close the port of ``open_group``, if there is one."""
        port = self._group_ports.pop(group, None)
        if port is not None:
            self._unwatch(port)

    def _watch(self, port: Port) -> Watch:
        keeper = self._delivery.require_keeper()
        port.set_send_to_self(self.send_to_self)
        step = functools.partial(self.on_readable, port)
        self._watches[port] = watch = port.watch(keeper, StepPair(step, self.on_writable))
        watch.reading(True)
        return watch

    def _unwatch(self, port: Port) -> None:
        """Close a port."""
        self._watches.pop(port).close()
        self._dropped_before += port.dropped()
        port.close()

    # Groups

    def is_member(self, group: Group) -> bool:
        """Whether it has joined a group."""
        return group in self._memberships

    def join(self, port: Port, group: Group) -> None:
        """Join a group.

        Args:
            port: the ``bound`` port.
            group: the group, which it has not joined yet.

        Raises:
            OSError: what the OS says.
        """
        extra = port.join(group)
        self._memberships.add(group)
        if extra is not None:
            self._group_ports[group] = extra
            self._watch(extra)
        self._begin_renewal()
        self._note_groups()

    def leave(self, port: Port, group: Group) -> None:
        """Leave a group that was joined; ``port`` is the ``bound`` port."""
        extra = self._group_ports.pop(group, None)
        if extra is not None:
            self._unwatch(extra)
        else:
            port.leave(group)
        self._memberships.remove(group)
        self._note_groups()

    def _note_groups(self) -> None:
        """The groups or options that the ports filter by may have changed."""
        for port in self._watches:
            port.set_send_to_self(self.send_to_self)

    def _begin_renewal(self) -> None:
        """A port has joined a group: from now on join it again whenever the network changes."""
        keeper = self._delivery.keeper
        if keeper is not None and any(port.needs_renewal for port in self._watches):
            self.renewal.begin(trio.current_time())
            keeper.wake()

    # Closing

    def stop(self) -> None:
        """A graceful close begins: end all waits, accept no more; what is queued is sent."""
        self.closed_by_us = True
        self.inbox.stop(functools.partial(closed_error, self, self._delivery.socket))
        self.outlet.stop()

    def close(self) -> None:
        """``close()``: close all ports."""
        self.closed_by_us = True
        self.end()

    def end(self) -> None:
        """Close all ports without a change of ``closed_by_us``. Idempotent."""
        attempt, self.attempt = self.attempt, None
        why = functools.partial(closed_error, self, self._delivery.socket)
        self.inbox.stop(why)
        self.outlet.close(functools.partial(why, "closed before the datagram was sent"))
        for port in list(self._watches):
            self._unwatch(port)
        self._group_ports.clear()
        self._memberships.clear()
        self.renewal.end()
        self.bound = None
        self.state = CLOSED
        keeper = self._delivery.keeper
        if keeper is not None:
            keeper.note_closed()
        self._delivery.end()
        if attempt is not None:
            attempt.cancel("the socket was closed")

    # Steps

    def on_readable(self, port: Port) -> None:
        """The read step: something has arrived at a port."""
        self._delivery.run_step(self, self.read_step, port)

    def read_step(self, port: Port) -> bool:
        """Read what has arrived at a port; return whether there was anything."""
        packets = port.receive()
        if packets:
            self.inbox.take_in(packets)
        return bool(packets)

    def on_writable(self) -> None:
        """The write step: the OS takes datagrams again."""
        self._delivery.run_step(self, self.outlet.write_step)

    def step(self) -> bool:
        """Read what has arrived and send what is queued; return whether anything happened."""
        read = [self.read_step(port) for port in list(self._watches)]
        return self.outlet.write_step() or any(read)

    def look(self) -> None:
        """Read all that has arrived and send what the OS takes; for before a deadline is judged."""
        arrivals = self.inbox.arrivals
        for port in list(self._watches):
            for _ in range(_LOOKS):
                before = arrivals.received + arrivals.dropped
                if port in self._watches:  # handlers run, and may close it
                    self.on_readable(port)
                if arrivals.received + arrivals.dropped == before:
                    break
        if not self.outlet.is_empty:
            self.on_writable()

    def tick(self) -> float:
        """Do what is due; returns when to call this again, on Trio's clock."""
        self.inbox.tick(trio.current_time())
        trouble = self.renewal.look(self._watches, trio.current_time())
        if trouble is not None:
            self._delivery.post_error(not_heard(trouble, self.interface, self._delivery.socket))
        return min(self.renewal.deadline, self.inbox.deadline)

    def _send_some(self) -> bool:
        """See ``Sender``: datagrams of handlers were sent, or wait until the OS has room."""
        return False

    def _abort_from_handler(self) -> None:
        """See ``Sender``: there is no ``on_send_progress`` that could ask for it."""

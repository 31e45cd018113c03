"""Binding a datagram socket to a port, and giving the port back."""

from __future__ import annotations

import abc
import functools
import socket as stdlib_socket

import trio

from trio_xsock._machines.endpoint import ResolvedAddress, check_port, format_endpoint
from trio_xsock._machines.state import Move, next_state
from trio_xsock._network.resolve import resolve
from trio_xsock._network.udp_port import Port
from trio_xsock._runtime.guard import protect_from_ki
from trio_xsock._values.errors import (
    InvalidPortError,
    InvalidStateError,
    SocketError,
    describe,
    translate_os_error,
)
from trio_xsock._values.events import Connected

from .udp_base import UDPBase

_LOOKS = 16
"""How often a port is asked for what has arrived before a deadline is believed."""


@protect_from_ki
class UDPBinding(UDPBase):
    """A datagram socket that can be bound and closed."""

    __slots__ = ()

    _shares_port = True
    """Whether others may have the port, too, once a group is joined. For subclasses to change."""

    async def bind(self, port: int | None = None) -> None:
        """Bind to ``port``, from now on the socket sends and receives. Xojo: ``Connect``, ``Bind``.

        The port is this socket's alone until it joins a multicast group; from then on other
        sockets may have it, too, as all of them are to hear the group.

        Args:
            port: what ``port`` is set to before; ``None`` leaves it as it is. 0 lets the OS pick.

        Raises:
            InvalidStateError: not closed, or outside the block.
            InvalidPortError: outside 0..65535, or the port needs privileges.
            AddressInUseError: the port is taken.
            NameResolutionError: ``address`` has no address, or is malformed.
            SocketClosedError: ``close()`` was called meanwhile.
            OpenDriverError, OutOfMemoryError, SocketError: what else the OS said; such as that
                there is no such address or interface.
            TypeError: ``port`` is not an int.

        Cancellation: nothing is left over; the socket is closed and may be bound again.
        Events: ``Connected``, or ``ErrorOccurred`` for what is raised after the first two.
        """
        if port is not None:
            check_port(port, allow_zero=True)
        self._after(Move.BIND)
        keeper = self._require_block("bind()")
        if self._bind_scope is not None:
            raise InvalidStateError(f"{self!r}: another task is binding it; wait for that first")
        if port is not None:
            self._port = port
        self._delivery.open(self, keeper)
        scope = self._bind_scope = trio.CancelScope()
        bound = False
        try:
            with scope:
                await trio.lowlevel.checkpoint_if_cancelled()
                local = await self._local_address()
                if self._bind_scope is scope:
                    self._open(local)
                    bound = True
        except SocketError as error:
            self._bind_failed(error)
            await self._settle()  # noqa: ASYNC120 - cancelled only if a handler failed
            raise
        finally:
            if self._bind_scope is scope:
                self._bind_scope = None
        if not bound:
            await trio.lowlevel.checkpoint_if_cancelled()  # by the failure that closed the socket
            raise self._closed_error("closed while it was being bound")
        await self._settle()

    async def connect(self) -> None:
        """The same as ``bind()``: a datagram socket has no peer of its own. Xojo: ``Connect``."""
        await self.bind()

    async def _local_address(self) -> ResolvedAddress | None:
        """What to bind to; ``None`` for all addresses of both families."""
        if not self._address:
            await trio.lowlevel.checkpoint()
            return None
        found = await resolve(self._address, self._port, type=stdlib_socket.SOCK_DGRAM)
        return found[0]

    def _open(self, local: ResolvedAddress | None) -> None:
        """Bind, and be bound.

        Raises:
            SocketError: what the OS says; nothing has changed.
        """
        self._after(Move.BIND)
        self._state = next_state(self._state, Move.BIND)
        try:
            port = self._open_port(local)
        except OSError as exc:
            self._state = next_state(self._state, Move.CLOSE)
            where = format_endpoint(self._address or "*", self._port)
            by = f" on {self._network_interface.name}" if self._network_interface else ""
            raise translate_os_error(exc, f"cannot bind to {where}{by}") from exc
        self.purge()
        self._arrivals.begin(port.own_address)
        self._closed_by_us = False
        self._blocked = False
        self._port_bound = port
        port.set_hops(self._router_hops, self._unicast_hops)
        self._watch(port)
        self._delivery.post(Connected)

    def _open_port(self, local: ResolvedAddress | None) -> Port:
        """Ask the network for the port. For subclasses to change."""
        interface, memberships = self._network_interface, self._memberships
        return self._opener(local, self._port, interface, memberships, may_share=self._shares_port)

    def _watch(self, port: Port) -> None:
        assert self._keeper is not None
        port.set_send_to_self(self._send_to_self)
        step = functools.partial(self._on_readable, port)
        self._watches[port] = watch = port.watch(self._keeper, step, self._on_writable)
        watch.reading(True)

    def _unwatch(self, port: Port) -> None:
        """Give a port back."""
        self._watches.pop(port).close()
        self._dropped_by_system += port.dropped()
        port.close()

    def _bind_failed(self, error: SocketError) -> None:
        if not isinstance(error, InvalidPortError):  # that is a refusal
            self._delivery.post_error(error)
            self._delivery.hub.end()

    # Closing

    def close(self) -> None:
        """Give the port back at once. Always legal, idempotent. Xojo: ``Close``.

        What was queued is dropped; what was received stays readable. Groups are left; the
        options stay.

        Events: nothing more.
        """
        self._check_thread()
        self._closed_by_us = True
        self._close_at_once()

    def _close_at_once(self) -> None:
        scope, self._bind_scope = self._bind_scope, None
        self._stop_calls()
        for port in list(self._watches):
            self._unwatch(port)
        self._port_bound = None
        self._memberships.clear()
        self._renewal.end()
        self._set_closed()
        self._delivery.hub.end()
        if scope is not None:
            scope.cancel("the socket was closed")

    @abc.abstractmethod
    def _stop_calls(self) -> None:
        """The socket is closing: let nobody wait, or send, any more."""

    # Memberships

    def _keep_memberships(self) -> None:
        """A port has joined a group: from now on join it again whenever the network changes."""
        assert self._keeper is not None
        if any(port.needs_renewal for port in self._watches):
            self._renewal.begin(trio.current_time())
            self._keeper.wake()

    def _take_stock(self) -> None:
        arrivals = self._arrivals
        for port in list(self._watches):
            for _ in range(_LOOKS):
                before = arrivals.received + arrivals.dropped
                if port in self._watches:  # handlers run, and may close it
                    self._on_readable(port)
                if arrivals.received + arrivals.dropped == before:
                    break
        if self._blocked:
            self._on_writable()
        self._run_handlers()

    def _next_deadline(self) -> float:
        trouble = self._renewal.look(self._watches, trio.current_time())
        if trouble is not None:
            by = f" on {self._network_interface.name}" if self._network_interface else ""
            error = SocketError(
                f"{self!r}: groups cannot be heard{by}: {describe(trouble)}; they are joined again "
                "when the network is back",
                errno=trouble.errno,
            )
            self._delivery.post_error(error)
        return self._renewal.deadline

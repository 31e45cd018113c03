"""``EasyUDPSocket``: messages to named groups, and to single machines."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NoReturn, Self

import trio

from trio_xsock._engine.datagram_port import DatagramPort
from trio_xsock._engine.datagram_reasons import check_bound
from trio_xsock._engine.datagram_requests import write
from trio_xsock._engine.group_inbox import GroupInbox
from trio_xsock._machines.endpoint import check_port, ip_address
from trio_xsock._machines.packets import encode_group_message
from trio_xsock._machines.udp_groups import group_address
from trio_xsock._network.interface import NetworkInterface
from trio_xsock._network.options import check_positive, check_seconds
from trio_xsock._network.udp_port import Sharing
from trio_xsock._runtime.channel import EventChannel
from trio_xsock._runtime.guard import let_others_run, protect_from_ki
from trio_xsock._runtime.member_events import MemberHub
from trio_xsock._values.errors import InvalidStateError, SocketError
from trio_xsock._values.events import GroupEvent, ReceivedMessage
from trio_xsock._values.message import check_command, message_data
from trio_xsock._values.typing import Buffer

from .multicast import MulticastCalls


@protect_from_ki
class EasyUDPSocket(MulticastCalls):
    """Messages over UDP, to named groups and to single machines. Xojo: ``EasyUDPSocket``.

    Lives in ``async with``, like every socket::

        async with EasyUDPSocket() as sock:
            await sock.bind(4711)
            sock.register("orchard")
            sock.send_message_to_group("orchard", 1, b"hello")
            async for event in sock.events:
                ...

    A message is one datagram, so it may be lost, arrive twice, or out of order. The format is
    described byte by byte on the page about formats; it is not that of Xojo, which is not
    published.

    A received message goes to the first of: a ``wait_for_message`` for it; the handler's
    ``on_received_message(socket, from_address, from_port, command, data)``; the first event
    channel that reads, where it is a ``ReceivedMessage``. Other datagrams, and messages to groups
    that are not registered, are ignored.

    Arguments and attributes are those of ``UDPSocket``. The port cannot be shared, as in
    Xojo; programs that share one use ``AutoDiscovery``.
    """

    __slots__ = ("_inbox",)

    _HUB = MemberHub
    _HANDLER_METHODS: tuple[str, ...] = (
        "on_connected",
        "on_received_message",
        "on_send_complete",
        "on_error",
    )

    if TYPE_CHECKING:

        @property
        def events(self) -> EventChannel[GroupEvent[Self]]: ...
        def subscribe(self) -> EventChannel[GroupEvent[Self]]: ...

    def __init__(
        self,
        port: int = 0,
        *,
        address: str = "",
        handler: object = None,
        events: EventChannel | None = None,
        network_interface: NetworkInterface | None = None,
        receive_packet_limit: int = 1024,
    ) -> None:
        super().__init__(port, address, handler, events, network_interface)
        limit = check_positive("receive_packet_limit", receive_packet_limit)
        self._inbox = GroupInbox(self._delivery, self._hub, limit)
        self._datagrams = DatagramPort(self._delivery, self._inbox, Sharing.NEVER)

    @property
    def _hub(self) -> MemberHub:
        hub = self._delivery.hub
        assert isinstance(hub, MemberHub)
        return hub

    async def bind(self, port: int | None = None) -> None:
        """Bind to ``port``, which is not shared. Xojo: ``Bind``, ``Connect``.

        Args:
            port: the new value of ``port``; ``None`` leaves it unchanged. 0 lets the OS choose.

        Raises:
            InvalidStateError: not closed, or outside the block.
            InvalidPortError: outside 0..65535, or the port needs privileges.
            AddressInUseError: the port is taken.
            NameResolutionError, SocketError and others: as for ``UDPSocket.bind``.

        Cancellation: nothing is left over; the socket is closed and may be bound again.
        Events: ``Connected``, or ``ErrorOccurred`` for what is raised after the first two.
        """
        await self._bind(port, self._open)

    # Groups

    def register(self, group: str) -> None:
        """Receive messages to a group of this name, on this port. Xojo: ``Register``.

        Registering twice counts once. Closing the socket leaves all groups.

        Args:
            group: 1..64 bytes in UTF-8.

        Raises:
            InvalidStateError: not bound.
            SocketError: the OS refuses to join the group's multicast address.
            ValueError, TypeError: no such name.
        """
        address = group_address(group)
        check_bound(self._datagrams, self)
        groups = self._inbox.groups
        if group not in groups:
            if not self.join_multicast_group(address):
                raise SocketError(
                    f"{self!r}: the system refuses to join {address} of {group!r}: "
                    f"{self.last_error}",
                    errno=self.last_error.errno if self.last_error else None,
                )
            groups[group] = address

    def unregister(self, group: str) -> None:
        """Stop receiving from a group; nothing if it is not registered. Xojo: ``Unregister``.

        Raises:
            InvalidStateError: not bound.
            ValueError, TypeError: no such name.
        """
        address = group_address(group)
        check_bound(self._datagrams, self)
        groups = self._inbox.groups
        if groups.pop(group, None) is not None and address not in groups.values():
            self.leave_multicast_group(address)

    # Sending

    def send_message_to_group(self, group: str, command: int, data: Buffer | str = b"") -> None:
        """Send a message to a group, registered or not; never waits.

        It goes to the port that ``port`` was set to here. Xojo: ``SendMessageToGroup``.

        Args:
            group: the group's name.
            command: what the data is: 0..2**31-1.
            data: the content: any buffer, or text, which is encoded as UTF-8.

        Raises:
            InvalidStateError, SocketClosedError: not bound, or closed.
            InvalidPortError: ``port`` is 0, so the port of the other programs is unknown.
            SocketError: the OS refuses it; EMSGSIZE if it is too large for a datagram.
            OutOfMemoryError: too much is queued.
            ValueError, TypeError: an argument of a wrong type, or out of range.

        Events: ``SendComplete`` when nothing is queued any more.
        """
        address = group_address(group)
        check_command(command)
        packet = encode_group_message(group, command, message_data(data))
        check_bound(self._datagrams, self)
        write(self._datagrams, address, packet, self._port_there(), "", self)

    def send_message_to_individual(
        self, to: str, command: int, data: Buffer | str = b"", port: int | None = None
    ) -> None:
        """Send a message to one machine; never waits. Xojo: ``SendMessageToIndividual``.

        Args:
            to: its IP address.
            command: what the data is: 0..2**31-1.
            data: the content: any buffer, or text, which is encoded as UTF-8.
            port: the port there; ``None`` for the one that ``port`` was set to here.

        Raises:
            NameResolutionError: ``to`` is no IP address.
            InvalidStateError, InvalidPortError, SocketError, OutOfMemoryError, ValueError,
            TypeError: as ``send_message_to_group``.

        Events: ``SendComplete`` when nothing is queued any more.
        """
        address = ip_address(to)
        check_command(command)
        packet = encode_group_message("", command, message_data(data))
        if port is not None:
            check_port(port, allow_zero=False, host=address)
        check_bound(self._datagrams, self)
        number = self._port_there() if port is None else port
        write(self._datagrams, address, packet, number, "", self)

    # Receiving

    @property
    def messages_available(self) -> int:
        """Messages that have arrived and are unread."""
        return self._inbox.size

    @property
    def packets_available(self) -> int:
        """The same: each came in a packet of its own."""
        return self._inbox.size

    async def wait_for_message(
        self,
        command: int,
        from_address: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - Xojo's signature
    ) -> bytes | None:
        """Wait for a message with this command. Xojo: ``WaitForMessage``.

        One that has arrived already is returned at once; other messages are not affected.

        Args:
            command: 0..2**31-1.
            from_address: the IP address that it must come from; ``None`` for any.
            timeout: seconds; ``None`` for no limit, 0 for a message that has arrived already.

        Returns:
            The message's data, or ``None`` when the time is up.

        Raises:
            SocketClosedError: we closed the socket, before or meanwhile.
            InvalidStateError: not bound.
            NameResolutionError: ``from_address`` is no IP address.
            ValueError, TypeError: an argument of a wrong type, or out of range.

        Cancellation: no message is lost or delivered twice.
        """
        check_command(command)
        if from_address is not None:
            from_address = ip_address(from_address)
        seconds = math.inf if timeout is None else check_seconds("timeout", timeout)
        await trio.lowlevel.checkpoint_if_cancelled()
        check_bound(self._datagrams, self)
        inbox = self._inbox
        arrival = inbox.take(command, from_address)
        if arrival is not None:
            await let_others_run()
            return arrival.data
        self._check_thread()
        waiter = inbox.wait(command, from_address)
        return await self._park_for(waiter.parking, seconds, lambda: inbox.forget(waiter))

    def _handler_changed(self) -> None:
        """Deliver waiting messages to the new handler."""
        if self._keeper is not None:
            self._inbox.pass_to_handler()

    def _has_messages(self) -> bool:
        return self._inbox.size > 0

    def _take_for_channel(self) -> ReceivedMessage:
        """A message becomes an event at the moment when a consumer takes it."""
        address, port, command, data = self._inbox.take_oldest()
        return ReceivedMessage(self, command, data, address, port)

    # What would not be messages

    def read(self) -> NoReturn:
        """Refused: this socket moves messages, not datagrams.

        Raises:
            InvalidStateError: always; the message says what to use.
        """
        raise self._no_datagrams("read()", "events, or wait_for_message(),")

    def write(self, datagram: object = None) -> NoReturn:
        """Refused; see ``read``."""
        raise self._no_datagrams("write()", "send_message_to_group()")

    def write_to(self, *_: object, **__: object) -> NoReturn:
        """Refused; see ``read``."""
        raise self._no_datagrams("write_to()", "send_message_to_individual()")

    async def send(self, value: object = None) -> NoReturn:
        """Refused; see ``read``."""
        raise self._no_datagrams("send()", "send_message_to_individual()")  # noqa: ASYNC910

    async def receive(self) -> NoReturn:
        """Refused; see ``read``."""
        raise self._no_datagrams("receive()", "events, or wait_for_message(),")  # noqa: ASYNC910

    def __aiter__(self) -> Self:
        """Refused when the first message is asked for; see ``read``."""
        return self

    async def __anext__(self) -> NoReturn:
        raise self._no_datagrams("iteration", "events")  # noqa: ASYNC910

    def _no_datagrams(self, call: str, instead: str) -> InvalidStateError:
        return InvalidStateError(
            f"{self!r}: {call} is for sockets that move datagrams; use {instead} instead"
        )

"""``EasyUDPSocket``: messages to groups that have names, and to single machines."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final, Self

from trio_xsock._machines.endpoint import check_port
from trio_xsock._machines.packets import Kind, PacketError, decode, encode_group_message
from trio_xsock._network.interface import NetworkInterface
from trio_xsock._runtime.channel import EventChannel
from trio_xsock._runtime.guard import protect_from_ki
from trio_xsock._values.errors import SocketError
from trio_xsock._values.events import GroupEvent
from trio_xsock._values.member import check_name
from trio_xsock._values.message import check_command
from trio_xsock._values.typing import Buffer

from .group_receiving import Arrival, GroupReceiving, ip_address

_GROUPS: Final = "239.255"
"""The addresses that RFC 2365 keeps for the use within one site."""


def group_address(group: str) -> str:
    """The multicast address of a named group, the same for everybody.

    The last two bytes are the first two of the SHA-256 of the name in UTF-8. Names may share an
    address: the name itself is in every packet, and is looked at.

    Args:
        group: its name, 1..64 bytes in UTF-8.

    Returns:
        An address in 239.255.0.0/16.

    Raises:
        ValueError, TypeError: no such name.
    """
    name = check_name("group", group, may_be_empty=False)
    third, fourth = hashlib.sha256(name.encode()).digest()[:2]
    return f"{_GROUPS}.{third}.{fourth}"


def message_data(data: Buffer | str) -> bytes:
    """The bytes of a message, of whatever was given.

    Raises:
        TypeError: it is neither text nor a buffer.
        UnicodeEncodeError: it is text that UTF-8 cannot encode: half of a surrogate pair.
    """
    if isinstance(data, str):
        return data.encode()
    try:
        view = memoryview(data)
    except TypeError:
        raise TypeError(
            f"data must be a str, or bytes in any buffer, not {type(data).__name__}"
        ) from None
    with view:
        return view.tobytes()


@protect_from_ki
class EasyUDPSocket(GroupReceiving):
    """Messages over UDP, to named groups and to single machines. Xojo: ``EasyUDPSocket``.

    Lives in ``async with``, like every socket::

        async with EasyUDPSocket() as sock:
            await sock.bind(4711)
            sock.register("orchard")
            sock.send_message_to_group("orchard", 1, b"hello")
            async for event in sock.events:
                ...

    A message fits into one datagram, and fares as datagrams do: it may be lost, come twice, or
    overtake another. The format is described byte by byte on the page about formats; it is not
    that of Xojo, which nobody has published.

    A message that comes goes to the first of: a ``wait_for_message`` for it; the handler's
    ``on_received_message(socket, from_address, from_port, command, data)``; the first event
    channel that asks, where it is a ``ReceivedMessage``. What is no message, or not for a group
    that was registered, is ignored.

    Arguments and attributes are those of ``UDPSocket``. The port is this socket's alone, as in
    Xojo; programs that are to share one use ``AutoDiscovery``.
    """

    __slots__ = ("_group_addresses",)

    _shares_port = False

    if TYPE_CHECKING:

        @property
        def events(self) -> EventChannel[GroupEvent[Self]]: ...  # type: ignore[override]
        def subscribe(self) -> EventChannel[GroupEvent[Self]]: ...  # type: ignore[override]

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
        super().__init__(
            port,
            address=address,
            handler=handler,
            events=events,
            network_interface=network_interface,
            receive_packet_limit=receive_packet_limit,
        )
        self._group_addresses: dict[str, str] = {}  # of the groups that are registered, by name

    def _stop_calls(self) -> None:
        super()._stop_calls()
        self._group_addresses.clear()

    def register(self, group: str) -> None:
        """Hear what is sent to a group of this name, on this port. Xojo: ``Register``.

        Registering twice counts once. Closing the socket leaves all groups.

        Args:
            group: 1..64 bytes in UTF-8.

        Raises:
            InvalidStateError: not bound.
            SocketError: the OS refuses to join the group's multicast address.
            ValueError, TypeError: no such name.
        """
        address = group_address(group)
        self._check_bound()
        groups = self._group_addresses
        if group not in groups:
            if not self.join_multicast_group(address):
                raise SocketError(
                    f"{self!r}: the system refuses to join {address} of {group!r}: "
                    f"{self.last_error}",
                    errno=self.last_error.errno if self.last_error else None,
                )
            groups[group] = address

    def unregister(self, group: str) -> None:
        """Hear a group no more; nothing if it is not registered. Xojo: ``Unregister``.

        Raises:
            InvalidStateError: not bound.
            ValueError, TypeError: no such name.
        """
        address = group_address(group)
        self._check_bound()
        groups = self._group_addresses
        if groups.pop(group, None) is not None and address not in groups.values():
            self.leave_multicast_group(address)

    def send_message_to_group(self, group: str, command: int, data: Buffer | str = b"") -> None:
        """Send a message to a group, registered or not; never waits.

        It goes to the port that ``port`` was set to here. Xojo: ``SendMessageToGroup``.

        Args:
            group: the group's name.
            command: what the data is: 0..2**31-1.
            data: the content: any buffer, or text, which is encoded as UTF-8.

        Raises:
            InvalidStateError, SocketClosedError: not bound, or closed.
            InvalidPortError: our port was left to the OS, so it says nothing of the others'.
            SocketError: the OS refuses it; EMSGSIZE if it is too large for a datagram.
            OutOfMemoryError: too much is queued.
            ValueError, TypeError: an argument of a wrong type, or out of range.

        Events: ``SendComplete`` when nothing is queued any more.
        """
        address = group_address(group)
        check_command(command)
        packet = encode_group_message(group, command, message_data(data))
        self._check_bound()
        self._write(address, packet, self._port_there())

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
        self._check_bound()
        self._write(address, packet, self._port_there() if port is None else port)

    def _take_packet(self, data: bytes, address: str, port: int) -> None:
        try:
            packet = decode(data)
        except PacketError:
            return
        if packet.kind is Kind.MESSAGE and (
            not packet.group or packet.group in self._group_addresses
        ):
            self._deliver(Arrival(address, port, packet.command, packet.data))

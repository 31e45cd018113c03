"""``SocketCore``: the base of all sockets, of connections and of datagrams."""

from __future__ import annotations

import abc
from typing import overload

from trio_xsock._machines.endpoint import address_text, check_port
from trio_xsock._machines.state import CLOSED, Move, SocketState, next_state
from trio_xsock._network.interface import NetworkInterface, local_address_of
from trio_xsock._network.socket_view import (
    Descriptor,
    NoDescriptorError,
    SocketView,
    get_option,
    set_option,
)
from trio_xsock._runtime.channel import EventChannel
from trio_xsock._runtime.guard import protect_from_ki
from trio_xsock._runtime.scoped import Scoped
from trio_xsock._values.errors import InvalidStateError, SocketError
from trio_xsock._values.statistics import SocketStatistics
from trio_xsock._values.typing import Address, Buffer


@protect_from_ki
class SocketCore(Scoped):
    """The base of all sockets; abstract. Xojo: ``SocketCore``.

    A socket is used with ``async with sock:``. Entering opens its nursery; connecting, listening
    and binding need it, and no task or descriptor outlives it. The block is entered once; in
    it the socket may connect again after it closed.

    Leaving the block normally is ``await aclose()``; leaving it by an exception or by
    cancellation is ``close()``. The body's exception leaves as the same object, never in a
    group; a failing handler or ``start_soon`` task closes the socket, cancels the body, and
    its exception leaves the block unwrapped.
    """

    __slots__ = ("_network_interface", "_port")

    def __init__(
        self,
        port: int,
        handler: object,
        events: EventChannel | None,
        network_interface: NetworkInterface | None,
    ) -> None:
        super().__init__(handler, events)
        self._port = self._checked_port(port)
        self._network_interface = check_interface(network_interface)

    @property
    def network_interface(self) -> NetworkInterface | None:
        """The interface to bind to, or ``None`` for the OS's choice.

        An assignment takes effect at the next connect, listen or bind. Xojo:
        ``NetworkInterface``.
        """
        return self._network_interface

    @network_interface.setter
    def network_interface(self, interface: NetworkInterface | None) -> None:
        self._network_interface = check_interface(interface)

    @property
    @abc.abstractmethod
    def state(self) -> SocketState:
        """The state of the socket."""

    @property
    def last_error(self) -> SocketError | None:
        """The error posted last; cleared by ``connect``, ``listen`` and ``bind``.

        Xojo: ``LastErrorCode``.
        """
        return self._delivery.last_error

    @property
    @abc.abstractmethod
    def is_connected(self) -> bool:
        """TCP: connected, and our direction is open. UDP: bound. Xojo: ``IsConnected``."""

    @property
    @abc.abstractmethod
    def handle(self) -> int:
        """The OS's descriptor, -1 when there is none. Xojo: ``Handle``."""

    @property
    def port(self) -> int:
        """The port to reach or to bind; while the socket is open the local port.

        While the socket is open the value comes from the OS; when it is closed again it is
        what was set. Xojo: ``Port``.

        Raises (assignment):
            InvalidStateError: the socket is not closed.
            InvalidPortError: outside 0..65535.
            TypeError: not an int.
        """
        address = self._local_endpoint()
        return address[1] if address else self._port

    @port.setter
    def port(self, port: int) -> None:
        self._check_closed("port")
        self._set_port(port)

    def _set_port(self, port: int) -> None:
        self._port = self._checked_port(port)

    def _checked_port(self, port: int) -> int:
        return check_port(port, allow_zero=True)

    @property
    def local_port(self) -> int:
        """The local port, 0 when there is none."""
        address = self._local_endpoint()
        return address[1] if address else 0

    @property
    def local_address(self) -> str:
        """The local IP address; never raises. Xojo: ``LocalAddress``.

        If the socket is not bound, or to all addresses: the chosen interface's address, else the
        default route's, else loopback.
        """
        address = self._local_endpoint()
        if address and address[0] not in ("0.0.0.0", "::"):
            return address_text(address)
        return local_address_of(self._network_interface)

    @property
    def socket(self) -> SocketView:
        """A view of the OS's socket, for libraries that use a stream's ``socket`` attribute.

        A connection may be lost at any moment, so after an error (``last_error``) there is a
        view as well; its calls raise ``InvalidStateError`` then, which is an ``OSError`` (EBADF)
        here, as of a ``socket.socket`` that was closed.

        Raises:
            InvalidStateError: there is no descriptor: the socket is not open, and no error has
                closed it.
        """
        if self.last_error is None:
            self._find_descriptor()
        return SocketView(self._find_descriptor)

    @overload
    def getsockopt(self, level: int, option: int) -> int: ...
    @overload
    def getsockopt(self, level: int, option: int, buffersize: int) -> bytes: ...
    def getsockopt(self, level: int, option: int, buffersize: int = 0) -> int | bytes:
        """An option of the OS's socket, as of ``trio.SocketStream``.

        Args:
            level: of the protocol, as the constants in the module ``socket`` have it.
            option: the option, likewise.
            buffersize: for an option that is no int: how many bytes it may have.

        Returns:
            An int, or with a ``buffersize`` bytes.

        Raises:
            InvalidStateError: there is no descriptor: the socket is not open. It is an
                ``OSError`` (EBADF) too.
            OSError: what the OS says.
        """
        return get_option(self._find_descriptor(), level, option, buffersize)

    @overload
    def setsockopt(self, level: int, option: int, value: int | Buffer) -> None: ...
    @overload
    def setsockopt(self, level: int, option: int, value: None, length: int) -> None: ...
    def setsockopt(
        self, level: int, option: int, value: int | Buffer | None, length: int | None = None
    ) -> None:
        """Set an option of the OS's socket, as of ``trio.SocketStream``.

        It applies to the present descriptor: the next connection begins without it. For options
        that the library sets itself (``keepalive``, ``router_hops``) use its attributes.

        Args:
            level: of the protocol, as the constants in the module ``socket`` have it.
            option: the option, likewise.
            value: an int, or bytes.
            length: in place of a value, which is ``None`` then.

        Raises:
            InvalidStateError: there is no descriptor: the socket is not open. It is an
                ``OSError`` (EBADF) too.
            OSError: what the OS says.
            TypeError: both of ``value`` and ``length``, or neither.
        """
        set_option(self._find_descriptor(), level, option, value, length)

    def _find_descriptor(self) -> Descriptor:
        descriptor = self._descriptor()
        if descriptor is None:
            raise NoDescriptorError(f"{self!r}: there is no descriptor; the socket is not open")
        return descriptor

    @abc.abstractmethod
    def _descriptor(self) -> Descriptor | None:
        """The OS's socket at present."""

    @abc.abstractmethod
    def _local_endpoint(self) -> Address | None:
        """The local address from the OS; ``None`` when there is no descriptor."""

    @abc.abstractmethod
    def statistics(self) -> SocketStatistics:
        """Counters since the socket was made; see ``SocketStatistics``."""

    def _check_closed(self, what: str) -> None:
        if self.state is not CLOSED:
            raise InvalidStateError(
                f"{self!r}: {what} can be set only while the socket is closed; close() it first"
            )

    def _after(self, move: Move) -> SocketState:
        """The state after ``move``; raises if that is illegal now."""
        try:
            return next_state(self.state, move)
        except InvalidStateError as error:
            raise InvalidStateError(f"{self!r}: {error}") from None

    @abc.abstractmethod
    async def connect(self) -> None:
        """TCP: connect to ``address`` and ``port``. UDP: the same as ``bind``."""

    @abc.abstractmethod
    def purge(self) -> None:
        """Empty the receive buffer."""


def check_interface(interface: object) -> NetworkInterface | None:
    """A ``NetworkInterface`` or ``None``; anything else is a ``TypeError``."""
    if interface is None or isinstance(interface, NetworkInterface):
        return interface
    raise TypeError(f"network_interface must be a NetworkInterface or None, not {interface!r}")

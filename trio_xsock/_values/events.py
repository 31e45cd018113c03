"""The events: frozen values that say what happened to a socket, in the order it happened.

They are made only if there is a handler or a channel. They are generic in their socket:
the ``socket`` of a ``Connected[TCPSocket]`` is a ``TCPSocket``. Without an argument it is
``Any``, because one channel may carry the events of sockets of different classes (fan-in).

The three most frequent events have an ``__init__`` of their own, which does what a frozen
dataclass does by itself in 40 % less time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeAlias

from .errors import SocketError
from .member import Member

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    S = TypeVar("S", covariant=True, default=Any)
else:  # `typing` knows defaults only from Python 3.13 on
    from typing import TypeVar

    S = TypeVar("S", covariant=True)


@dataclass(frozen=True, slots=True)
class Connected(Generic[S]):
    """TCP: the connection is up, after TLS where there is TLS. UDP: the socket is bound.

    Xojo: the event ``Connected``.
    """

    socket: S
    """The socket it happened to."""


@dataclass(frozen=True, slots=True, init=False)
class DataAvailable(Generic[S]):
    """Bytes (UDP: datagrams) arrived since the last such event was taken.

    What a consumer leaves unread is not announced again. Xojo: ``DataAvailable``.
    """

    socket: S
    """The socket it happened to."""

    def __init__(self, socket: S) -> None:
        _data_socket(self, socket)


@dataclass(frozen=True, slots=True, init=False)
class SendProgress(Generic[S]):
    """The operating system took a chunk of the send queue. Xojo: ``SendProgress``."""

    socket: S
    """The socket it happened to."""
    bytes_sent: int
    """Bytes that went out since the previous ``SendProgress``."""
    bytes_left: int
    """Bytes still queued."""
    total_sent: int
    """Bytes of this batch that went out so far."""

    def __init__(self, socket: S, bytes_sent: int, bytes_left: int, total_sent: int) -> None:
        _progress_socket(self, socket)
        _progress_bytes_sent(self, bytes_sent)
        _progress_bytes_left(self, bytes_left)
        _progress_total_sent(self, total_sent)


@dataclass(frozen=True, slots=True, init=False)
class SendComplete(Generic[S]):
    """A batch of sends ended: the queue is empty. Xojo: ``SendComplete``."""

    socket: S
    """The socket it happened to."""
    user_aborted: bool
    """True if anything of the batch was removed unsent."""
    bytes_sent: int
    """Bytes of the batch that the operating system took."""
    bytes_unsent: int
    """Bytes of the batch that were removed unsent."""

    def __init__(self, socket: S, user_aborted: bool, bytes_sent: int, bytes_unsent: int) -> None:
        _complete_socket(self, socket)
        _complete_user_aborted(self, user_aborted)
        _complete_bytes_sent(self, bytes_sent)
        _complete_bytes_unsent(self, bytes_unsent)


_data_socket = vars(DataAvailable)["socket"].__set__
_progress_socket, _progress_bytes_sent, _progress_bytes_left, _progress_total_sent = (
    vars(SendProgress)[name].__set__
    for name in ("socket", "bytes_sent", "bytes_left", "total_sent")
)
_complete_socket, _complete_user_aborted, _complete_bytes_sent, _complete_bytes_unsent = (
    vars(SendComplete)[name].__set__
    for name in ("socket", "user_aborted", "bytes_sent", "bytes_unsent")
)


@dataclass(frozen=True, slots=True)
class ErrorOccurred(Generic[S]):
    """The connection was lost, or could not be made. Xojo: ``Error``."""

    socket: S
    """The socket it happened to."""
    error: SocketError
    """The error; the next call raises the same object."""


@dataclass(frozen=True, slots=True)
class ReceivedMessage(Generic[S]):
    """A message of an ``EasyTCPSocket``, ``EasyUDPSocket`` or ``AutoDiscovery`` arrived.

    Xojo: ``ReceivedMessage``.
    """

    socket: S
    """The socket that received it."""
    command: int
    """A number whose meaning the two sides have agreed on: 0..2**31-1."""
    data: bytes
    """The content, which may be empty."""
    from_address: str = ""
    """UDP: the sender's IP address. TCP: empty, ``socket.remote_address`` tells."""
    from_port: int = 0
    """UDP: the sender's port. TCP: 0."""


@dataclass(frozen=True, slots=True)
class MemberJoined(Generic[S]):
    """A program has joined the group of an ``AutoDiscovery``; this one, too, when it does.

    Xojo: ``MemberJoined``.
    """

    socket: S
    """The socket it happened to."""
    member: Member
    """The member that joined."""


@dataclass(frozen=True, slots=True)
class MemberLeft(Generic[S]):
    """A program left the group, or was silent for too long. Xojo: ``MemberLeft``."""

    socket: S
    """The socket it happened to."""
    member: Member
    """The member that left, as it was last known."""


@dataclass(frozen=True, slots=True)
class ConnectionsChanged(Generic[S]):
    """Connections of a ``ServerSocket`` came or went since the last such event was taken.

    Comes through ``server.subscribe(connections=True)``, or to the method
    ``on_connections_changed`` of the server's handler. Which connections there are,
    ``active_connections()`` tells. Xojo has no counterpart.
    """

    socket: S
    """The server."""
    opened: int
    """How many came."""
    closed: int
    """How many went: ended, or began to close."""
    live: int
    """How many there are now."""


Event: TypeAlias = (
    Connected[S]
    | DataAvailable[S]
    | SendProgress[S]
    | SendComplete[S]
    | ErrorOccurred[S]
    | ReceivedMessage[S]
    | MemberJoined[S]
    | MemberLeft[S]
    | ConnectionsChanged[S]
)
"""Everything that an event channel can deliver."""

StreamEvent: TypeAlias = (
    Connected[S] | DataAvailable[S] | SendProgress[S] | SendComplete[S] | ErrorOccurred[S]
)
"""What happens to a socket that moves bytes."""

DatagramEvent: TypeAlias = Connected[S] | DataAvailable[S] | SendComplete[S] | ErrorOccurred[S]
"""What happens to a socket that moves datagrams."""

MessageEvent: TypeAlias = (
    Connected[S] | ReceivedMessage[S] | SendProgress[S] | SendComplete[S] | ErrorOccurred[S]
)
"""What happens to a connection that moves messages."""

GroupEvent: TypeAlias = Connected[S] | ReceivedMessage[S] | SendComplete[S] | ErrorOccurred[S]
"""What happens to a socket that sends messages to groups."""

MemberEvent: TypeAlias = GroupEvent[S] | MemberJoined[S] | MemberLeft[S]
"""What happens to a member of groups."""

ListenerEvent: TypeAlias = ErrorOccurred[S] | ConnectionsChanged[S]
"""What happens to a server."""

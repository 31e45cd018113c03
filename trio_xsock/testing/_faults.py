"""Faults of a connection, as blocks: ``with stall(sock): ...``.

They work on sockets of any kind, may be nested and may overlap, in any order; delays add up.
A fault applies to the connection that the socket has when the block is entered. To have both
directions fail, use a fault on each socket.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from trio_xsock._network.options import check_count, check_seconds
from trio_xsock._network.transport import Transport
from trio_xsock._sockets.tcp import TCPSocket

from ._faulty import FaultyTransport
from ._seam import replace_transport, transport_of
from ._weather import Cut, Delay, Drop, Fault, Stall


@contextmanager
def delay(sock: TCPSocket, seconds: float) -> Generator[None, None, None]:
    """Delay what arrives inside the block.

    The order is kept, also at the end of the block: what is in transit then is still delayed.
    Ends of the stream and resets are delayed, too. At most 256 KiB are in transit.

    Args:
        sock: the socket that receives.
        seconds: on Trio's clock, a ``MockClock`` if there is one.

    Raises:
        InvalidStateError: not connected.
        TypeError, ValueError: not a socket, or not a number of seconds.
    """
    with _fault(sock, Delay(check_seconds("seconds", seconds))):
        yield


@contextmanager
def drop(sock: TCPSocket) -> Generator[None, None, None]:
    """Lose what is sent inside the block, without an acknowledgement, as on a dead link.

    It counts as sent, until 64 KiB, the send buffer of a simulated OS, are full. What is sent
    after the block does arrive, so there is a gap in the stream; mostly the block lasts
    until the connection ends. If the socket ends its direction or closes inside the block, the
    peer sees that when the block is left. What the peer sends arrives.

    Args:
        sock: the socket that sends.

    Raises:
        InvalidStateError: not connected.
        TypeError: not a socket.
    """
    with _fault(sock, Drop()):
        yield


@contextmanager
def cut(sock: TCPSocket, after: int = 0) -> Generator[None, None, None]:
    """Reset the connection after that many more bytes.

    Both sides see the reset. It does not happen if fewer bytes pass inside the block.

    Args:
        sock: either side.
        after: bytes, sent and received together; 0 for at once.

    Raises:
        InvalidStateError: not connected.
        TypeError, ValueError: not a socket, or not a number of bytes.
    """
    with _fault(sock, Cut(check_count("after", after))):
        yield


@contextmanager
def stall(sock: TCPSocket) -> Generator[None, None, None]:
    """Stop both directions inside the block; afterwards they continue.

    If the socket ends its direction or closes meanwhile, the peer sees that when the block is
    left.

    Args:
        sock: either side.

    Raises:
        InvalidStateError: not connected.
        TypeError: not a socket.
    """
    with _fault(sock, Stall()):
        yield


@contextmanager
def _fault(sock: TCPSocket, fault: Fault) -> Generator[None, None, None]:
    transport = _faulty_transport(sock)
    transport.faults.append(fault)
    transport.update()
    try:
        yield
    finally:
        transport.faults.remove(fault)
        transport.update()


def _faulty_transport(sock: TCPSocket) -> FaultyTransport:
    """The one that the socket has, or a new one in place."""
    present = transport_of(sock)
    if isinstance(present, FaultyTransport):
        return present

    def remove(inner: Transport) -> None:
        replace_transport(sock, inner)

    transport = FaultyTransport(present, remove)
    replace_transport(sock, transport)
    return transport

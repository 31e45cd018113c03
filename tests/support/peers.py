"""The other end of a connection: standard library sockets that know nothing of ``trio_xsock``."""

from __future__ import annotations

import socket
import struct
from types import TracebackType
from typing import Self

import trio

SMALL = 4096
LOOPBACK = "127.0.0.1"


def shrink_buffers(sock: socket.socket) -> None:
    """Let the kernel hold some 10 kB instead of megabytes; before connect or listen."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL)


def raw_listener(*, small: bool = False, backlog: int = 16, host: str = LOOPBACK) -> socket.socket:
    """A listening socket on a port of the OS's choice; use it in a ``with``.

    Args:
        small: accepted sockets have small buffers.
        backlog: connections that may wait to be accepted.
        host: the IP address to listen on.
    """
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if small:
            shrink_buffers(sock)
        sock.bind((host, 0))
        sock.listen(backlog)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def raw_pair(*, small: bool = False) -> tuple[socket.socket, RawPeer]:
    """A connected, non-blocking socket, as for ``from_socket``, and the peer at its other end."""
    with raw_listener(small=small, backlog=1) as listener:
        ours = socket.socket()
        try:
            if small:
                shrink_buffers(ours)
            ours.connect(listener.getsockname())
            ours.setblocking(False)
            theirs, _ = listener.accept()
        except BaseException:
            ours.close()
            raise
    return ours, RawPeer(theirs)


async def accept(listener: socket.socket) -> RawPeer:
    """Wait for the next connection to a ``raw_listener``."""
    while True:
        try:
            return RawPeer(listener.accept()[0])
        except BlockingIOError:
            await trio.lowlevel.wait_readable(listener)


class RawPeer:
    """A connected standard library socket, driven by Trio; closed at the end of a ``with``.

    Attributes:
        sock: the socket itself, non-blocking, for whatever is missing here.
        received: how many bytes were received so far.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.received = 0

    @classmethod
    async def connect(
        cls, port: int, host: str = LOOPBACK, *, small: bool = False, local_port: int = 0
    ) -> Self:
        """Connect to a listening socket.

        Args:
            port: where it listens.
            host: the IP address where it listens.
            small: have small buffers.
            local_port: the port to come from, 0 for any.
        """
        sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        try:
            if small:
                shrink_buffers(sock)
            if local_port:
                sock.bind((host, local_port))
            sock.setblocking(False)
            try:
                sock.connect((host, port))
            except BlockingIOError:
                await trio.lowlevel.wait_writable(sock)
            number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if number:
                raise OSError(number, f"connecting to {host}:{port}")
        except BaseException:
            sock.close()
            raise
        return cls(sock)

    @property
    def port(self) -> int:
        """Our local port."""
        return int(self.sock.getsockname()[1])

    async def recv_some(self, max_bytes: int = 65536) -> bytes:
        """What has arrived, at least a byte, or ``b""`` at the end."""
        while True:
            try:
                data = self.sock.recv(max_bytes)
            except BlockingIOError:
                await trio.lowlevel.wait_readable(self.sock)
            else:
                self.received += len(data)
                return data

    async def recv_exactly(self, count: int) -> bytes:
        """``count`` bytes; ``EOFError`` with what there was if the end comes first."""
        data = bytearray()
        while len(data) < count:
            piece = await self.recv_some(min(count - len(data), 2**18))
            if not piece:
                raise EOFError(bytes(data))
            data += piece
        return bytes(data)

    async def recv_all_to_eof(self) -> bytes:
        """Everything up to the end; ``ConnectionResetError`` if that is no clean one."""
        data = bytearray()
        while piece := await self.recv_some(2**18):
            data += piece
        return bytes(data)

    async def count_to_eof(self) -> int:
        """As ``recv_all_to_eof``, but only how many bytes; for large amounts."""
        count = 0
        while piece := await self.recv_some(2**18):
            count += len(piece)
        return count

    async def send(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of ``data``."""
        view = memoryview(data)
        while view:
            try:
                view = view[self.sock.send(view) :]
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self.sock)

    def send_nowait(self, data: bytes) -> None:
        """Send a little at once, without a checkpoint; fails if the OS does not take it all."""
        sent = self.sock.send(data)
        assert sent == len(data), "more than the buffers take"

    def stuff(self, piece: bytes = b"x" * 4096) -> int:
        """Send until the OS takes no more, not even one byte; returns how many it took."""
        count = 0
        for chunk in (piece, piece[:1]):
            try:
                while True:
                    count += self.sock.send(chunk)
            except BlockingIOError:
                pass
        return count

    def fin(self) -> None:
        """End our direction; reading goes on."""
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Tear the connection down (RST) and close."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        """Close: FIN, or RST where the OS holds unread input; idempotent."""
        if self.sock.fileno() >= 0:
            if trio.lowlevel.in_trio_run():
                trio.lowlevel.notify_closing(self.sock)
            self.sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

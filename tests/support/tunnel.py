"""A transport of somebody else's: it has the methods of ``Transport`` and nothing of the library's.

Bytes go through a Unix socket in frames: two bytes with the size, then the bytes. A frame of size
0 is the end of one direction. So the tunnel holds what the OS knows nothing of, in both directions.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Callable
from typing import Any, Final

from trio_xsock._machines.dead_peers import Sample
from trio_xsock._machines.tls import TLSEngine
from trio_xsock._runtime.keeper import Keeper
from trio_xsock._runtime.readiness import Watch, watch_socket
from trio_xsock._runtime.steps import Steps

from .peers import RawPeer

OURS: Final = ("192.0.2.1", 40000)
THEIRS: Final = ("192.0.2.2", 443)
MOST: Final = 0xFFFF


class Tunnel:
    """One end of it."""

    encryption: TLSEngine | None = None
    most: int = MOST
    takes_files: bool = False
    closes_silently: bool = False

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.moved: int = 0
        self._sock = sock
        self._raw = bytearray()
        self._data = bytearray()
        self._ended = False  # the peer's direction has
        self._end_was_told = False
        self._unsent = b""
        self._end_was_sent = False
        self._wake: Callable[[], None] | None = None
        self._watch: TunnelWatch | None = None

    @property
    def ready(self) -> bool:
        return bool(self._data) or (self._ended and not self._end_was_told)

    @property
    def unsent(self) -> bool:
        return bool(self._unsent)

    def on_wake(self, wake: Callable[[], None], /) -> None:
        self._wake = wake

    # Input

    def recv(self, count: int, flags: int = 0, /) -> bytes:
        assert not flags
        while not self._data and not self._ended:
            data = self._sock.recv(65536)
            if not data:
                raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
            self._raw += data
            self._take_frames()
        data = bytes(self._data[:count])
        del self._data[:count]
        self._end_was_told = not data
        if self.ready and self._wake is not None:
            self._wake()
        return data

    def _take_frames(self) -> None:
        raw = self._raw
        while len(raw) >= 2:
            (size,) = struct.unpack_from("!H", raw)
            if len(raw) < 2 + size:
                return
            self._ended = self._ended or not size
            self._data += raw[2 : 2 + size]
            self.moved += 2
            del raw[: 2 + size]

    # Output

    def send(self, data: bytes | memoryview, _flags: int = 0, /) -> int:
        if not self.flush():
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        piece = bytes(data[:MOST])
        self._unsent = struct.pack("!H", len(piece)) + piece
        self.flush()
        return len(piece)

    def flush(self) -> bool:
        waited = bool(self._watch is not None and self._watch.unsent)
        while self._unsent:
            try:
                sent = self._sock.send(self._unsent)
            except BlockingIOError:
                break
            self._unsent = self._unsent[sent:]
        if self._watch is not None:
            self._watch.update(bool(self._unsent))
        if waited and not self._unsent and self._wake is not None:
            self._wake()
        return not self._unsent

    def end(self) -> bool:
        if not self._end_was_sent:
            self._end_was_sent = True
            self._unsent += struct.pack("!H", 0)
        return self.flush()

    def shutdown(self, how: int, /) -> None:
        self._sock.shutdown(how)

    def close(self) -> None:
        self._sock.close()

    # The descriptor

    def fileno(self) -> int:
        return self._sock.fileno()

    def getsockname(self) -> Any:
        return OURS

    def getpeername(self) -> Any:
        return THEIRS

    @property
    def getsockopt(self) -> Callable[..., Any]:
        return self._sock.getsockopt

    def setsockopt(self, level: int, option: int, value: int | bytes, /) -> None:
        self._sock.setsockopt(level, option, value)

    # What an OS would know

    def was_reset(self) -> bool:
        return False

    def holds_input(self) -> bool:
        if self._data or self._raw:
            return True
        try:
            return bool(self._sock.recv(1, socket.MSG_PEEK))
        except OSError:
            return False

    def has_unread_input(self) -> bool:
        return self.holds_input()

    def unacknowledged_bytes(self) -> int | None:
        return len(self._unsent)

    def take_sample(self) -> Sample | None:
        return None

    def make_watch(self, keeper: Keeper, steps: Steps, /) -> Watch:
        inner = watch_socket(keeper, self._sock, steps)
        self._watch = TunnelWatch(inner)
        self._watch.update(bool(self._unsent))
        return self._watch


class TunnelWatch:
    """Also asks to be called while a frame has not gone whole."""

    hung_up = True

    def __init__(self, inner: Watch) -> None:
        self._inner = inner
        self._wanted = False
        self.unsent = False

    def reading(self, wanted: bool, /) -> None:
        self._inner.reading(wanted)

    def writing(self, wanted: bool, /) -> None:
        self._wanted = wanted
        self._inner.writing(wanted or self.unsent)

    def update(self, unsent: bool) -> None:
        if unsent is not self.unsent:
            self.unsent = unsent
            self._inner.writing(self._wanted or unsent)

    def report_hang_up(self) -> bool:
        return False

    def close(self) -> None:
        self.unsent = False
        self._inner.close()


class TunnelPeer:
    """The other end, without the library: frames through a plain socket."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.raw = RawPeer(sock)

    async def send(self, *pieces: bytes) -> None:
        """As so many frames, given to the OS at once; ``b""`` is the end."""
        await self.raw.send(b"".join(struct.pack("!H", len(piece)) + piece for piece in pieces))

    async def recv(self) -> bytes:
        """One frame."""
        (size,) = struct.unpack("!H", await self.raw.recv_exactly(2))
        return await self.raw.recv_exactly(size) if size else b""

    async def recv_to_end(self) -> bytes:
        """All frames up to the end of the direction."""
        data = b""
        while piece := await self.recv():
            data += piece
        return data


def tunnel(*, small: bool = False) -> tuple[Tunnel, TunnelPeer]:
    """Both ends.

    Args:
        small: the OS takes little at a time.
    """
    ours, theirs = socket.socketpair()
    if small:
        for sock in (ours, theirs):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    return Tunnel(ours), TunnelPeer(theirs)


def tunnels() -> tuple[Tunnel, Tunnel]:
    """Both ends, each for a socket of the library's."""
    ours, theirs = socket.socketpair()
    return Tunnel(ours), Tunnel(theirs)

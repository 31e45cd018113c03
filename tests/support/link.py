"""Two hosts and a link between them that loses, delays, slows, doubles or damages what passes.

The hosts are network namespaces without names, each with one end of the link: a TAP device whose
frames a thread of ours carries to the other end. Nothing of it is left when the block ends, and
nothing outside of it is touched. Needs Linux, the capability CAP_SYS_ADMIN, ``/dev/net/tun`` and
the program ``ip``; ``UnavailableError`` tells which is missing.

A socket belongs to the namespace in which it was made, and whoever holds it may use it anywhere::

    with two_hosts(delay=0.03, loss=0.03, seed=1) as link:
        with link.far:
            listener = raw_listener(host=link.far.address)
        with link.near:
            trio.run(...)
"""

from __future__ import annotations

import ctypes
import fcntl
import heapq
import itertools
import os
import random
import select
import shutil
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple, Self

MTU = 1500
_CLONE_NEWNET = 0x40000000
_TUNSETIFF = 0x400454CA
_IFF_TAP_NO_PI = 0x1002
_DEVICE = "link0"
_OWN_NAMESPACE = "/proc/thread-self/ns/net"
_IP_HEADER = 14
_TCP = 6


class UnavailableError(Exception):
    """What is missing for a link."""


class Segment(NamedTuple):
    """A TCP segment that passed, as far as tests want to know it."""

    source: tuple[str, int]
    target: tuple[str, int]
    sequence: int
    acknowledged: int
    flags: int
    size: int

    @property
    def next_sequence(self) -> int:
        """The sequence number of the segment that follows this one."""
        return (
            self.sequence + self.size + bool(self.flags & 0x02) + bool(self.flags & 0x01)
        ) % 2**32


class Host:
    """One end of the link.

    Attributes:
        address: its IPv4 address.
        mac: its hardware address.
        tap: what the kernel sends can be read here; what is written here the kernel receives.
    """

    def __init__(self, number: int) -> None:
        self.address = f"10.88.0.{number}"
        self.mac = f"02:00:00:00:88:{number:02x}"
        self.tap = -1
        self._namespace = _new_namespace()
        self._outside: list[int] = []

    def __enter__(self) -> Self:
        """Let this thread make sockets on this host."""
        self._outside.append(os.open(_OWN_NAMESPACE, os.O_RDONLY))
        _set_namespace(self._namespace)
        return self

    def __exit__(self, *_: object) -> None:
        outside = self._outside.pop()
        _set_namespace(outside)
        os.close(outside)

    def ip(self, *commands: str) -> None:
        """Run ``ip`` with each of these commands on this host."""
        with self:
            subprocess.run(
                ["ip", "-batch", "-"], input="\n".join(commands), text=True, check=True, timeout=10
            )

    def sysctl(self, name: str, value: int | str) -> None:
        """Set a variable of this host's kernel, below ``net.ipv4``."""
        with self:
            Path("/proc/sys/net/ipv4", name).write_text(str(value), encoding="ascii")

    def open(self, neighbour: Host) -> None:
        """Make the device and its addresses; no ARP, no IPv6, nothing that passes by itself."""
        request = struct.pack("16sH14x", _DEVICE.encode(), _IFF_TAP_NO_PI)
        with self:
            try:
                self.tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
                fcntl.ioctl(self.tap, _TUNSETIFF, request)
            except OSError as exc:
                raise UnavailableError(f"no TAP device can be made: {exc.strerror}") from None
            quiet = Path("/proc/sys/net/ipv6/conf", _DEVICE, "disable_ipv6")
            if quiet.exists():
                quiet.write_text("1", encoding="ascii")
        self.ip(
            "link set lo up",
            f"link set {_DEVICE} address {self.mac} mtu {MTU} up",
            f"addr add {self.address}/24 dev {_DEVICE}",
            f"neigh add {neighbour.address} lladdr {neighbour.mac} dev {_DEVICE} nud permanent",
        )

    def close(self) -> None:
        if self.tap >= 0:
            os.close(self.tap)
        os.close(self._namespace)


class Link:
    """The link; its weather may change while it is up.

    Attributes:
        near, far: the two hosts.
        delay: seconds from one end to the other.
        jitter: up to so many seconds more, so that frames overtake each other.
        rate: bytes per second in each direction, for which frames wait; 0 for no limit.
        loss, doubling, damage: how many of all frames fare so, 0 to 1.
        down: nothing passes any more.
        passed, lost: frames, so far.
        last: the last TCP segment that arrived from each end, by that one's IP address.
        thread: what carries the frames.
    """

    def __init__(self, near: Host, far: Host, seed: int) -> None:
        self.near = near
        self.far = far
        self.delay = self.jitter = self.rate = self.loss = self.doubling = self.damage = 0.0
        self.down = False
        self.passed = self.lost = 0
        self.last: dict[str, Segment] = {}
        self._random = random.Random(seed)
        self._due: list[tuple[float, int, int, bytes]] = []
        self._number = itertools.count()
        self._free = {near.tap: 0.0, far.tap: 0.0}
        self._stop, self._stopped = os.pipe()
        self.thread = threading.Thread(target=self._carry, name="link")

    def start(self) -> None:
        self.thread.start()

    def stop(self) -> None:
        os.close(self._stopped)
        if self.thread.is_alive():
            self.thread.join()
        os.close(self._stop)

    def _carry(self) -> None:
        ends = {self.near.tap: self.far.tap, self.far.tap: self.near.tap}
        while True:
            wait = max(0.0, self._due[0][0] - time.monotonic()) if self._due else None
            ready, _, _ = select.select([self._stop, *ends], [], [], wait)
            if self._stop in ready:
                return
            for tap in ready:
                self._take(tap, ends[tap])
            while self._due and self._due[0][0] <= time.monotonic():
                _, _, target, frame = heapq.heappop(self._due)
                self._deliver(target, frame)

    def _take(self, source: int, target: int) -> None:
        for _ in range(64):
            try:
                frame = os.read(source, MTU + 64)
            except BlockingIOError:
                return
            if self.down or self._random.random() < self.loss:
                self.lost += 1
                continue
            if self._random.random() < self.damage:
                frame = self._damaged(frame)
            copies = 2 if self._random.random() < self.doubling else 1
            for _ in range(copies):
                passed = self._passes(target, len(frame))
                due = passed + self.delay + self._random.random() * self.jitter
                heapq.heappush(self._due, (due, next(self._number), target, frame))

    def _passes(self, target: int, size: int) -> float:
        """When a frame has left its end, of which only so many bytes per second can leave."""
        begins = max(time.monotonic(), self._free[target])
        self._free[target] = begins + (size / self.rate if self.rate else 0.0)
        return self._free[target]

    def _damaged(self, frame: bytes) -> bytes:
        where = self._random.randrange(min(54, len(frame) - 1), len(frame))
        return frame[:where] + bytes([frame[where] ^ 0x10]) + frame[where + 1 :]

    def _deliver(self, target: int, frame: bytes) -> None:
        self.passed += 1
        try:
            os.write(target, frame)
        except OSError:  # the host does not take it now: that is a lossy link, too
            self.lost += 1
        segment = parse(frame)
        if segment is not None:
            self.last[segment.source[0]] = segment

    def forge(self, to: Host, port: int, segment: Segment) -> None:
        """Let a host receive a segment that the other one never sent.

        Args:
            to: the host.
            port: the local port of the connection that is meant.
            segment: what it pretends to be; of its addresses only the source is used.
        """
        other = self.far if to is self.near else self.near
        os.write(to.tap, build(other, to, segment._replace(target=(to.address, port))))


@contextmanager
def two_hosts(
    *,
    delay: float = 0.0,
    jitter: float = 0.0,
    rate: float = 0.0,
    loss: float = 0.0,
    doubling: float = 0.0,
    damage: float = 0.0,
    seed: int = 0,
) -> Iterator[Link]:
    """Two hosts and a link between them.

    Args:
        delay, jitter, rate, loss, doubling, damage: see ``Link``.
        seed: of the dice.

    Raises:
        UnavailableError: this machine, or this user, cannot have one.
    """
    check_availability()
    with ExitStack() as stack:
        near, far = Host(1), Host(2)
        stack.callback(near.close)
        stack.callback(far.close)
        near.open(far)
        far.open(near)
        link = Link(near, far, seed)
        link.delay, link.jitter, link.rate, link.loss = delay, jitter, rate, loss
        link.doubling, link.damage = doubling, damage
        stack.callback(link.stop)
        link.start()
        yield link


def check_availability() -> None:
    """Find out by trying.

    Raises:
        UnavailableError: this machine, or this user, cannot have a link.
    """
    if sys.platform != "linux":
        raise UnavailableError("network namespaces are Linux's")
    if shutil.which("ip") is None:
        raise UnavailableError("the program `ip` is not installed (package iproute2)")
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        raise UnavailableError("/dev/net/tun is not there or may not be opened")
    try:
        os.close(_new_namespace())
    except OSError as exc:
        raise UnavailableError(f"no network namespace can be made: {exc.strerror}") from None


def _libc(function: str) -> Callable[..., int]:
    def call(*arguments: int) -> int:
        result: int = getattr(ctypes.CDLL(None, use_errno=True), function)(*arguments)
        if result < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return result

    return call


def _set_namespace(namespace: int) -> None:
    _libc("setns")(namespace, _CLONE_NEWNET)


def _new_namespace() -> int:
    outside = os.open(_OWN_NAMESPACE, os.O_RDONLY)
    try:
        _libc("unshare")(_CLONE_NEWNET)
        try:
            return os.open(_OWN_NAMESPACE, os.O_RDONLY)
        finally:
            _set_namespace(outside)
    finally:
        os.close(outside)


def parse(frame: bytes) -> Segment | None:
    """The TCP segment in an Ethernet frame, if there is one."""
    if len(frame) < 54 or frame[12:14] != b"\x08\x00" or frame[_IP_HEADER + 9] != _TCP:
        return None
    start = _IP_HEADER + (frame[_IP_HEADER] & 15) * 4
    (total,) = struct.unpack_from("!H", frame, _IP_HEADER + 2)
    source, target = (_text(frame[_IP_HEADER + at : _IP_HEADER + at + 4]) for at in (12, 16))
    from_port, to_port, sequence, acknowledged, offset, flags = struct.unpack_from(
        "!HHIIBB", frame, start
    )
    size = total - (start - _IP_HEADER) - (offset >> 4) * 4
    return Segment((source, from_port), (target, to_port), sequence, acknowledged, flags, size)


def _text(address: bytes) -> str:
    return ".".join(map(str, address))


def build(source: Host, target: Host, segment: Segment) -> bytes:
    """An Ethernet frame with an empty TCP segment in it, checksums and all."""
    addresses = bytes(map(int, f"{source.address}.{target.address}".split(".")))
    tcp = struct.pack(
        "!HHIIBBHHH",
        segment.source[1],
        segment.target[1],
        segment.sequence % 2**32,
        segment.acknowledged,
        5 << 4,
        segment.flags,
        0,
        0,
        0,
    )
    pseudo = addresses + struct.pack("!BBH", 0, _TCP, len(tcp))
    tcp = tcp[:16] + _checksum(pseudo + tcp) + tcp[18:]
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, 0, 64, _TCP, 0) + addresses
    header = header[:10] + _checksum(header) + header[12:]
    macs = bytes.fromhex((target.mac + source.mac).replace(":", ""))
    return macs + b"\x08\x00" + header + tcp


def _checksum(data: bytes) -> bytes:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!H", ~total & 0xFFFF)

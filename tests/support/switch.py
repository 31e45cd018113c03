"""Many hosts on one switch, which loses some of what passes.

The hosts are those of ``link``: network namespaces, each with a TAP device whose frames a thread
of ours carries; a multicast goes to all the others, each copy with a fate of its own.
"""

from __future__ import annotations

import os
import random
import select
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from .link import MTU, Host, check_availability


class Switch:
    """What connects the hosts.

    Attributes:
        hosts: all of them.
        loss: how many of all frames are lost, 0 to 1.
        cut: hosts whose cable is unplugged.
        multicast_bytes, unicast_bytes: what passed so far.
        thread: what carries the frames.
    """

    def __init__(self, hosts: list[Host], loss: float, seed: int) -> None:
        self.hosts = hosts
        self.loss = loss
        self.cut: set[Host] = set()
        self.multicast_bytes = self.unicast_bytes = 0
        self._random = random.Random(seed)
        self._stop, self._stopped = os.pipe()
        self.thread = threading.Thread(target=self._carry, name="switch")

    def stop(self) -> None:
        """End the thread."""
        os.close(self._stopped)
        if self.thread.is_alive():
            self.thread.join()
        os.close(self._stop)

    def _carry(self) -> None:
        by_tap = {host.tap: host for host in self.hosts}
        while True:
            ready, _, _ = select.select([self._stop, *by_tap], [], [])
            if self._stop in ready:
                return
            for tap in ready:
                try:
                    frame = os.read(tap, MTU + 64)
                except BlockingIOError:
                    continue
                if by_tap[tap] not in self.cut:
                    self._forward(frame, by_tap[tap])

    def _forward(self, frame: bytes, source: Host) -> None:
        is_multicast = bool(frame[0] & 1)
        if is_multicast:
            self.multicast_bytes += len(frame)
        else:
            self.unicast_bytes += len(frame)
        for host in self.hosts:
            meant = is_multicast or frame[:6].hex(":") == host.mac
            if meant and host not in self.cut | {source} and self._random.random() >= self.loss:
                try:
                    os.write(host.tap, frame)
                except OSError:  # the host does not take it now: that is loss, too
                    pass


@contextmanager
def switched_hosts(count: int, *, loss: float = 0.0, seed: int = 0) -> Iterator[Switch]:
    """So many hosts on a switch; multicasts have a route on each.

    Raises:
        UnavailableError: this machine, or this user, cannot have them.
    """
    check_availability()
    with ExitStack() as stack:
        hosts = [Host(number) for number in range(1, count + 1)]
        for host in hosts:
            stack.callback(host.close)
        for host in hosts:
            others = [other for other in hosts if other is not host]
            host.open(others[0])
            neighbours = [
                f"neigh add {other.address} lladdr {other.mac} dev link0 nud permanent"
                for other in others[1:]
            ]
            host.ip(*neighbours, "route add 224.0.0.0/4 dev link0")
        switch = Switch(hosts, loss, seed)
        stack.callback(switch.stop)
        switch.thread.start()
        yield switch

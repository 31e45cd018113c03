"""Sockets of the library's UDP kinds on the loopback interface, and raw senders beside them."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from trio_xsock import AutoDiscovery, EasyUDPSocket, Member, NetworkInterface

from . import programs
from .peers import LOOPBACK
from .waiting import until


def free_port() -> int:
    """A UDP port that nobody has."""
    return programs.free_port(socket.SOCK_DGRAM)


def raw_sender() -> socket.socket:
    """A UDP socket that sends multicasts on the loopback interface; use it in a ``with``."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(LOOPBACK))
    sock.bind((LOOPBACK, 0))
    return sock


@asynccontextmanager
async def easy_udp(port: int | None = None, **options: Any) -> AsyncIterator[EasyUDPSocket]:
    """A bound ``EasyUDPSocket``."""
    options.setdefault("network_interface", NetworkInterface.loopback())
    async with EasyUDPSocket(**options) as sock:
        await sock.bind(free_port() if port is None else port)
        yield sock


@asynccontextmanager
async def discovery(
    port: int, group: str | None = "test group", **options: Any
) -> AsyncIterator[AutoDiscovery]:
    """A bound ``AutoDiscovery``, registered where there is a group."""
    options.setdefault("network_interface", NetworkInterface.loopback())
    async with AutoDiscovery(**options) as sock:
        await sock.bind(port)
        if group is not None:
            sock.register(group)
        yield sock


class MemberListener:
    """A handler that remembers who came, who went, and what was said."""

    def __init__(self) -> None:
        self.log: list[Any] = []

    def on_member_joined(self, _: object, member: Member) -> None:
        self.log.append(f"+{member.name}")

    def on_member_left(self, _: object, member: Member) -> None:
        self.log.append(f"-{member.name}")

    def on_received_message(self, _: object, *message: Any) -> None:
        self.log.append(message)


def names(sock: AutoDiscovery) -> list[str]:
    """What the members call themselves that a socket knows."""
    return [member.name for member in sock.get_member_list()]


async def met(*socks: AutoDiscovery) -> None:
    """Wait until all know all."""
    expected = sorted(sock.name for sock in socks)
    await until(lambda: all(sorted(names(sock)) == expected for sock in socks))

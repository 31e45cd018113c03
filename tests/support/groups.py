"""Sockets of the library's UDP kinds on the loopback interface, and raw senders beside them."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from trio_xsock import AutoDiscovery, EasyUDPSocket, NetworkInterface

from . import programs
from .peers import LOOPBACK


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

"""Interfaces that go and come back, and routes that move, under members of a group.

One member is here, the other is a program on the far host, as an interface belongs to a host.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from tests.netns.conftest import MakeLink
from tests.support import until
from tests.support.groups import names
from tests.support.link import Host, Link
from trio_xsock import AutoDiscovery, network_interface

pytestmark = [pytest.mark.netns, pytest.mark.timeout(20)]

PORT = 4711
TIMES = {"heartbeat_interval": 0.2, "expiry": 1.2}
IN_TIME = 1.2 + 5 * 0.2
"""Expiry and some heartbeats; what the machine needs for itself comes on top."""
SLACK = 1.5

FAR_PROGRAM = """
import sys
import trio
from trio_xsock import AutoDiscovery, network_interface

class Listener:
    def on_member_joined(self, sock, member):
        print("+" + member.name, flush=True)
    def on_member_left(self, sock, member):
        print("-" + member.name, flush=True)

async def main():
    interface, key = network_interface(sys.argv[1]), sys.argv[2].encode() or None
    async with AutoDiscovery(4711, name="far", network_interface=interface, handler=Listener(),
                             key=key, heartbeat_interval=0.2, expiry=1.2) as sock:
        await sock.bind()
        sock.register("group")
        await trio.sleep_forever()

trio.run(main)
"""


class FarMember:
    """What the far member has seen so far: ``"+name"`` and ``"-name"``."""

    def __init__(self) -> None:
        self.log: list[str] = []

    def sees(self, name: str) -> bool:
        signs = [entry[0] for entry in self.log if entry[1:] == name]
        return bool(signs) and signs[-1] == "+"

    async def read(self, stream: trio.abc.ReceiveStream) -> None:
        buffer = b""
        async for data in stream:
            buffer += data
            *lines, buffer = buffer.split(b"\n")
            self.log += [line.decode() for line in lines]


@asynccontextmanager
async def far_member(host: Host, interface: str, key: str = "") -> AsyncIterator[FarMember]:
    """A program that is a member on the far host."""
    command = [sys.executable, "-W", "error", "-c", FAR_PROGRAM, interface, key]
    reading, writing = os.pipe()
    with host:  # Trio would start it in a thread, which is on another host
        process = subprocess.Popen(command, stdout=writing)  # noqa: ASYNC220
    os.close(writing)
    with process:
        try:
            stream = trio.lowlevel.FdStream(reading)
            async with stream, trio.open_nursery() as nursery:
                member = FarMember()
                nursery.start_soon(member.read, stream)
                await until(lambda: member.sees("far"))
                yield member
                nursery.cancel_scope.cancel()
        finally:
            process.kill()


def connect(link: Link, number: int, near: str, far: str) -> None:
    """A cable of its own between the hosts."""
    namespace = f"/proc/{os.getpid()}/fd/{link.far._namespace}"
    link.near.ip(
        f"link add {near} type veth peer name {far} netns {namespace}",
        f"addr add 10.99.{number}.1/24 dev {near}",
        f"link set {near} up",
    )
    link.far.ip(f"addr add 10.99.{number}.2/24 dev {far}", f"link set {far} up")


@asynccontextmanager
async def near_member(**options: Any) -> AsyncIterator[tuple[AutoDiscovery, list[Exception]]]:
    """A member here, and the errors that it has posted."""
    errors: list[Exception] = []

    class Handler:
        def on_error(self, _: object, error: Exception) -> None:
            errors.append(error)

    async with AutoDiscovery(PORT, name="near", handler=Handler(), **TIMES, **options) as sock:
        await sock.bind()
        sock.register("group")
        yield sock, errors


async def test_an_interface_that_is_made_again(make_link: MakeLink) -> None:
    """It has another number then. Both have left, and both join; one error tells of it."""
    link = make_link()
    connect(link, 0, "one0", "two0")
    chosen = network_interface("one0")
    async with far_member(link.far, "two0") as far, near_member(network_interface=chosen) as near:
        sock, errors = near
        with trio.fail_after(5):
            await until(lambda: far.sees("near") and names(sock) == ["near", "far"])
        link.near.ip("link del one0", "link add other0 type veth peer name other1")
        with trio.fail_after(IN_TIME + SLACK):
            await until(lambda: not far.sees("near") and names(sock) == ["near"])
        await until(lambda: len(errors) == 1)
        await trio.sleep(1.5)  # it stays away, and is not told of again
        assert len(errors) == 1
        assert "one0" in str(errors[0])
        connect(link, 0, "one0", "two0")
        with trio.fail_after(IN_TIME + SLACK):
            await until(lambda: far.sees("near") and names(sock) == ["near", "far"])
        assert len(errors) == 1
        sock.send_message(1, b"to all")


async def test_an_address_that_comes_back(make_link: MakeLink) -> None:
    """With another interface, to which a socket is bound by its address only; with a key."""
    link = make_link()
    connect(link, 0, "one0", "two0")
    options = {"address": "10.99.0.1", "key": b"a key"}
    async with far_member(link.far, "two0", "a key") as far, near_member(**options) as near:
        sock, _ = near
        with trio.fail_after(5):
            await until(lambda: far.sees("near") and names(sock) == ["near", "far"])
        link.near.ip("link del one0")
        with trio.fail_after(IN_TIME + SLACK):
            await until(lambda: not far.sees("near") and names(sock) == ["near"])
        connect(link, 0, "one0", "two0")
        with trio.fail_after(IN_TIME + SLACK):
            await until(lambda: far.sees("near") and names(sock) == ["near", "far"])


async def test_a_default_route_that_moves(make_link: MakeLink) -> None:
    """Without a chosen interface the group is heard where the routes point to now."""
    link = make_link()
    connect(link, 0, "one0", "two0")
    connect(link, 1, "one1", "two1")
    link.near.ip("route add default via 10.99.0.2")
    async with far_member(link.far, "two1") as far, near_member() as near:
        sock, errors = near
        await trio.sleep(0.5)
        assert not far.sees("near")
        link.near.ip("route replace default via 10.99.1.2")
        with trio.fail_after(IN_TIME + SLACK):
            await until(lambda: far.sees("near") and names(sock) == ["near", "far"])
        with trio.fail_after(IN_TIME + SLACK):
            await until(lambda: "239.255." in groups_of("one1"))
        assert "239.255." not in groups_of("one0")
        assert errors == []


def groups_of(interface: str) -> str:
    """What the kernel hears by an interface."""
    command = ["ip", "maddr", "show", "dev", interface]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout

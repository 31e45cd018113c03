"""Five hosts on a network that loses a tenth of all packets.

It is short in the ordinary run, with more frequent heartbeats instead; in full, a minute with the
ordinary ones, with ``TRIO_XSOCK_FULL_NETNS=1`` in the environment.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
import trio

from tests.support.link import Host, UnavailableError
from tests.support.switch import Switch, switched_hosts
from trio_xsock import AutoDiscovery, Member

FULL = os.environ.get("TRIO_XSOCK_FULL_NETNS") == "1"
QUIET = 60.0 if FULL else 3.5
TIMES = {} if FULL else {"heartbeat_interval": 0.2, "expiry": 1.2}
EXPIRY = 6.0 if FULL else 1.2
PORT = 4711
KEY = b"a key"

pytestmark = [pytest.mark.netns, pytest.mark.timeout(150 if FULL else 20)]


@pytest.fixture
def switch() -> Iterator[Switch]:
    """Five hosts; skipped where there can be none."""
    try:
        with switched_hosts(5, loss=0.1, seed=7) as switch:
            yield switch
    except UnavailableError as exc:
        pytest.skip(str(exc))


class Log:
    """A handler that remembers who came and went, and when."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, float]] = []

    def on_member_joined(self, _: object, member: Member) -> None:
        self.entries.append((f"+{member.name}", trio.current_time()))

    def on_member_left(self, _: object, member: Member) -> None:
        self.entries.append((f"-{member.name}", trio.current_time()))


async def start(stack: AsyncExitStack, host: Host, **options: Any) -> AutoDiscovery:
    """A member on a host, whose only address is the host's."""
    sock = AutoDiscovery(PORT, name=host.address, address=host.address, handler=Log(), **options)
    await stack.enter_async_context(sock)
    with host:
        await sock.bind()
        sock.register("five")
    return sock


def names(sock: AutoDiscovery) -> set[str]:
    return {member.name for member in sock.get_member_list()}


async def agreed(socks: list[AutoDiscovery]) -> float:
    """Wait until all know all and nobody else; how long that took."""
    began, expected = trio.current_time(), {sock.name for sock in socks}
    while not all(names(sock) == expected for sock in socks):  # noqa: ASYNC110
        await trio.sleep(0.005)
    return trio.current_time() - began


async def test_five_hosts(switch: Switch) -> None:
    """All join within 3 seconds, none flaps, a dead one expires, a leaving one goes at once."""
    async with AsyncExitStack() as stack:
        socks = [await start(stack, host, key=KEY, **TIMES) for host in switch.hosts]
        assert await agreed(socks) < 3
        logs = [list(sock.handler.entries) for sock in socks]
        assert [len(log) for log in logs] == [5] * 5
        await trio.sleep(QUIET)
        assert [sock.handler.entries for sock in socks] == logs, "somebody flapped"
        switch.cut.add(switch.hosts[0])
        others = socks[1:]
        assert EXPIRY * 0.5 < await agreed(others) < EXPIRY * 1.5 + 0.5
        switch.loss = 0.0  # all three farewells may be lost, one time in a thousand
        began = trio.current_time()
        others[0].close()
        await agreed(others[1:])
        assert trio.current_time() - began < 0.3
        for log in (sock.handler.entries for sock in others[1:]):
            for name in {entry[1:] for entry, _ in log}:
                signs = [entry[0] for entry, _ in log if entry[1:] == name]
                assert signs == list(itertools.islice("+-", len(signs)))

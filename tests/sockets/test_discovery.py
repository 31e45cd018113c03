"""``AutoDiscovery`` on the loopback interface: two programs on one machine are two members."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import pytest
import trio

from tests.support import until
from tests.support.datagrams import RawUDP
from tests.support.groups import MemberListener, discovery, free_port, met, names
from tests.support.peers import LOOPBACK
from trio_xsock import (
    AutoDiscovery,
    InvalidPortError,
    Member,
    NameResolutionError,
)
from trio_xsock._engine.datagram_outlet import DatagramOutlet
from trio_xsock._engine.datagram_requests import write
from trio_xsock._machines.udp_groups import Group
from trio_xsock._network.udp_port import Port
from trio_xsock._network.udp_system import SystemPort


@pytest.mark.parametrize("key", [None, b"a key"], ids=["open", "key"])
async def test_two_programs_on_one_machine(key: bytes | None) -> None:
    """They find each other at once, talk to all and to one, and miss who leaves at once."""
    port, listener = free_port(), MemberListener()
    async with discovery(port, name="one", key=key, handler=listener) as one:
        async with discovery(port, name="two", key=key, metadata={"room": "2"}) as two:
            with trio.fail_after(3):
                await met(one, two)
            assert one.port == two.port == port
            assert one.local_port != two.local_port
            (myself, other) = one.get_member_list()
            assert (myself.name, myself.port) == ("one", one.local_port)
            assert other == Member(
                other.instance_id, LOOPBACK, two.local_port, "two", {"room": "2"}
            )
            one.send_message(1, "to all")
            assert await two.wait_for_message(1) == b"to all"
            one.send_message_to_group("test group", 2, b"to all")
            assert await two.wait_for_message(2, LOOPBACK) == b"to all"
            one.send_message_to_individual(other, 3, b"to one")
            assert await two.wait_for_message(3) == b"to one"
            one.send_message_to_individual(LOOPBACK, 4, port=two.local_port)
            assert await two.wait_for_message(4) == b""
            two.send_message_to_individual(LOOPBACK, 5)  # to all there, ourselves too
            await until(lambda: len(listener.log) == 3)
            two.update_member_list()
            assert names(two) == ["two", "one"]
        await until(lambda: len(listener.log) == 4)
        assert listener.log == ["+one", "+two", (LOOPBACK, other.port, 5, b""), "-two"]
        assert names(one) == ["one"]


async def test_another_program_begins_at_the_same_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """It finds the port while we are about to join the group, and may have it, too."""
    port, others = free_port(), []
    join = SystemPort.join

    def join_beside_another(self: SystemPort, group: Group) -> Port | None:
        with RawUDP("", port, shared=True) as other:
            others.append(other)
        return join(self, group)

    monkeypatch.setattr(SystemPort, "join", join_beside_another)
    async with discovery(port):
        assert len(others) == 1


@pytest.mark.parametrize("key", [None, b"a key"], ids=["open", "key"])
async def test_a_message_to_one_is_for_nobody_else(
    key: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Recorded, and played to another from the true address, it is not delivered."""
    port = free_port()
    async with (
        discovery(port, name="one", key=key) as one,
        discovery(port, name="two", key=key) as two,
        discovery(port, name="three", key=key) as three,
    ):
        await met(one, two, three)
        sent: list[bytes] = []
        send = DatagramOutlet.send_now

        def record(outlet: DatagramOutlet, route: Any, data: bytes, **again: bool) -> bool:
            sent.append(data)
            return send(outlet, route, data, **again)

        others = {member.name: member for member in one.get_member_list()}
        with monkeypatch.context() as patched:
            patched.setattr(DatagramOutlet, "send_now", record)
            one.send_message_to_individual(others["two"], 1, b"pay")
        assert await two.wait_for_message(1) == b"pay"
        write(one._datagrams, LOOPBACK, sent[0], three.local_port, "", one)
        one.send_message_to_individual(LOOPBACK, 2, b"after it", three.local_port)
        assert await three.wait_for_message(2) == b"after it"
        assert three.messages_available == 0


async def test_messages_to_one_that_cannot_be_sent() -> None:
    """Refused at once, by type or value; to an address of no member only where all may listen."""
    async with discovery(free_port(), name="one") as one:
        me = one.get_member_list()[0]
        nobody = Member("not hexadecimal", LOOPBACK, 5)
        one.send_message_to_individual(LOOPBACK, 1, b"", me.port)  # a port that is known
        for arguments, error in (
            ((LOOPBACK, "1"), TypeError),
            ((LOOPBACK, -1), ValueError),
            ((LOOPBACK, 1, ("a",)), TypeError),
            ((5, 1), TypeError),
            ((b"127.0.0.1", 1), TypeError),
            ((LOOPBACK, 1, b"", float(me.port)), TypeError),
            (("printer", 1), NameResolutionError),
            (("printer", 1, b"", 5), NameResolutionError),
            ((LOOPBACK, 1, b"", 0), InvalidPortError),
            ((LOOPBACK, 1, b"", 65536), InvalidPortError),
            ((me, 1, b"", 5), ValueError),
            ((nobody, 1), ValueError),
            ((dataclasses.replace(me, instance_id="ab"), 1), ValueError),
        ):
            with pytest.raises(error):
                one.send_message_to_individual(*arguments)  # type: ignore[arg-type]
        for call in (one.register, one.unregister, lambda name: one.send_message_to_group(name, 1)):
            for name, error in ((5, TypeError), ("", ValueError), ("x" * 65, ValueError)):
                with pytest.raises(error):
                    call(name)
        before = one.statistics().packets_out
        one.send_message_to_individual("127.0.0.77", 1)
        assert one.statistics().packets_out == before
        with RawUDP() as peer:
            one.send_message_to_individual(LOOPBACK, 1, b"hello", peer.port)
            assert (await peer.receive())[0].endswith(b"hello")
    async with discovery(free_port(), name="one", key=b"a key") as one:
        before = one.statistics().packets_out
        one.send_message_to_individual(LOOPBACK, 1, b"hello", 5)
        assert one.statistics().packets_out == before


def test_options_are_attributes() -> None:
    """Those that the others see are set once."""
    sock = AutoDiscovery(5, name="a", metadata={"b": "c"}, heartbeat_interval=2, expiry=9)
    assert (sock.port, sock.name, dict(sock.metadata)) == (5, "a", {"b": "c"})
    assert (sock.heartbeat_interval, sock.expiry, sock.group) == (2, 9, "")
    assert repr(sock).startswith("<AutoDiscovery closed, port 5")


async def test_a_member_does_not_expire_while_we_stand_still() -> None:
    """What it said meanwhile is heard first; if it could say nothing, it gets the time to."""
    port, listener = free_port(), MemberListener()
    times = {"heartbeat_interval": 0.1, "expiry": 0.4}
    async with (
        discovery(port, name="one", handler=listener, **times) as one,
        discovery(port, name="two", **times) as two,
    ):
        await met(one, two)
        for _ in range(2):
            time.sleep(0.8)  # noqa: ASYNC251 - as a slow callback does
            await trio.sleep(0.3)
        assert listener.log == ["+one", "+two"]
        assert names(two) == ["two", "one"]


def test_groups_are_looked_after_more_often_than_members_expire() -> None:
    """Three times before the others take us for gone; at most every two seconds."""
    intervals = [
        AutoDiscovery(heartbeat_interval=expiry / 3, expiry=expiry)._datagrams.renewal.interval
        for expiry in (1.5, 6.0, 60.0)
    ]
    assert intervals == [0.5, 2.0, 2.0]

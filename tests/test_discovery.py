"""``AutoDiscovery`` on the loopback interface: two programs on one machine are two members."""

from __future__ import annotations

import errno
import socket
from typing import Any

import pytest
import trio
import trio.testing

from tests.support import until
from tests.support.groups import discovery, free_port, raw_sender
from tests.support.peers import LOOPBACK
from trio_xsock import (
    AddressInUseError,
    AutoDiscovery,
    Connected,
    InvalidPortError,
    InvalidStateError,
    Member,
    MemberJoined,
    MemberLeft,
    NetworkInterface,
    ReceivedMessage,
    SocketClosedError,
    SocketError,
)
from trio_xsock._easy_udp import group_address
from trio_xsock._udp_system import SystemPort

KEY = b"a key"
keys = pytest.mark.parametrize("key", [None, KEY], ids=["open", "key"])


class Listener:
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
    return [member.name for member in sock.get_member_list()]


async def met(*socks: AutoDiscovery) -> None:
    """Wait until all know all."""
    expected = sorted(sock.name for sock in socks)
    await until(lambda: all(sorted(names(sock)) == expected for sock in socks))


@keys
async def test_two_programs_on_one_machine(key: bytes | None) -> None:
    """They find each other at once, talk to all and to one, and miss who leaves at once."""
    port, listener = free_port(), Listener()
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


async def test_events_on_channels() -> None:
    """Members for those who ask, early or late; what came and went meanwhile is not told."""
    port = free_port()
    async with discovery(port, name="one") as one:
        early = one.events
        async with discovery(port, name="two") as two, discovery(port, name="three") as three:
            await met(one, two, three)
            late = one.subscribe()
            for channel in (early, late):
                assert await channel.receive() == Connected(one)
                joined = [await channel.receive() for _ in range(3)]
                assert joined[0].member.name == "one"
                assert {event.member.name for event in joined} == {"one", "two", "three"}
                assert all(isinstance(event, MemberJoined) for event in joined)
            two.send_message(7, b"hello")
            event = await early.receive()
            assert event == ReceivedMessage(one, 7, b"hello", LOOPBACK, two.local_port)
            assert late.statistics().current_buffer_used == 0
        await until(lambda: names(one) == ["one"])
        async with discovery(port, name="four") as four:
            await met(one, four)
            left = [await early.receive() for _ in range(3)]
        assert [(type(event), event.member.name) for event in left[:2]] in (
            [(MemberLeft, "two"), (MemberLeft, "three")],
            [(MemberLeft, "three"), (MemberLeft, "two")],
        )
        assert (type(left[2]), left[2].member.name) == (MemberJoined, "four")
        await until(lambda: names(one) == ["one"])
        assert isinstance(await early.receive(), MemberLeft)
        rest = [await late.receive() for _ in range(2)]
        assert {(type(event), event.member.name) for event in rest} == {
            (MemberLeft, "two"),
            (MemberLeft, "three"),
        }


async def test_who_came_and_went_unseen_is_told_of_once() -> None:
    """If nothing else holds: first that it came, then that it went."""
    port = free_port()
    async with discovery(port, name="one") as one:
        channel = one.events
        assert [type(await channel.receive()) for _ in range(2)] == [Connected, MemberJoined]
        async with discovery(port, name="two") as two:
            await met(one, two)
        await until(lambda: names(one) == ["one"])
        events = [await channel.receive() for _ in range(2)]
        assert [type(event) for event in events] == [MemberJoined, MemberLeft]
        with pytest.raises(trio.WouldBlock):
            channel.receive_nowait()


async def test_a_silent_member_expires() -> None:
    """One that was killed: its port is gone, and nothing more comes from it."""
    port, listener = free_port(), Listener()
    fast = {"heartbeat_interval": 0.05, "expiry": 0.3}
    async with discovery(port, name="one", handler=listener, **fast) as one:
        async with discovery(port, name="two", **fast) as two:
            await met(one, two)
            two._machine = None  # as if the process were stopped
            began = trio.current_time()
            await until(lambda: names(one) == ["one"])
            assert 0.2 < trio.current_time() - began < 3
        assert listener.log == ["+one", "+two", "-two"]


async def test_registering_and_leaving_again() -> None:
    """One group at a time; leaving says goodbye to all, and the port can be had by others."""
    port, listener = free_port(), Listener()
    async with discovery(port, name="one", handler=listener) as one:
        async with discovery(port, name="two") as two:
            await met(one, two)
            one.register("test group")
            with pytest.raises(InvalidStateError, match="registered with 'test group'"):
                one.register("another")
            one.unregister("another")
            assert one.group == "test group"
            one.unregister("test group")
            assert (one.group, one.get_member_list()) == ("", [])
            await until(lambda: names(two) == ["two"])
            with pytest.raises(InvalidStateError, match="not registered"):
                one.send_message(1)
            with pytest.raises(InvalidStateError, match="not registered"):
                one.update_member_list()
            one.register("another")
            two.unregister("test group")
            two.register("another")
            await met(one, two)
            with pytest.raises(InvalidStateError, match="not registered with 'test group'"):
                one.send_message_to_group("test group", 1)
        await until(lambda: listener.log[-1] == "-two")
    assert listener.log == ["+one", "+two", "-two", "-one", "+one", "+two", "-two"]


async def test_other_groups_keys_and_ports_are_not_seen() -> None:
    """Nothing that they say gets through."""
    port = free_port()
    async with (
        discovery(port, name="one", key=KEY) as one,
        discovery(port, "other group", name="two", key=KEY),
        discovery(port, name="three", key=b"another key") as three,
        discovery(free_port(), name="four", key=KEY),
        discovery(port, name="five", key=KEY) as five,
    ):
        three.send_message(1, b"not for you")
        await met(one, five)
        five.send_message(2, b"for you")
        assert await one.wait_for_message(2) == b"for you"
        assert one.messages_available == 0
        assert names(three) == ["three"]


async def test_hostile_packets_change_nothing() -> None:
    """Sent to either port, with a key set: no event, no answer."""
    port = free_port()
    async with (
        discovery(port, name="one", key=KEY) as one,
        discovery(port, name="two", key=KEY) as two,
    ):
        await met(one, two)
        channel = one.subscribe()
        while channel.statistics().current_buffer_used:
            channel.receive_nowait()
        before = one.statistics().packets_in
        with raw_sender() as peer:
            recorded = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            with recorded:
                recorded.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                recorded.bind(("", port))
                group = socket.inet_aton(group_address("test group"))
                recorded.setsockopt(
                    socket.IPPROTO_IP,
                    socket.IP_ADD_MEMBERSHIP,
                    group + socket.inet_aton(LOOPBACK),
                )
                recorded.settimeout(5)
                packet, _ = await trio.to_thread.run_sync(recorded.recvfrom, 2000)
            packets = [packet, packet[:-1], b"", b"XU\x01\x01", packet[:-1] + b"\0"]
            for data in packets:
                peer.sendto(data, (LOOPBACK, one.local_port))
                peer.sendto(data, (group_address("test group"), port))
            await until(lambda: one.statistics().packets_in >= before + 2 * len(packets))
        with pytest.raises(trio.WouldBlock):
            channel.receive_nowait()
        assert names(one) == ["one", "two"]


async def test_the_port_must_be_one_that_others_can_know() -> None:
    """Not 0, in range, and shared by all who have it."""
    async with AutoDiscovery(network_interface=NetworkInterface.loopback()) as sock:
        with pytest.raises(InvalidPortError):
            await sock.bind()
        with pytest.raises(InvalidPortError):
            await sock.bind(0)
        with pytest.raises(InvalidStateError, match="not bound"):
            sock.register("group")
        sock.port = free_port()
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as other:
            other.bind(("::", sock.port))
            await sock.bind()
            with pytest.raises(AddressInUseError, match=r"cannot join 239\.255"):
                sock.register("group")
            assert sock.get_member_list() == []
        sock.register("group")
        assert len(sock.get_member_list()) == 1
        with pytest.raises(InvalidStateError):
            sock.port = 5
        sock.close()
        assert sock.get_member_list() == []
        with pytest.raises(SocketClosedError):
            sock.register("group")
        await sock.bind()
        sock.register("group")


async def test_bound_to_an_address() -> None:
    """Without an interface being named: the one that has it."""
    port = free_port()
    local = {"address": LOOPBACK, "network_interface": None}
    async with discovery(port, name="one", **local) as one:
        async with discovery(port, name="two", **local) as two:
            await met(one, two)
            assert {member.address for member in one.get_member_list()} == {LOOPBACK}
        await until(lambda: names(one) == ["one"])


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"name": "x" * 65}, ValueError),
        ({"name": 5}, TypeError),
        ({"metadata": {"a": 1}}, TypeError),
        ({"key": "text"}, TypeError),
        ({"key": b""}, ValueError),
        ({"heartbeat_interval": 0}, ValueError),
        ({"heartbeat_interval": 601, "expiry": 3000}, ValueError),
        ({"expiry": 1}, ValueError),
        ({"expiry": 4000}, ValueError),
        ({"maximum_members": 0}, ValueError),
        ({"port": 65536}, InvalidPortError),
    ],
)
def test_options_that_are_none(options: Any, error: type[Exception]) -> None:
    """Refused at construction, by type or by value."""
    with pytest.raises(error):
        AutoDiscovery(**options)


def test_options_are_attributes() -> None:
    """Those that the others see are set once."""
    sock = AutoDiscovery(5, name="a", metadata={"b": "c"}, heartbeat_interval=2, expiry=9)
    assert (sock.port, sock.name, dict(sock.metadata)) == (5, "a", {"b": "c"})
    assert (sock.heartbeat_interval, sock.expiry, sock.group) == (2, 9, "")
    assert repr(sock).startswith("<AutoDiscovery closed, port 5")


async def test_a_network_that_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Joining raises and leaves nothing; announcements that cannot go are as good as lost."""
    port = free_port()
    async with discovery(port, None, name="one") as one:

        def refuse(*_: object) -> None:
            raise OSError(errno.ENODEV, "no such device")

        with monkeypatch.context() as patched:
            patched.setattr(SystemPort, "join", refuse)
            with pytest.raises(SocketError, match="cannot join") as caught:
                one.register("test group")
            assert caught.value.errno == errno.ENODEV
            assert (one.group, one.get_member_list()) == ("", [])
        one.register("test group")
        refused: list[object] = []

        def no_way(*arguments: object, **_: object) -> bool:
            refused.append(arguments)
            raise SocketError("the network is down")

        with monkeypatch.context() as patched:
            patched.setattr(AutoDiscovery, "_send_now", no_way)
            one.update_member_list()
            assert refused
        async with discovery(port, name="two") as two:
            await met(one, two)

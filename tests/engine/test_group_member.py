"""Being a member on the loopback interface: registering, two ports, and what others send."""

from __future__ import annotations

import errno
import math
import socket
from typing import Any, cast

import pytest
import trio

from tests.support import until
from tests.support.datagrams import RawUDP
from tests.support.fake_ports import SOMEBODY, FakePort, fake_delivery, why
from tests.support.groups import MemberListener, discovery, free_port, met, names, raw_sender
from tests.support.peers import LOOPBACK
from trio_xsock import (
    AddressInUseError,
    AutoDiscovery,
    InvalidPortError,
    InvalidStateError,
    NetworkInterface,
    SocketClosedError,
    SocketError,
)
from trio_xsock._engine.datagram_outlet import DatagramOutlet
from trio_xsock._engine.group_inbox import GroupInbox
from trio_xsock._engine.group_member import GroupMember
from trio_xsock._machines.endpoint import ResolvedAddress
from trio_xsock._machines.member_packets import Settings
from trio_xsock._machines.packets import NONE, Identity, Kind, Packet, decode, encode
from trio_xsock._machines.udp_groups import group_address
from trio_xsock._network.udp_system import SystemPort
from trio_xsock._runtime.member_events import MemberHub

KEY = b"a key"


async def test_a_silent_member_expires() -> None:
    """One that was killed: its port is gone, and nothing more comes from it."""
    port, listener = free_port(), MemberListener()
    fast = {"heartbeat_interval": 0.05, "expiry": 0.3}
    async with discovery(port, name="one", handler=listener, **fast) as one:
        async with discovery(port, name="two", **fast) as two:
            await met(one, two)
            two._member.machine = None  # as if the process were stopped
            began = trio.current_time()
            await until(lambda: names(one) == ["one"])
            assert 0.2 < trio.current_time() - began < 3
        assert listener.log == ["+one", "+two", "-two"]


async def test_registering_and_leaving_again() -> None:
    """One group at a time; leaving says goodbye to all, and the port can be had by others."""
    port, listener = free_port(), MemberListener()
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


async def test_strangers_get_one_answer_and_no_more_than_they_sent() -> None:
    """A short announcement gets none, a whole one gets one of its size, and nothing follows."""
    fast = {"heartbeat_interval": 0.02, "expiry": 0.6}
    async with discovery(free_port(), name="one", **fast) as one:
        identity = Identity(True, 3_600_000, "forged", {})
        packet = Packet(Kind.ANNOUNCE, "test group", b"s" * 16, 1, identity=identity)
        with RawUDP() as peer:
            data = encode(packet, None)
            peer.send(data.rstrip(b"\0") + b"\0", one.local_port)
            peer.send(data[:-1], one.local_port)
            peer.send(data, one.local_port)
            answer, _, port = await peer.receive()
            assert (len(answer), port) == (len(data), one.local_port)
            assert decode(answer).kind is Kind.CHALLENGE
            assert names(one) == ["one", "forged"]
            await until(lambda: names(one) == ["one"])
            peer.send(data, one.local_port)
            before = decode(answer).counter
            answer, _, _ = await peer.receive()
            assert decode(answer).kind is Kind.CHALLENGE
            assert decode(answer).counter > before + 5  # announcements to the group, all of them
            assert names(one) == ["one", "forged"]
            with pytest.raises(BlockingIOError):
                peer.sock.recv(2000)


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
            patched.setattr(DatagramOutlet, "send_now", no_way)
            one.update_member_list()
            assert refused
        async with discovery(port, name="two") as two:
            await met(one, two)


# The member alone, without an operating system


class Alone:
    """A member, what it sends, and who is in its group."""

    def __init__(self, **settings: Any) -> None:
        self.hub = MemberHub()
        delivery = fake_delivery(self.hub)
        self.keeper: Any = delivery.keeper
        self.port = FakePort()
        outlet = DatagramOutlet(delivery)
        outlet.attach(self.port, cast(Any, self.port.watched))
        inbox = GroupInbox(delivery, self.hub, 10)
        self.member = GroupMember(
            delivery, inbox, outlet, self.hub.members, Settings(name="me", **settings)
        )
        self.way = outlet.route(ResolvedAddress(socket.AF_INET, ("239.255.1.2", 9)), "")

    def join(self) -> None:
        self.member.join("orchard", self.way, "192.0.2.9", 4711, trio.current_time())

    def kinds(self) -> list[Kind]:
        """What was sent since the last call."""
        sent, self.port.sent = self.port.sent, []
        return [decode(data, None).kind for data, _ in sent]


async def test_a_member_announces_itself_and_says_goodbye() -> None:
    """Leaving tells of all who were there; the end of the socket tells nobody here."""
    alone = Alone()
    member = alone.member
    assert member.deadline == math.inf
    alone.join()
    assert (member.group, [each.name for each in member.members.values()]) == ("orchard", ["me"])
    assert alone.kinds() == [Kind.ANNOUNCE]
    assert member.deadline < math.inf
    assert alone.keeper.woken
    member.leave()
    assert alone.kinds() == [Kind.GOODBYE] * 3
    assert (member.group, dict(member.members), member.deadline) == ("", {}, math.inf)
    member.leave()
    alone.join()
    alone.kinds()
    channel = alone.hub.subscribe(list)
    member.stop(why)
    assert alone.kinds() == [Kind.GOODBYE] * 3
    assert (member.group, dict(member.members)) == ("", {})
    with pytest.raises(trio.WouldBlock):
        channel.receive_nowait()


async def test_time_is_told_to_the_machine_only_when_it_is_due() -> None:
    """Then it announces itself again."""
    alone = Alone()
    alone.member.tick(trio.current_time())
    alone.join()
    alone.kinds()
    due = alone.member.deadline
    alone.member.tick(due - 0.01)
    assert alone.kinds() == []
    alone.member.tick(due)
    assert alone.kinds() == [Kind.ANNOUNCE]
    assert alone.member.deadline > due


async def test_packets_before_joining_are_for_nobody() -> None:
    """After that the machine looks at them; an answer goes to where they came from."""
    alone = Alone()
    identity = Identity(True, 3_600_000, "other", {})
    packet = encode(Packet(Kind.ANNOUNCE, "orchard", b"s" * 16, 1, identity=identity), None)
    alone.member.take_in([(packet, SOMEBODY)])
    assert dict(alone.member.members) == {}
    alone.join()
    alone.port.sent.clear()
    alone.member.take_in([(packet, SOMEBODY)])
    assert [each.name for each in alone.member.members.values()] == ["me", "other"]
    assert [address for _, address in alone.port.sent] == [SOMEBODY]
    assert alone.member.arrivals.received == 2


async def test_whom_a_message_is_for() -> None:
    """One member, all at an address, a stranger there if anybody may listen."""
    alone = Alone()
    alone.join()
    (me,) = alone.member.members.values()
    instance = bytes.fromhex(me.instance_id)
    assert alone.member.recipients(me, None) == [(instance, "192.0.2.9", 4711)]
    assert alone.member.recipients("192.0.2.9", None) == [(instance, "192.0.2.9", 4711)]
    assert alone.member.recipients("192.0.2.9", 5) == [(NONE, "192.0.2.9", 5)]
    assert alone.member.recipients("192.0.2.1", None) == []
    with pytest.raises(ValueError, match="leave out port"):
        alone.member.recipients(me, 5)
    assert Alone(key=b"a key").member.recipients("192.0.2.9", 5) == []


async def test_the_keeper_task_is_woken_only_for_an_earlier_deadline() -> None:
    """A message changes nothing of it; a question to all does."""
    alone = Alone()
    alone.join()
    now = trio.current_time()
    for after in (0, 1, 2, 3):
        alone.member.tick(now + after)
    before = alone.keeper.woken
    packet = Packet(Kind.MESSAGE, "orchard", b"s" * 16, 1)
    alone.member.take_in([(encode(packet, None), SOMEBODY)])
    assert alone.keeper.woken == before
    machine = alone.member.machine
    assert machine is not None
    alone.member.update(machine, now + 3)
    assert alone.keeper.woken > before


async def test_leaving_gives_the_shared_port_back() -> None:
    """Others may have it alone then."""
    port = free_port()
    async with discovery(port, name="one") as one:
        one.unregister("test group")
        with RawUDP("0.0.0.0", port):
            pass
        one.register("test group")
        with pytest.raises(OSError):
            RawUDP("0.0.0.0", port)

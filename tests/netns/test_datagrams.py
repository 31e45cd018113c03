"""Datagrams between two hosts: groups, broadcasts, zones, and networks that come and go."""

from __future__ import annotations

import dataclasses
import errno
import json
import socket
import subprocess
from collections import Counter

import pytest
import trio

from tests.netns.conftest import MakeLink
from tests.support import until
from tests.support.datagrams import RawUDP, bound
from tests.support.link import Host, Link
from trio_xsock import (
    Datagram,
    ErrorOccurred,
    NetworkInterface,
    SocketError,
    UDPSocket,
    network_interface,
    network_interfaces,
)
from trio_xsock._network.interface import broadcast_address

pytestmark = pytest.mark.netns

GROUP = "239.88.0.1"
PORT = 4711
DEVICE = "link0"


@pytest.fixture
def link(make_link: MakeLink) -> Link:
    """Two hosts; the test is on the near one."""
    return make_link()


def far_peer(link: Link, port: int = PORT) -> RawUDP:
    """A raw socket on the far host, which sends its multicasts by the link."""
    with link.far:
        peer = RawUDP("0.0.0.0", port)
        peer.send_multicasts_by(socket.if_nametoindex(DEVICE))
    return peer


def join_far(link: Link, peer: RawUDP, group: str = GROUP) -> None:
    with link.far:
        peer.join(group, socket.if_nametoindex(DEVICE))


async def test_a_group_across_the_link(link: Link) -> None:
    """Each way; the far host hears us, we do not hear ourselves, and only groups we joined."""
    with far_peer(link) as peer:
        join_far(link, peer)
        async with bound(PORT, address="", network_interface=network_interface(DEVICE)) as sock:
            assert sock.join_multicast_group(GROUP)
            sock.write_to(GROUP, b"question")
            assert await peer.receive() == (b"question", link.near.address, PORT)
            peer.send(b"not for you", PORT, "239.88.0.2")
            peer.send(b"answer", PORT, GROUP)
            assert await sock.receive() == Datagram(link.far.address, PORT, b"answer")
            assert sock.packets_available == 0


async def test_hops_keep_multicasts_on_this_host(link: Link) -> None:
    """The time to live is what ``router_hops`` says, 0 does not leave the host at all."""
    with far_peer(link) as peer, RawUDP("0.0.0.0", PORT) as neighbour:
        join_far(link, peer)
        neighbour.join(GROUP, socket.if_nametoindex(DEVICE))
        async with bound(address="", network_interface=network_interface(DEVICE)) as sock:
            sock.write_to(GROUP, b"32", PORT)
            assert await peer.hops_of_next() == 32
            assert (await neighbour.receive())[0] == b"32"
            sock.router_hops = 0
            sock.write_to(GROUP, b"0", PORT)
            assert (await neighbour.receive())[0] == b"0"
            sock.router_hops = 9
            sock.write_to(GROUP, b"9", PORT)
            assert await peer.hops_of_next() == 9


async def test_broadcasts_across_the_link(link: Link) -> None:
    """F73: to the address computed from the mask, though the device has no broadcast address."""
    with far_peer(link) as peer:
        async with bound(PORT, address="", network_interface=network_interface(DEVICE)) as sock:
            assert sock.broadcast_address == "10.88.0.255"
            for address in (sock.broadcast_address, "255.255.255.255"):
                sock.write_to(address, address.encode())
                assert await peer.receive() == (address.encode(), link.near.address, PORT)
                assert (await sock.receive()).address == link.near.address  # ourselves
                peer.send(b"here", PORT, "10.88.0.255")
                assert (await peer.receive())[1] == link.far.address  # so does the peer
                assert await sock.receive() == Datagram(link.far.address, PORT, b"here")


async def test_without_a_way_it_says_so_and_works_when_there_is_one(link: Link) -> None:
    """F70: no default route, the device down, and up again."""
    with far_peer(link) as peer:
        join_far(link, peer)
        async with bound(address="") as sock:
            for address in (GROUP, "255.255.255.255", "198.51.100.1"):
                with pytest.raises(SocketError, match="check the routes") as caught:
                    sock.write_to(address, b"data", PORT)
                assert caught.value.errno == errno.ENETUNREACH
            sock.write_to(link.far.address, b"1", PORT)
            assert (await peer.receive())[0] == b"1"
            link.near.ip(f"link set {DEVICE} down")
            with pytest.raises(SocketError) as caught:
                sock.write_to(link.far.address, b"2", PORT)
            assert caught.value.errno == errno.ENETUNREACH
            assert sock.is_connected
            link.near.ip(
                f"link set {DEVICE} up",
                f"neigh replace {link.far.address} lladdr {link.far.mac} dev {DEVICE}",
                "route add default via " + link.far.address,
            )
            sock.write_to(link.far.address, b"3", PORT)
            assert (await peer.receive())[0] == b"3"
            sock.write_to(GROUP, b"4", PORT)
            assert (await peer.receive())[0] == b"4"


async def test_an_interface_that_is_removed_and_made_again(link: Link) -> None:
    """F70: sends fail while it is gone; when it is back, sending joins the groups again, too."""
    add = "link add one0 type veth peer name two0"
    up = ("addr add 10.99.0.1/24 dev one0", "link set one0 up", "link set two0 up")
    link.near.ip(add, *up)
    async with bound(PORT, address="", network_interface=network_interface("one0")) as sock:
        assert sock.join_multicast_group(GROUP)
        sock.send_to_self = True
        sock.write_to(GROUP, b"before")
        assert (await sock.receive()).data == b"before"
        link.near.ip("link del one0")
        with pytest.raises(SocketError):
            sock.write_to(GROUP, b"meanwhile")
        with trio.move_on_after(0.01):
            await sock.receive()
        link.near.ip("link add other0 type veth peer name other1", add, *up)  # another number
        sock.write_to(GROUP, b"after")
        assert await sock.receive() == Datagram("10.99.0.1", PORT, b"after")


async def test_memberships_follow_an_interface_that_is_made_again(link: Link) -> None:
    """Without a word from us, and its absence is posted once."""
    add = "link add one0 type veth peer name two0"
    up = ("addr add 10.99.0.1/24 dev one0", "link set one0 up", "link set two0 up")
    link.near.ip(add, *up)
    async with bound(PORT, address="", network_interface=network_interface("one0")) as sock:
        assert sock.join_multicast_group(GROUP)
        with sock.subscribe() as events:
            link.near.ip("link del one0")
            with trio.fail_after(15):
                async for event in events:
                    if isinstance(event, ErrorOccurred):
                        break
            assert "one0" in str(sock.last_error)
            link.near.ip("link add other0 type veth peer name other1", add, *up)
            await until(lambda: is_member("one0"))


async def test_memberships_follow_the_routes(link: Link) -> None:
    """No interface is chosen, and the route to the group moves."""
    link.near.ip(
        "link add one0 type veth peer name two0",
        "addr add 10.99.0.1/24 dev one0",
        "link set one0 up",
        "link set two0 up",
        f"route add 239.0.0.0/8 dev {DEVICE}",
    )
    async with bound(PORT, address="") as sock:
        assert sock.join_multicast_group(GROUP)
        assert is_member(DEVICE)
        link.near.ip("route replace 239.0.0.0/8 dev one0")
        await until(lambda: is_member("one0"))
        assert not is_member(DEVICE)


def is_member(device: str) -> bool:
    """Whether the OS has a membership of ours at a device."""
    shown = subprocess.run(
        ["ip", "maddr", "show", "dev", device], capture_output=True, text=True, timeout=10
    )
    return GROUP in shown.stdout


async def test_link_local_addresses_keep_their_zone(link: Link) -> None:
    """F74: they can be answered; IPv6 groups work, by the chosen interface or by the zone."""
    for host in (link.near, link.far):
        make_link_local(host)
    await wait_for_ipv6(link)
    with link.far:
        peer = RawUDP("::", PORT)
        index = socket.if_nametoindex(DEVICE)
        peer.sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
        request = socket.inet_pton(socket.AF_INET6, "ff02::88") + index.to_bytes(4, "little")
        peer.sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, request)
    far_address = link_local(2) + f"%{DEVICE}"
    with peer:
        async with bound(address="", network_interface=network_interface(DEVICE)) as sock:
            sock.write_to(link_local(2), b"with the interface's zone", PORT)
            _, host, port = await peer.receive()
            peer.sock.sendto(b"answer", (host, port, 0, index))
            datagram = await sock.receive()
            assert datagram == Datagram(far_address, PORT, b"answer")
            assert datagram.local_address == link_local(1) + f"%{DEVICE}"
            sock.write(datagram)
            assert (await peer.receive())[0] == b"answer"
            sock.write_to("ff02::88", b"to all", PORT)
            assert (await peer.receive())[0] == b"to all"
        async with bound(address="") as sock:
            assert sock.join_multicast_group(f"ff02::99%{DEVICE}")
            peer.sock.sendto(b"group", ("ff02::99", sock.port, 0, index))
            assert await sock.receive() == Datagram(far_address, PORT, b"group")
            sock.leave_multicast_group(f"ff02::99%{DEVICE}")
            sock.write_to(f"ff02::88%{DEVICE}", b"zone", PORT)
            assert (await peer.receive())[0] == b"zone"
        async with bound(address=link_local(1) + f"%{DEVICE}") as sock:
            assert sock.local_address == link_local(1) + f"%{DEVICE}"
            assert sock.join_multicast_group("ff02::99")
            peer.sock.sendto(b"group", ("ff02::99", sock.port, 0, index))
            assert await sock.receive() == Datagram(far_address, PORT, b"group")
            sock.write_to("ff02::88", b"own", PORT)
            assert (await peer.receive())[0] == b"own"


async def test_of_several_ipv6_addresses_the_one_that_was_asked_answers(link: Link) -> None:
    """Of global ones and link-local ones, each as it was asked; a zone is shown where needed."""
    for host in (link.near, link.far):
        make_link_local(host)
    for number in (1, 2):
        link.near.ip(f"addr add fd00:88::{number}/64 dev {DEVICE} nodad")
    link.near.ip(f"addr add fe80::88:1:1/64 dev {DEVICE} nodad")
    link.far.ip(
        f"addr add fd00:88::9/64 dev {DEVICE} nodad",
        *(
            f"neigh replace {address} lladdr {link.near.mac} dev {DEVICE} nud permanent"
            for address in ("fd00:88::1", "fd00:88::2", "fe80::88:1:1")
        ),
    )
    link.near.ip(f"neigh replace fd00:88::9 lladdr {link.far.mac} dev {DEVICE} nud permanent")
    await wait_for_ipv6(link)
    async with bound(address="") as sock:
        for asked in ("fd00:88::1", "fd00:88::2", link_local(1), "fe80::88:1:1"):
            with link.far:
                peer, index = RawUDP("::"), socket.if_nametoindex(DEVICE)
            with peer:
                is_link_local = asked.startswith("fe80")
                peer.sock.connect((asked, sock.port, 0, index if is_link_local else 0))
                peer.sock.send(b"question")
                datagram = await sock.receive()
                zone = f"%{DEVICE}" if is_link_local else ""
                assert datagram.local_address == asked + zone
                sock.write(dataclasses.replace(datagram, data=b"answer"))
                assert (await peer.receive())[0] == b"answer"


def link_local(number: int) -> str:
    return f"fe80::88:{number}"


def make_link_local(host: Host) -> None:
    """Give a host an address of the kind, without the seconds of looking for duplicates."""
    with host:
        with open(f"/proc/sys/net/ipv6/conf/{DEVICE}/disable_ipv6", "w", encoding="ascii") as file:
            file.write("0")
    number = int(host.address.rpartition(".")[2])
    other = 3 - number
    mac = host.mac[:-2] + f"{other:02x}"
    host.ip(
        f"addr add {link_local(number)}/64 dev {DEVICE} nodad",
        f"neigh replace {link_local(other)} lladdr {mac} dev {DEVICE} nud permanent",
    )


async def wait_for_ipv6(link: Link) -> None:
    """It was just switched on; the first datagrams may be lost."""
    with link.far:
        far, far_index = RawUDP("::"), socket.if_nametoindex(DEVICE)
    with far, RawUDP("::") as near:
        index = socket.if_nametoindex(DEVICE)
        for sender, receiver, number, zone in ((near, far, 2, index), (far, near, 1, far_index)):
            arrived = False
            while not arrived:
                sender.sock.sendto(b"?", (link_local(number), receiver.port, 0, zone))
                with trio.move_on_after(0.05):
                    await receiver.receive()
                    arrived = True


async def test_two_interfaces_are_told_apart(link: Link) -> None:
    """What comes by the other one is not heard, not even for the same group."""
    link.near.ip(
        "link add one0 type veth peer name two0",
        "addr add 10.99.0.1/24 dev one0",
        "addr add 10.98.0.1/24 dev two0",
        "link set one0 up",
        "link set two0 up",
    )
    link.near.sysctl("conf/two0/accept_local", 1)  # what comes is from this host, too
    with far_peer(link) as peer:
        async with bound(PORT, address="", network_interface=network_interface("two0")) as sock:
            assert sock.join_multicast_group(GROUP)
            peer.send(b"by link0", PORT, GROUP)
            peer.send(b"by link0", PORT, link.near.address)
            peer.send(b"by link0", PORT, "10.88.0.255")
            with RawUDP("10.99.0.1") as neighbour:
                neighbour.send_multicasts_by(socket.if_nametoindex("one0"))
                neighbour.send(b"by one0", PORT, GROUP)
                assert (await sock.receive()).data == b"by one0"
            assert sock.packets_available == 0


async def test_a_network_that_loses_doubles_and_reorders(make_link: MakeLink) -> None:
    """F69: what arrives is delivered as it came: whole, once each, with its true sender."""
    link = make_link(loss=0.1, doubling=0.2, jitter=0.002, seed=7)
    with far_peer(link) as peer:
        async with bound(PORT, address="") as sock:
            for number in range(300):
                peer.send(b"%d" % number, PORT, link.near.address)
                if not number % 10:
                    await trio.sleep(0.001)
            taken: list[int] = []
            with trio.move_on_after(0.2) as scope:
                while True:
                    datagram = await sock.receive()
                    scope.deadline = trio.current_time() + 0.2
                    assert (datagram.address, datagram.port) == (link.far.address, PORT)
                    taken.append(int(datagram.data))
            copies = Counter(taken)
            assert 200 < len(copies) < 300
            assert max(copies.values()) == 2
            assert taken != sorted(taken)
            assert sock.statistics().packets_in == len(taken)


async def test_damaged_datagrams_are_never_seen(make_link: MakeLink) -> None:
    """F103: the checksum tells; what arrives is what was sent."""
    link = make_link(damage=0.3, seed=5)
    with far_peer(link) as peer:
        async with bound(PORT, address="") as sock:
            for number in range(200):
                peer.send(b"%d:" % number * 20, PORT, link.near.address)
                await until(lambda: link.passed > number)  # noqa: B023
            with link.far:
                last = RawUDP("0.0.0.0")
            with last:
                link.damage = 0.0
                last.send(b"last", PORT, link.near.address)
                taken = []
                while (data := (await sock.receive()).data) != b"last":
                    taken.append(data)
            assert 100 < len(taken) < 190
            assert len(set(taken)) == len(taken)
            assert set(taken) <= {b"%d:" % number * 20 for number in range(200)}


# Interfaces


def ip_says() -> dict[str, dict[str, object]]:
    """What the program ``ip`` knows of this host's interfaces."""
    output = subprocess.run(
        ["ip", "-j", "addr"], capture_output=True, check=True, timeout=10
    ).stdout
    return {each["ifname"]: each for each in json.loads(output)}


async def test_interfaces_are_what_ip_says(link: Link) -> None:
    """Up, down, /31, /32, several addresses, a name of 15 characters, IPv6, and none at all."""
    link.near.ip(
        "link add verylongname15x type veth peer name other0",
        "addr add 10.1.0.1/31 dev verylongname15x",
        "link add narrow0 type veth peer name narrow1",
        "addr add 10.2.0.1/32 dev narrow0",
        "addr add 10.3.0.1/16 dev narrow0",
        "addr add 2001:db8::7/64 dev narrow0 nodad",
        "link set lo up",
        "link set verylongname15x up",
        "link set other0 up",
        "link set narrow0 up",
        "link set narrow1 up",
        "link add down0 type veth peer name down1",
        "addr add 10.4.0.1/24 dev down0",
    )
    up = {"lo", DEVICE, "verylongname15x", "other0", "narrow0", "narrow1"}
    # The kernel notices a link a moment after both ends are up.
    await until(lambda: up <= {each.name for each in network_interfaces()})
    facts = ip_says()
    names = {each.name for each in network_interfaces()}
    assert up <= names
    assert "down0" not in names
    assert network_interfaces()[-1].name == "lo"
    for name, fact in facts.items():
        compare(network_interface(name), fact)
    expected = {
        "verylongname15x": "255.255.255.255",
        "narrow0": "255.255.255.255",
        "down0": "10.4.0.255",
        "other0": "255.255.255.255",
    }
    for name, broadcast in expected.items():
        assert broadcast_address(network_interface(name)) == broadcast
    link.near.ip("addr del 10.2.0.1/32 dev narrow0")
    assert broadcast_address(network_interface("narrow0")) == "10.3.255.255"


def compare(interface: NetworkInterface, fact: dict[str, object]) -> None:
    addresses = fact["addr_info"]
    assert isinstance(addresses, list)
    own = [each["local"] for each in addresses if each["family"] == "inet"]
    own += [each["local"] for each in addresses if each["family"] == "inet6"]
    assert [each.partition("%")[0] for each in interface.addresses] == own
    assert interface.ip_address.partition("%")[0] == (own[0] if own else "")
    if own and addresses[0]["family"] == "inet":
        bits = addresses[0]["prefixlen"]
        mask = socket.inet_ntoa(((0xFFFFFFFF << (32 - bits)) & 0xFFFFFFFF).to_bytes(4, "big"))
        assert interface.subnet_mask == mask
    assert interface.mac_address == fact["address"]
    assert interface.mtu == fact["mtu"]
    flags = fact["flags"]
    assert isinstance(flags, list)
    assert interface.is_up is ("UP" in flags and ("LOWER_UP" in flags or "UNKNOWN" in flags))
    assert interface.is_loopback is ("LOOPBACK" in flags)


async def test_a_socket_made_before_the_interface_has_addresses(link: Link) -> None:
    """All addresses of the host are heard, those that come later, too."""
    async with UDPSocket(PORT) as sock:
        await sock.bind()
        link.near.ip(f"addr add 10.88.0.77/24 dev {DEVICE}")
        with far_peer(link) as peer:
            peer.send(b"new", PORT, "10.88.0.77")
            assert (await sock.receive()).data == b"new"

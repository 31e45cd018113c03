"""The membership machine on a network that loses, delays and forges: no clock, no socket."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trio_xsock._machines.member_packets import Settings
from trio_xsock._machines.membership import Joined, Left, Membership, Received, Send
from trio_xsock._machines.packets import (
    PADDED_SIZE,
    Kind,
    Packet,
    decode,
    encode,
)
from trio_xsock._values.member import Endpoint, Member

KEY = b"a key of the group"


class Host:
    """A machine on the network, and what it said."""

    def __init__(self, number: int, rng: random.Random, now: float, **options: Any) -> None:
        self.endpoint = (f"10.0.0.{number}", 4000 + number)
        own = Member(rng.randbytes(16).hex(), *self.endpoint, f"host {number}")
        options.setdefault("group", "test")
        self.settings = Settings(name=own.name, **options)
        self.machine = Membership(self.settings, own, rng.randbytes, now)
        self.own = own
        self.log: list[tuple[float, str, str]] = []
        self.received: list[tuple[int, bytes, Endpoint]] = []
        self.bytes_sent = 0

    def names(self) -> list[str]:
        return [member.name for member in self.machine.members]


class Network:
    """Carries packets between hosts, in simulated time.

    Attributes:
        watch: is shown every packet with its source and its target.
    """

    def __init__(self, seed: int = 0, loss: float = 0.0, delay: float = 0.02) -> None:
        self.rng = random.Random(seed)
        self.now = 0.0
        self.loss = loss
        self.delay = delay
        self.hosts: list[Host] = []
        self.count = 0
        self.watch: Callable[[bytes, Endpoint, Endpoint | None], None] = lambda *_: None
        self._flying: list[tuple[float, int, bytes, Endpoint, Endpoint]] = []
        self._numbers = itertools.count()

    def add(self, **options: Any) -> Host:
        self.count += 1
        host = Host(self.count, self.rng, self.now, **options)
        self.hosts.append(host)
        self._take_effects(host)
        return host

    def add_many(self, count: int, **options: Any) -> list[Host]:
        return [self.add(**options) for _ in range(count)]

    def kill(self, host: Host) -> None:
        self.hosts.remove(host)

    def leave(self, host: Host) -> None:
        host.machine.leave()
        self._take_effects(host)

    def send(self, data: bytes, source: Endpoint, to: Endpoint | None) -> None:
        self.watch(data, source, to)
        for host in self.hosts:
            meant = host.endpoint == to or (to is None and host.endpoint != source)
            if meant and self.rng.random() >= self.loss:
                due = self.now + self.delay * (0.5 + self.rng.random())
                packet = due, next(self._numbers), data, source, host.endpoint
                heapq.heappush(self._flying, packet)

    def _take_effects(self, host: Host) -> None:
        effects, host.machine.effects[:] = list(host.machine.effects), []
        for effect in effects:
            match effect:
                case Send(data, to):
                    host.bytes_sent += len(data)
                    self.send(data, host.endpoint, to)
                case Joined(member):
                    host.log.append((self.now, "+", member.name))
                case Left(member):
                    host.log.append((self.now, "-", member.name))
                case Received():
                    host.received.append(tuple(effect))

    def run(self, seconds: float, until: Callable[[], bool] = lambda: False) -> float:
        """Let time pass, at most so much; how much did."""
        began, end = self.now, self.now + seconds
        while not until():
            times = [host.machine.deadline for host in self.hosts]
            times += [self._flying[0][0]] if self._flying else []
            self.now = max(self.now, min([*times, end]))
            if self.now >= end:
                break
            while self._flying and self._flying[0][0] <= self.now:
                _, _, data, source, target = heapq.heappop(self._flying)
                for host in self.hosts:
                    if host.endpoint == target:
                        host.machine.receive(data, source, self.now)
                        self._take_effects(host)
            for host in list(self.hosts):
                if host.machine.deadline <= self.now:
                    host.machine.advance(self.now)
                    self._take_effects(host)
        return self.now - began


def all_see(hosts: Iterable[Host]) -> bool:
    """Whether every host knows every host, and nobody else."""
    hosts = list(hosts)
    names = sorted(host.own.name for host in hosts)
    return all(sorted(host.names()) == names for host in hosts)


keys = pytest.mark.parametrize("key", [None, KEY], ids=["open", "key"])


@keys
@pytest.mark.parametrize("seed", range(6))
def test_five_hosts_on_a_lossy_network(key: bytes | None, seed: int) -> None:
    """All join within 3 seconds, none flaps for 60; the killed one expires, who leaves goes."""
    network = Network(seed, loss=0.1)
    hosts = network.add_many(5, key=key)
    assert network.run(10, lambda: all_see(hosts)) < 3
    lengths = [len(host.log) for host in hosts]
    network.run(60)
    assert all_see(hosts)
    assert [len(host.log) for host in hosts] == lengths
    killed, leaving, *others = hosts
    network.kill(killed)
    assert 3 < network.run(20, lambda: all_see([leaving, *others])) < 7
    network.leave(leaving)
    network.kill(leaving)
    assert network.run(5, lambda: all_see(others)) < 0.2
    assert leaving.log[-4:] == [(leaving.log[-1][0], "-", name) for _, _, name in leaving.log[-4:]]
    assert leaving.names() == [leaving.own.name]


@keys
def test_a_newcomer_is_known_at_once_and_knows_all(key: bytes | None) -> None:
    """It need not wait for a heartbeat; and it is first in its own list, as itself."""
    network = Network()
    hosts = network.add_many(3, key=key)
    network.run(5)
    newcomer = network.add(key=key, metadata={"a": "ä"})
    assert network.run(5, lambda: all_see([*hosts, newcomer])) < 0.15
    assert newcomer.machine.members[0] == newcomer.own
    assert newcomer.log[0] == (5.0, "+", newcomer.own.name)
    member = hosts[0].machine.members[-1]
    assert (member.name, dict(member.metadata)) == ("host 4", {"a": "ä"})
    assert (member.address, member.port) == newcomer.endpoint
    assert member.instance_id == newcomer.own.instance_id


@keys
def test_messages_to_all_and_to_one(key: bytes | None) -> None:
    """They come from members, once, and not to the sender."""
    network = Network()
    one, two, three = hosts = network.add_many(3, key=key)
    network.run(3)
    for _ in range(2):  # twice the same: two messages
        network.send(one.machine.packets.message(7, b"all"), one.endpoint, None)
    network.send(one.machine.packets.message(8, b"one"), one.endpoint, two.endpoint)
    network.run(1)
    assert sorted(two.received) == [(7, b"all", one.endpoint)] * 2 + [(8, b"one", one.endpoint)]
    assert three.received == [(7, b"all", one.endpoint)] * 2
    assert one.received == []
    assert all_see(hosts)


def test_other_groups_and_other_keys_are_strangers() -> None:
    """They do not see each other, whatever they send, and get no answer."""
    network = Network()
    for options in (
        {"group": "a"},
        {"group": "b"},
        {"group": "a", "key": b"x"},
        {"group": "a", "key": b"y"},
    ):
        network.add(**options)
    answered = []
    network.watch = lambda data, source, to: answered.append(to) if to else None
    network.run(10)
    assert [host.names() for host in network.hosts] == [[host.own.name] for host in network.hosts]
    assert answered == []


# Attacks


@pytest.fixture
def keyed() -> Network:
    """Two members with a key, and what they have sent so far in ``recorded``."""
    network = Network()
    recorded: list[tuple[bytes, Endpoint, Endpoint | None]] = []
    network.watch = lambda *packet: recorded.append(packet)
    network.add_many(2, key=KEY)
    network.run(4)
    one, two = network.hosts
    network.send(one.machine.packets.message(1, b"pay"), one.endpoint, None)
    network.run(0.5)
    assert two.received
    assert all_see(network.hosts)
    network.recorded = recorded  # type: ignore[attr-defined]
    return network


def state(network: Network) -> Any:
    """What an attack must not change."""
    return [(host.machine.members, list(host.log), list(host.received)) for host in network.hosts]


def attack(network: Network, packets: Iterable[tuple[bytes, Endpoint]]) -> None:
    """Give every host these packets; nothing may change, nor make more traffic than they carry."""
    before = state(network)
    for data, source in packets:
        for host in network.hosts:
            host.machine.receive(data, source, network.now)
            sent = sum(len(effect.data) for effect in host.machine.effects)
            assert sent <= len(data)
            assert all(isinstance(effect, Send) for effect in host.machine.effects)
            network._take_effects(host)
    network.watch = lambda *_: None
    network.run(2.5)
    assert state(network) == before


def test_replays_change_nothing(keyed: Network) -> None:
    """To those who saw it before, from the true source or another, and in any order."""
    recorded = keyed.recorded  # type: ignore[attr-defined]
    attack(keyed, [(data, source) for data, source, _ in recorded])


def test_reflections_change_nothing(keyed: Network) -> None:
    """What was meant for another, or came from the receiver itself."""
    recorded = keyed.recorded  # type: ignore[attr-defined]
    endpoints = [host.endpoint for host in keyed.hosts] + [("10.9.9.9", 9)]
    attack(keyed, [(data, end) for data, _, _ in recorded for end in endpoints])


def test_forgeries_change_nothing(keyed: Network) -> None:
    """Made without the key, with another, or with one bit turned over."""
    recorded = keyed.recorded  # type: ignore[attr-defined]
    rng = random.Random(3)
    forged = []
    for data, source, _ in recorded:
        position = rng.randrange(len(data))
        changed = (
            data[:position] + bytes([data[position] ^ 1 << rng.randrange(8)]) + data[position + 1 :]
        )
        forged += [(changed, source), (data[:-16], source)]
        packet = decode(data, KEY)._replace(counter=10_000)
        forged += [(encode(packet, b"another"), source), (encode(packet, None), source)]
    attack(keyed, forged)


def test_a_recorded_member_cannot_come_back(keyed: Network) -> None:
    """After it has gone, its packets are not enough: the challenge is a new one each time."""
    recorded = list(keyed.recorded)  # type: ignore[attr-defined]
    one, two = keyed.hosts
    keyed.kill(one)
    keyed.run(10)
    assert two.names() == ["host 2"]
    attack(keyed, [(data, source) for data, source, _ in recorded])
    attack(keyed, [(data, ("10.9.9.9", 9)) for data, _, _ in recorded])


def test_who_has_seen_nothing_is_not_fooled_by_recordings() -> None:
    """A host that comes later takes nobody in who cannot answer."""
    network = Network(delay=0.001)
    recorded: list[tuple[bytes, Endpoint]] = []
    network.watch = lambda data, source, _: recorded.append((data, source))
    network.add_many(3, key=KEY)
    network.run(5)
    for host in list(network.hosts):
        network.kill(host)
    network.add(key=KEY)
    network.run(5)
    attack(network, recorded)


@pytest.mark.parametrize("kind", [Kind.ANNOUNCE, Kind.CHALLENGE])
def test_answers_are_rate_limited(kind: Kind) -> None:
    """A flood of questions from anywhere is answered so many times, and no more."""
    for key in (None, KEY):
        network = Network()
        host = network.add(key=key, maximum_members=10)
        network.run(3)
        before = host.bytes_sent
        rng = random.Random(1)
        target = bytes.fromhex(host.own.instance_id)
        packet = question(key)._replace(kind=kind, target=target, challenge=b"c" * 16)
        for number in range(1000):
            stranger = packet._replace(instance=rng.randbytes(16))
            host.machine.receive(encode(stranger, key), ("10.1.1.1", number + 1), network.now)
            network._take_effects(host)
        expected = 50 if key or kind is Kind.ANNOUNCE else 0
        assert host.bytes_sent - before == expected * PADDED_SIZE
        assert len(host.machine.members) <= 10


def question(key: bytes | None) -> Packet:
    """What a newcomer asks."""
    sent: list[bytes] = []
    network = Network(5)
    network.watch = lambda data, *_: sent.append(data)
    network.add(key=key)
    network.run(0.01)
    return decode(sent[0], key)


def test_a_member_s_address_cannot_be_taken_over() -> None:
    """Without a key, too: packets in its name from elsewhere are not its own."""
    network = Network()
    one, two = network.add_many(2)
    network.run(2)
    packet = Packet(Kind.GOODBYE, "test", bytes.fromhex(one.own.instance_id), 10**6)
    two.machine.receive(encode(packet, None), ("10.9.9.9", 9), network.now)
    assert two.machine.effects == []
    assert all_see([one, two])
    two.machine.receive(encode(packet, None), one.endpoint, network.now)
    assert two.names() == ["host 2"]


def test_strangers_in_an_open_group() -> None:
    """They may speak; handshakes are for groups with a key."""
    network = Network()
    one, two = network.add_many(2)
    network.run(2)
    stranger = ("10.9.9.9", 9)
    identity = question(None).identity
    for packet in (
        Packet(Kind.GROUP_MESSAGE, "test", b"s" * 16, 1, command=5, data=b"hello"),
        Packet(Kind.CHALLENGE, "test", b"s" * 16, 2, challenge=b"c" * 16, identity=identity),
        Packet(Kind.GOODBYE, "test", b"s" * 16, 3),
    ):
        one.machine.receive(encode(packet, None), stranger, network.now)
    assert one.machine.effects == [Received(5, b"hello", stranger)]
    assert all_see([one, two])


def test_challenges_are_bounded() -> None:
    """However many strangers announce themselves; a real one still gets in."""
    network = Network()
    host = network.add(key=KEY)
    network.run(3)
    packet = question(KEY)
    for number in range(200):
        stranger = packet._replace(instance=number.to_bytes(16, "big"), counter=number)
        host.machine.receive(encode(stranger, KEY), ("10.1.1.1", number + 1), network.now)
        network.run(0.03)
        assert len(host.machine._challenges) <= 64
    newcomer = network.add(key=KEY)
    assert network.run(5, lambda: all_see([host, newcomer])) < 1


def test_updating_keeps_who_answers_and_drops_who_does_not() -> None:
    """Without flicker: nobody leaves who is there."""
    network = Network(loss=0.1, seed=4)
    hosts = network.add_many(4)
    network.run(4)
    killed = hosts.pop()
    network.kill(killed)
    lengths = [len(host.log) for host in hosts]
    hosts[0].machine.update(network.now)
    network._take_effects(hosts[0])
    assert network.run(10, lambda: killed.own.name not in hosts[0].names()) < 2.1
    assert len(hosts[0].log) == lengths[0] + 1
    network.run(10)
    assert all_see(hosts)
    assert [len(host.log) for host in hosts] == [length + 1 for length in lengths]


@keys
def test_who_was_asleep_forgets_nobody(key: bytes | None) -> None:
    """A machine that stood still asks first, and only then misses who does not answer."""
    network = Network()
    sleeper, *others = hosts = network.add_many(4, key=key)
    network.run(3)
    killed = others.pop()
    network.kill(sleeper)
    network.run(4)
    network.kill(killed)
    network.run(1)
    before = list(sleeper.log)
    network.now += 100
    sleeper.machine.advance(network.now)
    network.hosts.append(sleeper)
    network._take_effects(sleeper)
    for host in others:  # they have stood still as well
        host.machine.advance(network.now)
        network._take_effects(host)
    network.run(4)
    assert [entry[1:] for entry in sleeper.log[len(before) :]] == [("-", killed.own.name)]
    assert network.run(5, lambda: all_see([sleeper, *others])) < 5
    assert len(hosts) == 4


def test_one_that_was_forgotten_by_one_side_comes_back() -> None:
    """A link that was down for a while, in one direction or both."""
    for key in (None, KEY):
        network = Network(key is None)
        hosts = network.add_many(3, key=key)
        network.run(3)
        network.loss = 1.0
        network.run(20)
        assert all(len(host.names()) == 1 for host in hosts)
        network.loss = 0.0
        assert network.run(10, lambda hosts=hosts: all_see(hosts)) < 2.5


@given(st.lists(st.tuples(st.binary(max_size=600), st.integers(0, 3)), max_size=30), st.booleans())
@settings(max_examples=60)
def test_any_bytes_from_anywhere(packets: list[tuple[bytes, int]], with_key: bool) -> None:
    """Nothing is raised, nobody joins or leaves, nobody is answered."""
    network = Network()
    hosts = network.add_many(2, key=KEY if with_key else None)
    network.run(2)
    before = state(network)
    for data, number in packets:
        source = hosts[number].endpoint if number < 2 else ("10.9.9.9", number)
        for prefix in (b"", b"XU\x01", b"XU\x01\x01\x04test"):
            hosts[0].machine.receive(prefix + data, source, network.now)
        assert (
            all(isinstance(effect, Received) for effect in hosts[0].machine.effects) or not with_key
        )
        hosts[0].machine.effects.clear()
    assert state(network)[1] == before[1]
    assert len(hosts[0].machine.members) <= 2 + len(packets)


@given(
    st.lists(
        st.tuples(st.sampled_from(["add", "kill", "leave", "update", "wait"]), st.integers(0, 5)),
        max_size=12,
    ),
    st.booleans(),
    st.integers(0, 99),
)
@settings(max_examples=25, deadline=None)
def test_whatever_happens_all_agree_in_the_end(
    program: list[tuple[str, int]], with_key: bool, seed: int
) -> None:
    """Comers, goers and crashes in any order; and joins and leaves alternate for each member."""
    network = Network(seed, loss=0.1)
    everyone = network.add_many(2, key=KEY if with_key else None)
    for operation, number in program:
        hosts = network.hosts
        host = hosts[number % len(hosts)] if hosts else None
        match operation:
            case "add":
                everyone.append(network.add(key=KEY if with_key else None))
            case "wait":
                network.run(number / 2)
            case "update" if host:
                host.machine.update(network.now)
                network._take_effects(host)
            case "kill" | "leave" if host:
                if operation == "leave":
                    network.leave(host)
                network.kill(host)
    network.loss = 0
    network.run(9)
    assert all_see(network.hosts)
    for host in everyone:
        for name in {name for _, _, name in host.log}:
            signs = [sign for _, sign, who in host.log if who == name]
            assert signs == list(itertools.islice(itertools.cycle("+-"), len(signs)))

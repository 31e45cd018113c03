"""The membership machine on a network that loses, delays and forges: no clock, no socket."""

from __future__ import annotations

import heapq
import itertools
import random
import sys
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trio_xsock._machines.member_packets import Settings
from trio_xsock._machines.membership import Joined, Left, Membership, Received, Send
from trio_xsock._machines.packets import (
    PADDED_SIZE,
    Identity,
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
    """A flood of questions from one address is answered so many times, and no more."""
    for key in (None, KEY):
        network = Network()
        host = network.add(key=key, maximum_members=10)
        network.run(3)
        before = host.bytes_sent
        rng = random.Random(1)
        own = bytes.fromhex(host.own.instance_id)
        packet = question(key)._replace(kind=kind, receiver=own, challenge=b"c" * 16)
        for number in range(1000):
            stranger = packet._replace(instance=rng.randbytes(16))
            host.machine.receive(encode(stranger, key), ("10.1.1.1", number + 1), network.now)
            network._take_effects(host)
        assert host.bytes_sent - before == 50 * PADDED_SIZE
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
    """They may speak; a challenge must name its receiver."""
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


# Not a tool for attacks on others


class Forger:
    """Speaks for members that do not exist, from any address, and hears no answers."""

    def __init__(self, host: Host, network: Network) -> None:
        self.host, self.network = host, network
        self.rng = random.Random(9)
        self.answers: list[bytes] = []
        network.watch = self.note

    def note(self, data: bytes, source: Endpoint, to: Endpoint | None) -> None:
        if source == self.host.endpoint and to is not None and to[0].startswith("10.9."):
            self.answers.append(data)

    def announce(self, number: int = 1, **changes: Any) -> None:
        identity = Identity(True, changes.pop("hold", 6000), f"forged {number}", {})
        packet = Packet(Kind.ANNOUNCE, "test", self.rng.randbytes(16), 1, identity=identity)
        source = (f"10.9.{number // 256}.{number % 256}", 9)
        data = encode(packet._replace(**changes), changes.get("key"))
        self.host.machine.receive(data, source, self.network.now)
        self.network._take_effects(self.host)


@pytest.mark.parametrize("hold", [50, 6000, 10_000, 3_600_000, 2**32 - 1])
def test_who_has_never_answered_is_not_asked(hold: int) -> None:
    """One answer to each packet, none later; and it goes after our own expiry at the latest."""
    network = Network()
    host = network.add()
    network.run(5)
    forger = Forger(host, network)
    forger.announce(hold=hold)
    assert host.names() == ["host 1", "forged 1"]
    took = network.run(4000, lambda: host.names() == ["host 1"])
    assert took < 6 * 1.31
    assert [len(data) for data in forger.answers] == [PADDED_SIZE]
    forger.announce(hold=hold)
    network.run(10)
    assert len(forger.answers) == 2


def test_a_member_that_is_gone_is_asked_a_few_times() -> None:
    """However long it claimed to stay, and however short our own interval is."""
    network = Network()
    one = network.add(heartbeat_interval=0.01, expiry=10)
    two = network.add(expiry=3600)
    network.run(3)
    assert all_see([one, two])
    asked: list[float] = []
    network.watch = lambda _, source, to: (
        asked.append(network.now) if (source, to) == (one.endpoint, two.endpoint) else None
    )
    network.kill(two)
    network.run(200, lambda: one.names() == ["host 1"])
    assert one.names() == ["host 1"]
    assert network.now < 3 + 100 + 1  # ten times one's own expiry
    assert 1 <= len(asked) <= 9


def test_a_short_announcement_is_nothing() -> None:
    """Less than the wire format's minimum: nobody joins, nothing is answered."""
    network = Network()
    host = network.add()
    network.run(5)
    identity = Identity(True, 6000, "", {})
    packet = encode(Packet(Kind.ANNOUNCE, "test", b"s" * 16, 1, identity=identity), None)
    for size in (52, 100, PADDED_SIZE - 1):
        host.machine.receive(packet[:size], ("10.9.0.1", 9), network.now)
    assert host.machine.effects == []
    host.machine.receive(packet, ("10.9.0.1", 9), network.now)
    assert [type(effect) for effect in host.machine.effects] == [Joined, Send]


def test_forged_members_make_room() -> None:
    """A table full of them keeps nobody out, and none that is proven is put out for another."""
    network = Network()
    hosts = network.add_many(3, maximum_members=6)
    network.run(5)
    forger = Forger(hosts[0], network)
    for number in range(20):
        forger.announce(number)
    assert len(hosts[0].names()) == 6
    log = list(hosts[0].log)
    newcomer = network.add(maximum_members=6)
    assert network.run(5, lambda: newcomer.own.name in hosts[0].names()) < 0.2
    assert [entry[1:] for entry in hosts[0].log[len(log) :]] == [
        ("-", "forged 0"),
        ("+", newcomer.own.name),
    ]
    for number in range(30, 60):
        forger.announce(number)
    assert {host.own.name for host in [*hosts, newcomer]} <= set(hosts[0].names())
    network.run(10)
    assert all_see([*hosts, newcomer])


def test_a_full_table_of_members_stays_as_it_is() -> None:
    """Nobody is put out who has answered, and no stranger is challenged in vain."""
    network = Network()
    hosts = network.add_many(4, maximum_members=4)
    network.run(5)
    lengths = [len(host.log) for host in hosts]
    late = network.add(maximum_members=4)
    answers: list[Packet] = []
    network.watch = lambda data, _, to: (
        answers.append(decode(data)) if to == late.endpoint else None
    )
    network.run(5)
    assert [len(host.log) for host in hosts] == lengths
    assert {answer.kind for answer in answers} == {Kind.RESPONSE}  # it has room for them
    assert {answer.challenge for answer in answers} == {bytes(16)}


def test_a_flood_does_not_keep_a_newcomer_out() -> None:
    """Forged from many addresses at 800 a second, or from one at 5,000."""
    for sources, rate in ((800, 800), (1, 5000)):
        network = Network()
        host = network.add()
        network.run(5)
        forger = Forger(host, network)
        for number in range(rate):
            forger.announce(number % sources)
            network.run(1 / rate)
        newcomer = network.add()
        began = network.now
        while network.now < began + 1 and newcomer.own.name not in host.names():
            forger.announce(int(network.now * rate) % sources)
            network.run(1 / rate)
        proven = host.machine._table.get(bytes.fromhex(newcomer.own.instance_id))
        assert proven is not None
        assert len(forger.answers) <= (50 * 3 if sources == 1 else 1000 * 3)


@pytest.mark.parametrize("sources", [1, 100])
def test_replays_do_not_keep_a_newcomer_out(sources: int) -> None:
    """Recorded announcements at 1,000 a second, also from the newcomer's own address."""
    network = Network()
    recorded: list[bytes] = []
    network.watch = lambda data, _, to: recorded.append(data) if to is None else None
    gone = network.add_many(3, key=KEY)
    network.run(10)
    for host in gone:
        network.kill(host)
    host = network.add(key=KEY)
    network.run(5)
    newcomer_address = f"10.0.0.{network.count + 1}"
    answers: list[Endpoint] = []
    network.watch = lambda _, source, to: (
        answers.append(to) if to and source == host.endpoint else None
    )
    replay = itertools.cycle(recorded)

    def play() -> None:
        number = int(network.rng.random() * sources)
        source = (f"10.9.0.{number}" if number else newcomer_address, 9)
        host.machine.receive(next(replay), source, network.now)
        network._take_effects(host)

    for _ in range(1000):
        play()
        network.run(0.001)
    assert len(answers) <= len(recorded)
    answers.clear()
    newcomer = network.add(key=KEY)
    began = network.now
    while newcomer.own.name not in host.names():
        play()
        network.run(0.001)
    assert network.now - began < 0.2
    assert set(answers) == {newcomer.endpoint}


def test_a_message_to_one_cannot_be_played_to_another() -> None:
    """Nor an answer, a challenge or a question that was for one alone; nor with a key only."""
    for key in (None, KEY):
        network = Network()
        one, two, three = network.add_many(3, key=key)
        network.run(3)
        instance = bytes.fromhex(two.own.instance_id)
        packets = one.machine.packets
        for data in (
            packets.message(1, b"pay", instance),
            packets.announcement(please_answer=True, receiver=instance),
            packets.challenge(instance, b"n" * 16),
            packets.response(instance, b"a" * 16, b"n" * 16),
        ):
            three.machine.receive(data, one.endpoint, network.now)
            assert three.machine.effects == []
            two.machine.receive(data, one.endpoint, network.now)
            (effect,) = two.machine.effects
            assert isinstance(effect, Received | Send)
            two.machine.effects.clear()


def test_who_answers_late_is_not_asked_in_circles() -> None:
    """A network so slow that no challenge is answered in time: one answer to each announcement."""
    network = Network(delay=3.0)
    network.add_many(2)
    counts: list[int] = []
    for _ in range(4):
        sent: list[object] = []
        network.watch = lambda _, __, to, sent=sent: sent.append(to) if to else None
        network.run(20)
        counts.append(len(sent))
    assert max(counts) < 20 * 2 * 4


def test_a_packet_costs_the_same_for_few_and_many() -> None:
    """With a key and 1,000 members no packet looks at all of them."""
    costs = []
    for count in (10, 1000):
        network = Network()
        host = network.add(key=KEY)
        others = [Host(2 + number, network.rng, 0.0, key=KEY) for number in range(count)]
        for other in others:
            instance = bytes.fromhex(other.own.instance_id)
            nonce = host.machine._challenges.nonce_for(instance, other.endpoint, 0.0)
            proof = other.machine.packets.response(bytes.fromhex(host.own.instance_id), nonce)
            host.machine.receive(proof, other.endpoint, 0.0)
        assert len(host.machine.members) == count + 1
        beats = [other.machine.packets.announcement(please_answer=False) for other in others[:10]]
        steps = 0

        def count_steps(*_: object) -> None:
            nonlocal steps
            steps += 1

        for other, beat in zip(others, beats, strict=False):
            sys.setprofile(count_steps)
            host.machine.receive(beat, other.endpoint, 0.5)
            sys.setprofile(None)
        costs.append(steps)
    assert costs[1] < costs[0] * 1.2


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


@pytest.mark.parametrize("key", [None, KEY])
def test_a_goodbye_that_overtakes_brings_nobody_back(key: bytes | None) -> None:
    """Packets of two sockets may change places; who has left stays away, with a key or without."""
    network = Network()
    one, two = network.add_many(2, key=key)
    network.run(5, until=lambda: len(one.names()) == len(two.names()) == 2)
    late = two.machine.packets.announcement(please_answer=True)
    goodbye = two.machine.packets.goodbye()
    network.kill(two)
    for data in (goodbye, late):
        one.machine.receive(data, two.endpoint, network.now)
    assert one.names() == ["host 1"]
    newer = two.machine.packets.announcement(please_answer=True)
    one.machine.receive(newer, two.endpoint, network.now)
    assert one.names() == (["host 1"] if key else ["host 1", "host 2"])

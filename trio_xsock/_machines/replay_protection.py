"""Protection against replayed packets and forged source addresses.

Each counter of a member is accepted once. An unknown sender has to answer a fresh challenge, which
neither a recording nor a sender with a forged address can do: the challenge goes to that address.
"""

from __future__ import annotations

import hmac
from collections import OrderedDict
from collections.abc import Callable
from hashlib import sha256
from typing import Final

from trio_xsock._values.member import Endpoint

from .packets import NONE

_MOST_STRANGERS: Final = 1024
_TIME_SIZE: Final = 5
_TIME_MASK: Final = (1 << 8 * _TIME_SIZE) - 1


class ReplayWindow:
    """Tells new counters from those seen, of which a few may come late; see RFC 4303, 3.4.3.

    Args:
        counter: the first that was seen; those before it count as seen.
    """

    __slots__ = ("_highest", "_seen")

    _SIZE = 64

    def __init__(self, counter: int) -> None:
        self._highest = counter
        self._seen = (1 << self._SIZE) - 1

    def accept(self, counter: int) -> bool:
        """Whether ``counter`` is new; from now on it is not."""
        ahead = counter - self._highest
        if ahead > 0:
            self._seen = (self._seen << min(ahead, self._SIZE) | 1) & (1 << self._SIZE) - 1
            self._highest = counter
            return True
        bit = 1 << -ahead if -ahead < self._SIZE else 0
        if not bit or self._seen & bit:
            return False
        self._seen |= bit
        return True


class StrangerCounters:
    """The counters of senders that are not members, so that a replayed packet is not answered.

    Only useful where packets are authenticated. A bounded number of instances is remembered, the
    most recent ones.
    """

    __slots__ = ("_windows",)

    def __init__(self) -> None:
        self._windows: OrderedDict[bytes, ReplayWindow] = OrderedDict()  # the latest last

    def __len__(self) -> int:
        """How many instances are remembered."""
        return len(self._windows)

    def accept(self, instance: bytes, counter: int) -> bool:
        """Whether this packet of a stranger is new; from now on it is not."""
        window = self._windows.get(instance)
        if window is None:
            self.remember(instance, ReplayWindow(counter))
            return True
        self._windows.move_to_end(instance)
        return window.accept(counter)

    def remember(self, instance: bytes, window: ReplayWindow) -> None:
        """Take over the counters of a member that was removed."""
        self._windows[instance] = window
        self._windows.move_to_end(instance)
        if len(self._windows) > _MOST_STRANGERS:
            self._windows.popitem(last=False)


class Challenges:
    """Challenges, whose answers prove that a sender is at the address that its packets come from.

    A challenge is the time, and a signature of the time and the receiver, made with a secret of
    this object. So nothing is stored for it, however many senders ask, and a flood cannot evict
    one. Only those that were answered are remembered, until they are too old.

    Args:
        random_bytes: gives so many unpredictable bytes.
        time_to_answer: seconds.
    """

    __slots__ = ("_secret", "_settled", "_time_to_answer")

    def __init__(self, random_bytes: Callable[[int], bytes], time_to_answer: float) -> None:
        self._secret = random_bytes(32)
        self._time_to_answer = time_to_answer
        self._settled: dict[bytes, float] = {}  # when each is too old, the oldest first

    def __len__(self) -> int:
        """How many are remembered."""
        return len(self._settled)

    def nonce_for(self, instance: bytes, source: Endpoint, now: float) -> bytes:
        """A challenge for a sender that claims to be this instance at this address."""
        milliseconds = int(now * 1000) & _TIME_MASK
        return self._sign(milliseconds.to_bytes(_TIME_SIZE, "big"), instance, source)

    def _sign(self, issued: bytes, instance: bytes, source: Endpoint) -> bytes:
        text = issued + instance + f"{source[0]} {source[1]}".encode()
        return issued + hmac.digest(self._secret, text, sha256)[: len(NONE) - _TIME_SIZE]

    def settle(self, instance: bytes, source: Endpoint, answer: bytes, now: float) -> bool:
        """Whether this is the right answer, in time; if so it cannot be given again."""
        self._expire(now)
        issued = answer[:_TIME_SIZE]
        age = int(now * 1000) - int.from_bytes(issued, "big") & _TIME_MASK
        if age >= self._time_to_answer * 1000 or answer in self._settled:
            return False
        if not hmac.compare_digest(self._sign(issued, instance, source), answer):
            return False
        self._settled[answer] = now + self._time_to_answer
        return True

    def _expire(self, now: float) -> None:
        while self._settled and next(iter(self._settled.values())) <= now:
            del self._settled[next(iter(self._settled))]

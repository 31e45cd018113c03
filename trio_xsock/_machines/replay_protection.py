"""What keeps recorded packets from being played again, in a group that has a key.

Of a member the counters are known that it has used, and each counts once. Of a stranger nothing is
known: it has to answer a random challenge that was not used before, so that no recording will do.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final, NamedTuple

from trio_xsock._values.member import Endpoint

from .packets import NONE

_MOST_CHALLENGES: Final = 64


class ReplayWindow:
    """Tells new counters from those seen, of which a few may come late; see RFC 4303, 3.4.3.

    Args:
        counter: the first that was seen; what came before it was for others.
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


class _Challenge(NamedTuple):
    nonce: bytes
    source: Endpoint
    expires: float


class Challenges:
    """What strangers have to answer who may become members: one for each, a bounded number.

    Args:
        random_bytes: gives so many unpredictable bytes.
        time_to_answer: seconds.
    """

    __slots__ = ("_pending", "_random_bytes", "_time_to_answer")

    def __init__(self, random_bytes: Callable[[int], bytes], time_to_answer: float) -> None:
        self._random_bytes = random_bytes
        self._time_to_answer = time_to_answer
        self._pending: OrderedDict[bytes, _Challenge] = OrderedDict()  # the oldest first

    def __len__(self) -> int:
        return len(self._pending)

    def nonce_for(self, instance: bytes, source: Endpoint, now: float) -> bytes:
        """A challenge for a stranger: the one that it was sent a moment ago, or a fresh one."""
        challenge = self._pending.get(instance)
        if challenge is None or challenge.source != source or challenge.expires <= now:
            nonce = self._random_bytes(len(NONE))
            challenge = _Challenge(nonce, source, now + self._time_to_answer)
            self._pending.pop(instance, None)
            self._pending[instance] = challenge
            if len(self._pending) > _MOST_CHALLENGES:
                self._pending.popitem(last=False)
        return challenge.nonce

    def settle(self, instance: bytes, source: Endpoint, answer: bytes, now: float) -> bool:
        """Whether a stranger has given the right answer in time; if so it cannot do so again."""
        challenge = self._pending.get(instance)
        if (
            challenge is None
            or challenge.source != source
            or challenge.nonce != answer
            or now >= challenge.expires
        ):
            return False
        del self._pending[instance]
        return True

    def expire(self, now: float) -> None:
        """Forget those for which it is too late."""
        while self._pending and next(iter(self._pending.values())).expires <= now:
            self._pending.popitem(last=False)

"""The table of ends: SPEC 3.3 row by row, and every sequence against a plain model with flags."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import trio_xsock
from trio_xsock import LossReason, LostConnectionError, SocketError
from trio_xsock._machines.ends import TABLE, Effect, Ends, Happening, Phase, Side, Why

H = Happening
E = Effect
THEIR_ENDS = {H.THEIR_END, H.THEIR_END_CLOSES, H.THEIR_END_IS_LAST}
CLOSES = {H.ACLOSE, H.DISCONNECT}

Told = tuple[Happening, bool]
"""What happens, and whether something is queued then."""


def error_of(what: Happening) -> SocketError | None:
    """A new error for what comes with one."""
    reasons = {
        H.THEIR_END: LossReason.REMOTE_CLOSED,
        H.THEIR_END_CLOSES: LossReason.REMOTE_CLOSED,
        H.THEIR_END_IS_LAST: LossReason.REMOTE_CLOSED,
        H.LOSS: LossReason.RESET,
        H.SEND_FAILED: LossReason.RESET,
        H.DISCONNECT: LossReason.LOCAL,
    }
    return LostConnectionError(what.name, reason=reasons[what]) if what in reasons else None


class Reference:
    """The same with a flag for each fact and a branch for each case."""

    def __init__(self) -> None:
        self.held = self.theirs = self.closing = self.dying = self.released = False
        self.by_us = self.told = False
        self.ours = "open"
        self.loss: SocketError | None = None
        self.announced: SocketError | None = None
        self.farewell: SocketError | None = None
        self.effects: set[Effect] = set()

    def happens(self, what: Happening, cause: SocketError | None, queued: bool) -> list[Effect]:
        """As ``Ends.happens``."""
        self.effects = set()
        self.by_us = self.by_us or what in CLOSES or what is H.CLOSE
        if not self.released:
            name = {H.LOSS: "lose"}.get(what, what.name.lower())
            getattr(self, name)(cause, queued)
            if what is H.QUEUE_EMPTY and self.announced and not queued and not self.held:
                self.effects.add(E.END_CHANNELS)
        return sorted(self.effects)

    # What may be done by anybody

    def announce(self, error: SocketError | None) -> None:
        if error is not None and self.announced is None:
            self.announced = error
            self.effects.add(E.ANNOUNCE)

    def serve_reader(self) -> None:
        if not self.told:
            self.told = True
            self.effects.add(E.SERVE_READER)

    def fin(self, queued: bool) -> None:
        if not queued:
            self.effects.add(E.SEND_FIN)

    def release(self, queued: bool, error: SocketError | None = None) -> None:
        self.effects |= {E.RELEASE, E.END_CHANNELS}
        if queued:
            self.effects.add(E.DROP_QUEUE)
        self.serve_reader()
        self.announce(self.farewell if self.by_us else error)
        self.released = True
        self.closing = False

    def begin_closing(self, queued: bool) -> None:
        self.closing = True
        self.effects.add(E.START_CLOSING)
        if self.ours == "ended":
            self.effects.add(E.LINGER)
        else:
            self.ours = "ending"
            self.fin(queued)

    # What happens

    def send_eof(self, cause: SocketError | None, queued: bool) -> None:
        if self.ours == "open" and not self.held and not self.dying:
            self.ours = "ending"
            self.fin(queued)

    def queue_empty(self, cause: SocketError | None, queued: bool) -> None:
        if self.ours == "ending" and not self.dying:
            self.fin(queued)

    def fin_sent(self, cause: SocketError | None, queued: bool) -> None:
        if self.ours != "ending" or self.dying:
            return
        self.ours = "ended"
        if self.theirs:
            self.release(queued)
        elif self.closing:
            self.effects.add(E.LINGER)

    def delivered(self, cause: SocketError | None, queued: bool) -> None:
        if self.closing or (self.theirs and self.ours == "ending"):
            self.release(queued)

    def their_end(self, cause: SocketError | None, queued: bool, closes: bool = False) -> None:
        if self.held or self.dying:
            self.loss = self.loss or cause
            self.release(queued, self.loss)
            return
        if self.theirs:
            return
        self.theirs = True
        if self.ours == "ended":
            self.release(queued, cause)
        elif self.closing:
            self.fin(queued)
        else:
            self.serve_reader()
            self.announce(cause)
            if closes and self.ours == "open":
                self.loss = cause
                self.begin_closing(queued)
            if not queued:
                self.effects.add(E.END_CHANNELS)

    def their_end_closes(self, cause: SocketError | None, queued: bool) -> None:
        self.their_end(cause, queued, closes=True)

    def their_end_is_last(self, cause: SocketError | None, queued: bool) -> None:
        both_open = self.ours == "open" and not (self.theirs or self.closing)
        self.their_end(cause, queued, closes=True)
        if both_open and not self.released:
            self.effects -= {E.START_CLOSING, E.SEND_FIN}
            self.release(queued, cause)

    def lose(self, cause: SocketError | None, queued: bool) -> None:
        self.loss = self.loss or cause
        self.release(queued, self.loss)

    def send_failed(self, cause: SocketError | None, queued: bool) -> None:
        if self.held or self.theirs or self.closing or self.dying:
            self.lose(cause, queued)
            return
        self.loss = cause
        self.dying = True
        if queued:
            self.effects.add(E.DROP_QUEUE)

    def aclose(self, cause: SocketError | None, queued: bool) -> None:
        if self.held or self.dying:
            self.release(queued)
        elif not self.closing:
            self.serve_reader()
            self.begin_closing(queued)

    def disconnect(self, cause: SocketError | None, queued: bool) -> None:
        if not self.closing:
            self.farewell = cause
        self.aclose(cause, queued)

    def close(self, cause: SocketError | None, queued: bool) -> None:
        self.release(queued)

    def grace_over(self, cause: SocketError | None, queued: bool) -> None:
        if self.closing:
            self.release(queued)

    def hold(self, cause: SocketError | None, queued: bool) -> None:
        if self.ours == "open" and not self.dying:
            self.held = True

    def go_on(self, cause: SocketError | None, queued: bool) -> None:
        self.held = False

    @property
    def may_send(self) -> bool:
        unimpaired = not (self.held or self.dying or self.released)
        return unimpaired and self.ours == "open"

    @property
    def may_receive(self) -> bool:
        return not (self.theirs or self.by_us or self.released)


def compare(story: Iterable[Told]) -> None:
    """Tell both of it; they must agree after each step, and no rule may be broken."""
    machine, model = Ends(), Reference()
    first: SocketError | None = None
    announcements = releases = 0
    for what, queued in story:
        cause = error_of(what)
        before = machine.phase
        effects = machine.happens(what, cause, queued=queued)
        assert list(effects) == model.happens(what, cause, queued), (what, queued, before)
        assert machine.may_send is model.may_send
        assert machine.may_receive is model.may_receive
        assert machine.closed_by_us is model.by_us
        assert machine.announced is model.announced
        assert machine.loss is model.loss
        assert machine.closing is model.closing
        announcements += E.ANNOUNCE in effects
        releases += E.RELEASE in effects
        first = first or machine.loss
        check_rules(machine, effects, first)
        assert announcements == (machine.announced is not None) <= 1
        assert releases == (machine.phase is Phase.GONE) <= 1


def check_rules(machine: Ends, effects: Sequence[Effect], first: SocketError | None) -> None:
    """What holds whatever happened."""
    assert machine.loss is first  # the first cause wins
    assert (machine.why_not_sending() is None) is machine.may_send or machine.closed_by_us
    assert (machine.verdict() is None) is machine.may_receive
    if machine.phase is Phase.GONE:
        assert machine.by is not None
        assert not machine.may_send
        assert not machine.may_receive
    if machine.closed_by_us:
        assert machine.by is Side.US
        assert machine.verdict() is machine.why_not_sending() is Why.CLOSED_BY_US
    if E.RELEASE in effects:
        assert E.END_CHANNELS in effects


ALL: list[Told] = [(what, queued) for what in Happening for queued in (False, True)]


def test_every_pair() -> None:
    """Of happenings, each with and without a queue."""
    for story in itertools.product(ALL, repeat=2):
        compare(story)


@pytest.mark.parametrize("first", Happening)
def test_every_triple(first: Happening) -> None:
    """Of happenings; the same with a queue all the time, and without."""
    for second, third in itertools.product(Happening, repeat=2):
        for queued in itertools.product((False, True), repeat=3):
            compare(zip((first, second, third), queued, strict=True))


@given(st.lists(st.sampled_from(ALL), max_size=12))
def test_every_story(story: list[Told]) -> None:
    """Longer ones."""
    compare(story)


# The table itself


def test_effects_stand_in_their_order() -> None:
    """The order in which they are carried out is the same in every step."""
    for _, effects in TABLE.values():
        assert list(effects) == sorted(set(effects))


def test_nothing_leads_back() -> None:
    """But the end of a hold, every step goes on; GONE is for good."""
    onward = {(phase, after) for (phase, what), (after, _) in TABLE.items() if what is not H.GO_ON}
    reached: dict[Phase, set[Phase]] = {phase: set() for phase in Phase}
    for _ in Phase:
        for before, after in onward:
            if before is not after:
                reached[before] |= {after} | reached[after]
    assert all(phase not in after for phase, after in reached.items())
    assert not reached[Phase.GONE]
    assert all(Phase.GONE in after for phase, after in reached.items() if phase is not Phase.GONE)


@pytest.mark.parametrize(
    ("before", "slow", "quick"),
    [
        ([], [H.THEIR_END_CLOSES, H.DELIVERED], H.THEIR_END_IS_LAST),
        ([], [H.ACLOSE, H.DELIVERED], H.CLOSE),
        ([H.THEIR_END], [H.ACLOSE, H.DELIVERED], H.CLOSE),
    ],
)
def test_the_quick_way_of_what_is_done_at_once(
    before: list[Happening], slow: list[Happening], quick: Happening
) -> None:
    """It has the effects of the other, less those of a close that takes time."""
    cause = error_of(H.THEIR_END)
    one, other = Ends(), Ends()
    for what in before:
        one.happens(what, cause)
        other.happens(what, cause)
    effects = {effect for what in slow for effect in one.happens(what, cause)}
    assert set(other.happens(quick, cause)) == effects - {E.START_CLOSING, E.SEND_FIN}
    for fact in ("phase", "by", "announced", "loss", "their_end", "may_send", "may_receive"):
        assert getattr(one, fact) is getattr(other, fact)
    assert (one.verdict(), one.why_not_sending()) == (other.verdict(), other.why_not_sending())


def test_the_table_in_the_docstring_is_the_one_that_works() -> None:
    """What a reader sees first is true."""
    # From the source: the module may be compiled, and has no docstring then.
    source = Path(trio_xsock.__file__).parent / "_machines" / "ends.py"
    lines = str(ast.get_docstring(ast.parse(source.read_text(encoding="utf-8")))).splitlines()
    head = next(index for index, line in enumerate(lines) if line.startswith("phase "))
    columns = [Happening[name] for name in lines[head].split()[1:]]
    rows = [line.split() for line in lines[head + 2 : head + 2 + len(Phase)]]
    assert [row[0] for row in rows] == [phase.name for phase in Phase]
    for name, *cells in rows:
        for what, cell in zip(columns, cells, strict=True):
            before = Phase[name]
            after, _ = TABLE.get((before, what), (before, ()))
            assert cell == ("-" if after is before else after.name), (name, what)
    for before in Phase:
        gone = {H.CLOSE, H.LOSS}
        if before in {Phase.BOTH_ENDING, Phase.CLOSING, Phase.CLOSING_LAST, Phase.LINGERING}:
            gone.add(H.DELIVERED)
        if before in {Phase.CLOSING, Phase.CLOSING_LAST, Phase.LINGERING}:
            gone.add(H.GRACE_OVER)
        for what in {H.CLOSE, H.LOSS, H.DELIVERED, H.GRACE_OVER}:
            after, _ = TABLE.get((before, what), (before, ()))
            assert after is (Phase.GONE if what in gone else before), (before, what)
        assert TABLE.get((before, H.DISCONNECT)) == TABLE.get((before, H.ACLOSE))
        after, _ = TABLE.get((before, H.QUEUE_EMPTY), (before, ()))
        assert after is before


# SPEC 3.3

LOCAL, THEIRS, RESET = (error_of(what) for what in (H.DISCONNECT, H.THEIR_END, H.LOSS))


def tell(machine: Ends, *story: tuple[Happening, SocketError | None, bool]) -> list[list[Effect]]:
    """The effects of each."""
    return [list(machine.happens(what, cause, queued=queued)) for what, cause, queued in story]


@pytest.mark.parametrize("queued", [False, True])
def test_close(queued: bool) -> None:
    """At once; what is queued is dropped; nothing is announced."""
    machine = Ends()
    drop = [E.DROP_QUEUE] if queued else []
    effects = tell(machine, (H.CLOSE, None, queued), (H.LOSS, RESET, False))
    assert effects == [[E.RELEASE, *drop, E.SERVE_READER, E.END_CHANNELS], []]
    assert (machine.by, machine.announced) == (Side.US, None)


def test_aclose_with_a_queue_and_a_deadline() -> None:
    """The queue first, then FIN; the grace ends it as close() does."""
    begin = H.ACLOSE, None, True
    machine = Ends()
    assert tell(
        machine,
        begin,
        (H.QUEUE_EMPTY, None, False),
        (H.FIN_SENT, None, False),
        (H.DELIVERED, None, False),
    ) == [
        [E.SERVE_READER, E.START_CLOSING],
        [E.SEND_FIN],
        [E.LINGER],
        [E.RELEASE, E.END_CHANNELS],
    ]
    machine = Ends()
    assert tell(machine, begin, (H.GRACE_OVER, None, True))[1] == [
        E.RELEASE,
        E.DROP_QUEUE,
        E.END_CHANNELS,
    ]
    assert machine.announced is None


def test_aclose_with_nothing_queued_or_unread() -> None:
    """The descriptor goes at once, without a FIN of its own."""
    assert tell(Ends(), (H.ACLOSE, None, False), (H.DELIVERED, None, False)) == [
        [E.SERVE_READER, E.START_CLOSING, E.SEND_FIN],
        [E.RELEASE, E.END_CHANNELS],
    ]


@pytest.mark.parametrize("how", [H.DELIVERED, H.GRACE_OVER, H.CLOSE, H.LOSS])
def test_disconnect_announces_at_the_end(how: Happening) -> None:
    """However that comes; LOCAL, once, after the queue."""
    machine = Ends()
    first, last, after = tell(
        machine, (H.DISCONNECT, LOCAL, True), (how, RESET, True), (H.DISCONNECT, LOCAL, False)
    )
    assert first == [E.SERVE_READER, E.START_CLOSING]
    assert last == [E.RELEASE, E.DROP_QUEUE, E.ANNOUNCE, E.END_CHANNELS]
    assert after == []
    assert machine.announced is LOCAL


def test_disconnect_after_the_peer_s_end_announces_no_more() -> None:
    """One ErrorOccurred for each connection."""
    machine = Ends()
    effects = tell(
        machine,
        (H.THEIR_END, THEIRS, False),
        (H.DISCONNECT, LOCAL, False),
        (H.DELIVERED, None, False),
    )
    assert effects == [
        [E.SERVE_READER, E.ANNOUNCE, E.END_CHANNELS],
        [E.START_CLOSING, E.SEND_FIN],
        [E.RELEASE, E.END_CHANNELS],
    ]
    assert machine.announced is THEIRS


def test_remote_fin_where_we_stay_open() -> None:
    """Announced after the data; what is queued is kept; iteration ends when it has gone."""
    machine = Ends()
    assert tell(machine, (H.THEIR_END, THEIRS, True), (H.QUEUE_EMPTY, None, False)) == [
        [E.SERVE_READER, E.ANNOUNCE],
        [E.END_CHANNELS],
    ]
    assert machine.may_send
    assert machine.verdict() is Why.CLEAN_END


def test_remote_fin_where_we_close() -> None:
    """What is queued is sent, then we have closed, too; calls tell of the peer's end."""
    machine = Ends()
    assert tell(
        machine,
        (H.THEIR_END_CLOSES, THEIRS, True),
        (H.QUEUE_EMPTY, None, False),
        (H.FIN_SENT, None, False),
    ) == [
        [E.SERVE_READER, E.ANNOUNCE, E.START_CLOSING],
        [E.SEND_FIN, E.END_CHANNELS],
        [E.RELEASE, E.END_CHANNELS],
    ]
    assert machine.why_not_sending() is THEIRS
    assert machine.verdict() is Why.CLEAN_END
    assert machine.by is Side.PEER
    machine.happens(H.ACLOSE)
    assert machine.why_not_sending() is Why.CLOSED_BY_US


@pytest.mark.parametrize("queued", [False, True])
def test_a_loss(queued: bool) -> None:
    """The queue is dropped before it is announced, once; every call raises that very error."""
    machine = Ends()
    drop = [E.DROP_QUEUE] if queued else []
    effects = tell(machine, (H.LOSS, RESET, queued), (H.LOSS, THEIRS, False))
    assert effects[0] == [E.RELEASE, *drop, E.SERVE_READER, E.ANNOUNCE, E.END_CHANNELS]
    assert effects[1] == []
    assert machine.verdict() is machine.why_not_sending() is machine.announced is RESET


@pytest.mark.parametrize("found", [H.LOSS, H.THEIR_END, H.SEND_FAILED])
def test_a_loss_that_sending_found(found: Happening) -> None:
    """What came before it can be read; then it is told of with the cause that was found first."""
    machine = Ends()
    other = error_of(found)
    assert tell(machine, (H.SEND_FAILED, RESET, True)) == [[E.DROP_QUEUE]]
    assert machine.may_receive
    assert machine.why_not_sending() is RESET
    assert tell(machine, (found, other, False)) == [
        [E.RELEASE, E.SERVE_READER, E.ANNOUNCE, E.END_CHANNELS]
    ]
    assert machine.announced is machine.verdict() is RESET


def test_half_close_our_way() -> None:
    """send_eof(), then the peer's end: both are over, and the peer's was announced."""
    machine = Ends()
    assert tell(
        machine,
        (H.SEND_EOF, None, True),
        (H.QUEUE_EMPTY, None, False),
        (H.FIN_SENT, None, False),
        (H.THEIR_END_CLOSES, THEIRS, False),
    ) == [[], [E.SEND_FIN], [], [E.RELEASE, E.SERVE_READER, E.ANNOUNCE, E.END_CHANNELS]]
    assert machine.why_not_sending() is Why.OUTPUT_ENDED
    assert machine.verdict() is Why.CLEAN_END


def test_a_hold() -> None:
    """Nobody sends during a handshake; a failed one is a loss, a close is one at once."""
    machine = Ends()
    assert tell(machine, (H.HOLD, None, True)) == [[]]
    assert machine.why_not_sending() is Why.TLS_BEGINS
    assert tell(machine, (H.QUEUE_EMPTY, None, False), (H.GO_ON, None, False)) == [[], []]
    assert machine.may_send
    machine.happens(H.HOLD)
    assert tell(machine, (H.ACLOSE, None, False)) == [[E.RELEASE, E.SERVE_READER, E.END_CHANNELS]]
    machine = Ends()
    tell(machine, (H.THEIR_END, THEIRS, False), (H.HOLD, None, False))
    assert tell(machine, (H.GO_ON, None, False), (H.QUEUE_EMPTY, None, False)) == [
        [],
        [E.END_CHANNELS],
    ]
    assert machine.may_send
    machine.happens(H.HOLD)
    assert tell(machine, (H.LOSS, RESET, False)) == [[E.RELEASE, E.END_CHANNELS]]

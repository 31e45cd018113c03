"""Members and their times, one by one; how they come about is for the membership machine."""

from __future__ import annotations

import pytest

from trio_xsock._machines.member_packets import Settings
from trio_xsock._machines.member_table import Known, MemberTable
from trio_xsock._machines.packets import Identity
from trio_xsock._machines.replay_protection import ReplayWindow
from trio_xsock._values.member import Member


def added(table: MemberTable, number: int, *, proven: bool, hold: float = 6.0) -> Known:
    """A member that was heard at 0."""
    instance = bytes([number]) * 16
    known = Known(instance, Member(instance.hex(), "10.0.0.1", number), ReplayWindow(1), proven)
    table.add(known)
    table.heard(known, Identity(False, round(hold * 1000), "", {}), 0.0)
    return known


def run(table: MemberTable, end: float) -> list[tuple[float, str, int]]:
    """What becomes due until then."""
    log: list[tuple[float, str, int]] = []
    while (now := table.next_deadline) <= end:
        gone, silent = table.take_due(now)
        log += [(round(now, 3), "gone", known.member.port) for known in gone]
        log += [(round(now, 3), "ask", known.member.port) for known in silent]
    return log


def test_a_silent_member_is_asked_and_then_gone() -> None:
    """From two fifths of its hold on; one that is not proven is only gone."""
    table = MemberTable(Settings())
    added(table, 1, proven=True)
    added(table, 2, proven=False)
    log = run(table, 100)
    asks = [round(2.4 + 0.5 * number, 3) for number in range(8)]
    assert log == [*((at, "ask", 1) for at in asks), (6.0, "gone", 1), (6.0, "gone", 2)]
    assert list(table) == []


@pytest.mark.parametrize(
    ("proven", "claimed", "gone_at"),
    [(True, 3600, 60), (True, 30, 30), (True, 0, 0.05), (False, 3600, 6), (False, 3, 3)],
)
def test_claims_are_bounded(proven: bool, claimed: float, gone_at: float) -> None:
    """Ten times our own expiry, or once for those that have not answered."""
    table = MemberTable(Settings(expiry=6.0))
    added(table, 1, proven=proven, hold=claimed)
    log = run(table, 10_000)
    assert log[-1] == (gone_at, "gone", 1)
    assert len(log) <= 10


def test_who_is_proven_later_may_stay_longer() -> None:
    """As soon as it says so again."""
    table = MemberTable(Settings(expiry=6.0))
    known = added(table, 1, proven=False, hold=30)
    assert table.oldest_unproven is known
    table.prove(known)
    assert table.oldest_unproven is None
    table.heard(known, Identity(False, 30_000, "", {}), 1.0)
    assert run(table, 100)[-1] == (31.0, "gone", 1)


def test_after_a_long_sleep_all_are_given_time() -> None:
    """Nobody is gone at once; the silent ones are after the last part of their hold."""
    table = MemberTable(Settings())
    one, two = added(table, 1, proven=True), added(table, 2, proven=False)
    gone, silent = table.take_due(1000.0)
    assert (gone, silent) == ([], [one])
    table.heard(two, None, 1000.5)
    assert {entry[1:] for entry in run(table, 1001.7)} == {("ask", 1)}
    assert run(table, 1002) == [(1001.8, "gone", 1)]
    assert list(table) == [two]


def test_all_were_asked() -> None:
    """Who is not heard until then is gone, and who is stays."""
    table = MemberTable(Settings())
    one = added(table, 1, proven=True)
    added(table, 2, proven=True)
    table.all_were_asked(2.0)
    table.heard(one, None, 1.0)
    assert run(table, 2.0) == [(2.0, "gone", 2)]
    assert list(table) == [one]


def test_room() -> None:
    """We count ourselves; the oldest of the unproven makes room."""
    table = MemberTable(Settings(maximum_members=4))
    added(table, 1, proven=True)
    two = added(table, 2, proven=False)
    assert not table.is_full
    three = added(table, 3, proven=False)
    assert table.is_full
    assert table.oldest_unproven is two
    table.remove(two)
    assert not table.is_full
    assert table.oldest_unproven is three
    table.clear()
    assert list(table) == []
    assert table.oldest_unproven is None
    assert run(table, 100) == []

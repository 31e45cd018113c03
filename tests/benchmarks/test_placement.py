"""Where the processes of a run are."""

from __future__ import annotations

import os
import sys

import pytest

from benchmarks.contenders import CONTENDERS
from benchmarks.placement import Placement
from benchmarks.runner import Runner
from benchmarks.workload import Size
from benchmarks.workloads import choose

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="they need Linux")


@pytest.mark.parametrize(
    ("placement", "present", "cores"),
    [
        (Placement.ONE_CORE, [0, 1], ({1}, {1})),
        (Placement.TWO_CORES, [0, 1], ({1}, {0})),
        (Placement.TWO_CORES, [3], ({3}, {3})),
        (Placement.FREE, [0, 1], ({0, 1}, {0, 1})),
    ],
)
def test_which_cores(
    placement: Placement, present: list[int], cores: tuple[set[int], set[int]]
) -> None:
    """Of the program under test, and of the load."""
    assert placement.cores(present) == cores


@pytest.mark.parametrize("placement", [Placement.ONE_CORE, Placement.TWO_CORES])
def test_the_load_sleeps_where_it_shares_a_core(placement: Placement) -> None:
    """All kinds of load that could spin; and nothing of ours is pinned."""
    before = os.sched_getaffinity(0)
    trio_stream = [one for one in CONTENDERS if one.name == "trio-stream" and not one.is_missing]
    runner = Runner(trio_stream, Size.TINY, print, placement)
    with runner.processes():
        for workload in choose(["ping-1", "client-ping-1", "tls-ping-1", "udp-echo-1"]):
            for contender in trio_stream:
                if workload.is_known_to(contender):
                    assert runner.measure(workload, contender).operations > 0
    assert os.sched_getaffinity(0) == before

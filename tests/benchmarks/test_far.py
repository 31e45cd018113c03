"""The far peer: no answer comes too soon, and whoever waits for one uses no CPU time."""

from __future__ import annotations

import socket
import sys
import time
from contextlib import ExitStack

import pytest

from benchmarks.contenders import choose
from benchmarks.loads.far import FarPeer
from benchmarks.loads.sockets import MANNER
from benchmarks.placement import Placement
from benchmarks.runner import Runner
from benchmarks.workload import Size
from benchmarks.workloads import choose as choose_workloads

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="they need Linux")


def test_answers_come_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages that come together are answered one at a time, the first one after the delay."""
    monkeypatch.setattr(MANNER, "wait", 1.0)
    with ExitStack() as stack:
        pairs = [socket.socketpair() for _ in range(4)]
        for ours, theirs in pairs:
            stack.enter_context(ours)
            stack.enter_context(theirs)
            ours.send(b"ping")
            ours.shutdown(socket.SHUT_WR)
        began = time.perf_counter()
        FarPeer([theirs for _, theirs in pairs], 0.04).run()
        assert time.perf_counter() - began >= 0.04 + 3 * 0.01
        assert [ours.recv(100) for ours, _ in pairs] == [b"ping"] * 4


def test_a_client_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """It gets no answer, and the peer ends."""
    monkeypatch.setattr(MANNER, "wait", 1.0)
    ours, theirs = socket.socketpair()
    with theirs:
        with ours:
            ours.send(b"ping")
        FarPeer([theirs], 0.001).run()


def test_waiting_uses_no_cpu() -> None:
    """The program under test sends, waits 20 ms for the answer, and sends again."""
    (workload,) = choose_workloads(["far-1"])
    contenders = choose(["trio-stream", "xsock-stream", "xsock-channel", "xsock-handler"])
    runner = Runner(contenders, Size.TINY, print, Placement.ONE_CORE)
    with runner.processes():
        for contender in contenders:
            sample = runner.measure(workload, contender)
            assert sample.wall >= sample.operations * 0.02, contender.name
            assert sample.cpu < sample.wall / 4, contender.name

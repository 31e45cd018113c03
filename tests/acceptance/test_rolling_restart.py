"""New code takes over under load, and nobody is refused or cut off."""

from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path

import pytest
import trio

from tests.support import RawPeer
from tests.support.children import child
from tests.support.programs import free_port, serves

WORKERS = Path(__file__).resolve().parents[2] / "examples" / "workers.py"
CLIENTS = 8


@pytest.mark.slow
@pytest.mark.timeout(60)  # five seconds, but for machines that are slow and busy as well
async def test_rolling_restart_refuses_nobody() -> None:
    """Two workers on one port are replaced; every connection is answered."""
    port = free_port()
    answers: Counter[str] = Counter()

    async def ask_until(name: str) -> None:
        while answers[name] < 200:
            await trio.sleep(0.002)  # the workers need the processor, too
            with await RawPeer.connect(port) as peer:
                await peer.send(b"who are you?\n")
                answer = b""
                while not answer.endswith(b"\n"):
                    piece = await peer.recv_some()
                    assert piece, "cut off"
                    answer += piece
                answers[answer.decode().strip()] += 1

    async with child(str(WORKERS), "--port", str(port), "--workers", "2") as supervisor:
        while not serves(port):  # noqa: ASYNC110 - another process is about to
            await trio.sleep(0.01)
        for generation in (1, 2):
            async with trio.open_nursery() as nursery:
                for _ in range(CLIENTS):
                    nursery.start_soon(ask_until, f"generation {generation}")
            supervisor.process.send_signal(signal.SIGHUP if generation < 2 else signal.SIGTERM)
        assert await supervisor.process.wait() == 0
    assert answers.keys() == {"generation 1", "generation 2"}

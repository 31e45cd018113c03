"""What the C library does with memory that was freed."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from tests.support.pairs import linked
from trio_xsock._platform import memory

BLOCKS = """
import resource, sys
from trio_xsock._platform.memory import keep_freed_memory

def faults(rounds):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(rounds):
        blocks = [b"x" * size for size in (2**20, *[2**14] * 64, 2**20)]
        del blocks
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults(10)
given_back = faults(50)
keep_freed_memory()
faults(10)
print(given_back, faults(50))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="about glibc")
def test_blocks_that_are_used_again_stay_with_the_process() -> None:
    """As many as a receive over TLS takes; without the call each round costs hundreds of faults."""
    result = subprocess.run(
        [sys.executable, "-c", BLOCKS], capture_output=True, text=True, check=True, timeout=15
    )
    given_back, kept = map(int, result.stdout.split())
    assert kept < 500
    assert given_back > 10 * kept


@pytest.mark.parametrize("count", [16_384, 200_000])
async def test_a_large_receive_asks_for_it(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the first read of several pages; small ones need no such thing."""
    asked: list[None] = []
    monkeypatch.setattr("trio_xsock._engine.intake.keep_freed_memory", lambda: asked.append(None))
    monkeypatch.setattr("trio_xsock._engine.intake._NOTABLE.size", 4096)
    async with linked() as (sock, peer):
        await peer.send(b"small")
        assert await sock.receive_some() == b"small"
        assert not asked
        await peer.send(bytes(count))
        assert len(await sock.receive_exactly(count)) == count
        assert asked
        asked.clear()
        await peer.send(bytes(16_384))
        assert len(await sock.receive_exactly(16_384)) == 16_384
        assert not asked  # it is done once in a process


def test_it_is_done_once() -> None:
    """Later calls cost nothing."""
    memory.keep_freed_memory()
    hits = memory.keep_freed_memory.cache_info().hits
    memory.keep_freed_memory()
    assert memory.keep_freed_memory.cache_info().hits == hits + 1

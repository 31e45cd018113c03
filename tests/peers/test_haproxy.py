"""HAProxy in front of three workers: health checks, draining, a worker that is killed."""

from __future__ import annotations

import re
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
import trio

from tests.support.programs import find_program, free_port, running, serves

pytestmark = pytest.mark.peer

ROOT = Path(__file__).resolve().parents[2]
CLIENT = "127.0.0.2"  # of all of 127.0.0.0/8 an address that no proxy comes from
CLIENTS = 8
PAUSE = 0.005
"""Seconds between two requests of a client: the workers need the processor, too."""

EXPECTED = rf"^HTTP/1.1 200 OK\r\n.*\r\n\r\n([abc]) says hello to {CLIENT}\n$".encode()

PAGE = ROOT / "docs" / "howto" / "haproxy.md"


def configuration(port: int, workers: Sequence[Worker]) -> str:
    """The one of the how-to, on other ports; the last worker is sent headers of version 1."""
    found = re.search(r"(?ms)^\$ cat haproxy.cfg\n(.*?)^\$ haproxy", PAGE.read_text())
    assert found is not None
    text = found[1].replace("bind :8000", f"bind 127.0.0.1:{port}")
    for number, worker in enumerate(workers, 1):
        text = text.replace(f"127.0.0.1:800{number}", f"127.0.0.1:{worker.port}")
        assert f"server {worker.name} 127.0.0.1:{worker.port}\n" in text
    last = f"server c 127.0.0.1:{workers[-1].port}"
    return text.replace(last, f"{last} no-send-proxy-v2 send-proxy")


class Worker:
    """The example, as a worker behind a proxy."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.port = free_port()
        self._process: trio.Process | None = None

    async def start(self) -> None:
        arguments = ["--port", str(self.port), "--name", self.name, "--proxy-protocol"]
        command = [sys.executable, "examples/http_responder.py", *arguments]
        self._process = await trio.lowlevel.open_process(command, cwd=ROOT)
        await until_slowly(lambda: serves(self.port))

    async def end(self, number: int) -> int | None:
        """Send a signal and wait for the end; returns the exit code."""
        process, self._process = self._process, None
        if process is None:
            return None
        process.send_signal(number)
        return await process.wait()


@asynccontextmanager
async def three_workers() -> AsyncIterator[tuple[Worker, Worker, Worker]]:
    """All run; what still runs in the end is killed."""
    workers = Worker("a"), Worker("b"), Worker("c")
    try:
        async with trio.open_nursery() as nursery:
            for worker in workers:
                nursery.start_soon(worker.start)
        yield workers
    finally:
        with trio.CancelScope(shield=True):
            for worker in workers:
                await worker.end(signal.SIGKILL)


class Failure(NamedTuple):
    """A request that was not answered as it should."""

    began: float
    answer: bytes


class Load:
    """Clients that ask, one request after the other, each on a connection of its own.

    Attributes:
        answered: how many requests each worker has answered.
        failures: the others.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self.answered: Counter[str] = Counter()
        self.failures: list[Failure] = []

    async def run(self) -> None:
        while True:
            began = trio.current_time()
            answer = await self.ask()
            match = re.search(EXPECTED, answer, re.DOTALL)
            if match is not None:
                self.answered[match[1].decode()] += 1
            else:
                self.failures.append(Failure(began, answer))
            await trio.sleep(PAUSE)

    async def ask(self) -> bytes:
        stream = await trio.open_tcp_stream("127.0.0.1", self.port, local_address=CLIENT)
        async with stream:
            await stream.send_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            try:
                return b"".join([chunk async for chunk in stream])
            except trio.BrokenResourceError as exc:
                return repr(exc).encode()

    async def more_from(self, name: str) -> None:
        """Wait until a worker has answered some more requests."""
        wanted = self.answered[name] + 20
        await until_slowly(lambda: self.answered[name] >= wanted)


async def until_slowly(condition: Callable[[], object]) -> None:
    """As ``until``, but other processes need the processor."""
    while not condition():  # noqa: ASYNC110 - nobody sets an event for what processes do
        await trio.sleep(0.01)


@pytest.mark.slow
async def test_workers_come_and_go_under_load(tmp_path: Path) -> None:
    """One drains and comes back: no request fails. The other is killed: only those on it do.

    And all the time the workers see the address of the client, not that of the proxy.
    """
    program = find_program("haproxy")
    async with three_workers() as workers:
        a, b, c = workers
        port = free_port()
        path = tmp_path / "haproxy.cfg"
        path.write_text(configuration(port, workers))
        with running([program, "-db", "-f", str(path)], tmp_path, lambda: serves(port)):
            load = Load(port)
            async with trio.open_nursery() as nursery:
                for _ in range(CLIENTS):
                    nursery.start_soon(load.run)
                for worker in workers:
                    await load.more_from(worker.name)

                assert await b.end(signal.SIGTERM) == 0
                await load.more_from("a")
                await b.start()
                await load.more_from("b")
                assert load.failures == []

                assert await a.end(signal.SIGKILL) == -signal.SIGKILL
                ended_at = trio.current_time()
                for worker in (b, c, b, c):
                    await load.more_from(worker.name)
                nursery.cancel_scope.cancel()
    print(f"{load.answered.total()} requests, {len(load.failures)} in flight on the one killed")
    assert len(load.failures) <= CLIENTS
    assert all(failure.began <= ended_at for failure in load.failures)

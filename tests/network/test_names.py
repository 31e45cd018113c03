"""Names of hosts that were looked up a moment ago."""

from __future__ import annotations

import socket
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.support.peers import LOOPBACK
from trio_xsock import NameResolutionError
from trio_xsock._network.names import REMEMBERED_FOR, NameMemory

ANY = socket.AF_UNSPEC


class CountingResolver(trio.abc.HostnameResolver):
    """Counts the questions, and answers them when it may; made, it serves this Trio run.

    Attributes:
        asked: the names, in the order of the questions.
        may_answer: clear it by a new event to let the questions wait.
        knows: whether there is an answer.
    """

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.may_answer = trio.Event()
        self.may_answer.set()
        self.knows = True
        trio.socket.set_custom_hostname_resolver(self)

    async def getaddrinfo(self, host: Any, port: Any, *_: Any, **__: Any) -> list[Any]:
        self.asked.append(host.decode() if isinstance(host, bytes) else host)
        await self.may_answer.wait()
        if not self.knows:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_DGRAM, 17, "", (LOOPBACK, int(port or 0)))]

    async def getnameinfo(self, sockaddr: Any, flags: int) -> Any:
        raise NotImplementedError


async def test_a_name_is_remembered_for_some_seconds(autojump_clock: MockClock) -> None:
    """And then looked up again; each port and family is a question of its own."""
    resolver, memory = CountingResolver(), NameMemory()
    for _ in range(100):
        (found,) = await memory.resolve("one.test", 7, ANY)
        assert found.address == (LOOPBACK, 7)
    assert resolver.asked == ["one.test"]
    await trio.sleep(REMEMBERED_FOR - 0.1)
    await memory.resolve("one.test", 7, ANY)
    assert len(resolver.asked) == 1
    await trio.sleep(0.2)
    await memory.resolve("one.test", 7, ANY)
    assert len(resolver.asked) == 2


async def test_questions_at_the_same_time_are_one() -> None:
    """Whoever asks while the name is being looked up waits for that answer."""
    resolver, memory = CountingResolver(), NameMemory()
    resolver.may_answer = trio.Event()
    answers: list[Any] = []

    async def ask() -> None:
        answers.extend(await memory.resolve("one.test", 7, ANY))

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        assert resolver.asked == ["one.test"]
        resolver.may_answer.set()
    assert [each.address for each in answers] == [(LOOPBACK, 7)] * 10


async def test_who_gives_up_leaves_the_question_to_the_others() -> None:
    """The first one is cancelled while it looks the name up; the second one asks itself."""
    resolver, memory = CountingResolver(), NameMemory()
    resolver.may_answer = trio.Event()
    scope = trio.CancelScope()
    answers: list[Any] = []

    async def first() -> None:
        with scope:
            await memory.resolve("one.test", 7, ANY)

    async def second() -> None:
        answers.extend(await memory.resolve("one.test", 7, ANY))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(first)
        await wait_all_tasks_blocked()
        nursery.start_soon(second)
        await wait_all_tasks_blocked()
        scope.cancel()
        await wait_all_tasks_blocked()
        assert resolver.asked == ["one.test"] * 2
        resolver.may_answer.set()
    assert [each.address for each in answers] == [(LOOPBACK, 7)]


async def test_a_failure_is_told_to_all_and_not_remembered() -> None:
    """The name may be there a moment later."""
    resolver, memory = CountingResolver(), NameMemory()
    resolver.may_answer, resolver.knows = trio.Event(), False
    failures: list[NameResolutionError] = []

    async def ask() -> None:
        with pytest.raises(NameResolutionError) as caught:
            await memory.resolve("one.test", 7, ANY)
        failures.append(caught.value)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        resolver.may_answer.set()
    assert len(failures) == 2
    assert resolver.asked == ["one.test"]
    resolver.knows = True
    (found,) = await memory.resolve("one.test", 7, ANY)
    assert found.address == (LOOPBACK, 7)


async def test_the_memory_is_bounded() -> None:
    """Many names do not fill it."""
    CountingResolver()
    memory = NameMemory()
    for number in range(1000):
        await memory.resolve(f"name{number}.test", 7, ANY)
    assert len(memory._look_ups) <= 256

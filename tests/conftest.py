"""What must hold after every test, whatever it was about: nothing is left behind.

The oracles of FAULTS 2.0: descriptors (O1) and threads (O3) of the process are looked at when all
fixtures of a test were torn down; tasks (O2) and the thread limiter (O3) at the end of each Trio
run. Warnings (O5) and the time-out (O10) are in the configuration of pytest; Trio runs are
cancelled a little before that, because pytest-timeout leaves wrecks of them behind, which then
make other tests fail.
"""

from __future__ import annotations

import functools
import gc
import importlib.util
import math
import os
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

# At the end of the path, so that an installed trio_xsock is tested and not the tree's.
sys.path.append(str(Path(__file__).resolve().parent.parent))
pytest.register_assert_rewrite("tests.support")

if importlib.util.find_spec("hypothesis") is not None:  # tox's tls-audit does without
    from hypothesis import settings

    # It measures wall time, which tells how busy the machine is.
    settings.register_profile("no deadline", deadline=None)
    settings.load_profile("no deadline")

PATIENCE = 2.0
"""Seconds for threads that nobody waits for any more (look-ups) to end."""

TIME_TO_REPORT = 4.0
"""Seconds before a test's time-out at which its Trio runs are cancelled; at most half of it."""

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # As shells have it for what they start in the background; Trio, and the programs that tests
    # start, would never see Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # as nohup has it

_NOT_ON_WINDOWS = re.compile(
    r"^(import|from) (fcntl|pty|resource|termios|\.support|tests\.support\.link)\b", re.MULTILINE
)
_run = trio.run
_problems: list[str] = []
_deadline = math.inf  # of the running test, on time.monotonic


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Leave out the modules that use what Windows has not, there."""
    if sys.platform == "win32" and collection_path.suffix == ".py":
        if _NOT_ON_WINDOWS.search(collection_path.read_text(encoding="utf-8")):
            return True
    return None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have pytest-trio run the tests with the check at the end."""
    for item in items:
        if item.get_closest_marker("trio") is not None:
            item.add_marker(pytest.mark.trio(run=checked_run), append=False)


@pytest.fixture(autouse=True)
def nothing_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that leaves descriptors, threads, tasks or limiter tokens behind."""
    global _deadline
    limit = time_limit(request.node)
    _deadline = time.monotonic() + max(limit - TIME_TO_REPORT, limit / 2)
    _problems.clear()
    threads = set(threading.enumerate())
    descriptors = count_descriptors()
    trio.run = checked_run
    try:
        yield
    finally:
        trio.run = _run
    if busy_threads(threads) or count_descriptors() > descriptors:
        wait_until(lambda: not busy_threads(threads) and count_descriptors() <= descriptors)
        if busy := busy_threads(threads):
            _problems.append(f"threads are left: {busy}")
        if count_descriptors() > descriptors:
            _problems.append(f"more than the {descriptors} descriptors before: {descriptions()}")
    if _problems:
        pytest.fail("; ".join(dict.fromkeys(_problems)), pytrace=False)


@pytest.fixture
def opened() -> Iterator[list[socket.socket]]:
    """Sockets to be closed after the test; it may have opened no others that are still open."""
    before = open_descriptors()
    sockets: list[socket.socket] = []
    yield sockets
    for each in sockets:
        each.close()
    assert open_descriptors() <= before


def time_limit(item: pytest.Item) -> float:
    """The seconds after which pytest-timeout ends a test."""
    marker = item.get_closest_marker("timeout")
    if marker is not None:
        limit = marker.args[0] if marker.args else marker.kwargs.get("timeout")
    else:
        limit = item.config.getoption("timeout", None) or item.config.getini("timeout")
    return float(limit or 0) or math.inf


def checked_run(async_fn: Callable[..., Awaitable[Any]], *args: Any, **options: Any) -> Any:
    """``trio.run``, and a look at what is left when the main task has ended."""

    @functools.wraps(async_fn)
    async def main(*args: Any) -> Any:
        before = trio.lowlevel.current_statistics().tasks_living
        # With a clock that jumps, seconds mean nothing.
        limit = math.inf if options.get("clock") else max(0.0, _deadline - time.monotonic())
        try:
            with trio.fail_after(limit) as scope:
                return await async_fn(*args)
        finally:
            if scope.cancel_called:
                _problems.append(f"cancelled after {limit:.1f} seconds in Trio")
            # Trio itself sees to it that no tasks but those of the system are left by now.
            after = trio.lowlevel.current_statistics().tasks_living
            if after > before:
                _problems.append(f"{after - before} system tasks are left: {system_tasks()}")
            limiter = trio.to_thread.current_default_thread_limiter()
            deadline = time.monotonic() + PATIENCE
            while limiter.borrowed_tokens and time.monotonic() < deadline:
                await trio.lowlevel.cancel_shielded_checkpoint()
                pause()
            if limiter.borrowed_tokens:
                _problems.append(f"{limiter.borrowed_tokens} tokens of the thread limiter are left")

    return _run(main, *args, **options)


def system_tasks() -> list[str]:
    """The names of Trio's system tasks, its own and others."""
    root = trio.lowlevel.current_root_task()
    assert root is not None
    return [task.name for nursery in root.child_nurseries for task in nursery.child_tasks]


def busy_threads(known: set[threading.Thread]) -> list[str]:
    """Threads that are not ``known``, less the idle ones that Trio keeps for a while."""
    new = set(threading.enumerate()) - known
    return [thread.name for thread in new if not thread.name.startswith("Trio thread ")]


def count_descriptors() -> int:
    """How many descriptors this process has; always 0 where that is hard to tell."""
    return len(open_descriptors())


def open_descriptors() -> set[str]:
    """Their numbers; none where that is hard to tell."""
    try:
        return set(os.listdir("/proc/self/fd"))
    except FileNotFoundError:
        return set()


def descriptions() -> list[str]:
    """What the descriptors are."""
    links = []
    for name in os.listdir("/proc/self/fd"):
        try:
            links.append(f"{name} -> {os.readlink(f'/proc/self/fd/{name}')}")
        except FileNotFoundError:  # the one of listdir itself
            pass
    return links


def wait_until(condition: Callable[[], bool]) -> None:
    """Give other threads some time; for look-ups that were abandoned, with their sockets."""
    deadline = time.monotonic() + PATIENCE
    while not condition() and time.monotonic() < deadline:
        pause()
    if not condition():
        gc.collect()  # makes a ResourceWarning of what was lost in a cycle


def pause() -> None:
    """Let other threads run."""
    time.sleep(0.001)

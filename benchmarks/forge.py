"""Makes the programs under test: one process per contender, forked for each measurement.

``python -m benchmarks.forge DESCRIPTOR MODULE`` imports the contender's module and then forks
a fresh process for each order, within a few milliseconds and with the same memory each time.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Coroutine
from typing import Any

from . import linux
from .control import Control
from .wire import Message, Wire, WireClosedError

_PATIENCE = 2.0
SLEEP = 0.002


def main(descriptor: int, module: str) -> None:
    """Serve until the parent goes away."""
    raise_descriptor_limit()
    wire = Wire.from_descriptor(descriptor)
    children: set[int] = set()
    try:
        importlib.import_module(module)
        wire.send({"ready": True})
        while True:
            _obey(wire, wire.receive(), children)
    except (WireClosedError, KeyboardInterrupt):
        pass
    finally:
        for pid in children:
            _end(pid, 0.0)


def _obey(wire: Wire, message: Message, children: set[int]) -> None:
    if "end" in message:
        pid = int(message["end"])
        children.discard(pid)
        _end(pid, _PATIENCE)
        wire.send({"ended": pid})
        return
    control_descriptor = message["descriptors"][0]
    pid = linux.fork()
    if not pid:
        wire.close()
        _run(Control(Wire.from_descriptor(control_descriptor), message["params"]), message)
    os.close(control_descriptor)
    children.add(pid)
    wire.send({"pid": pid})


def _run(control: Control, message: Message) -> None:
    """The whole life of a program under test."""
    code = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if message["settle"]:
            gc.collect()  # takes our own copy of the pages that the forge shares with us
        warm_allocator()
        control.listen_to_orders()
        program = getattr(importlib.import_module(message["module"]), message["program"])
        _LOOPS[message["loop"]](program, control)
        code = 0
    except Exception:
        control.failed(traceback.format_exc())
    finally:
        if not code:
            time.sleep(_PATIENCE)  # a client has ended; it waits for the order to exit
        os._exit(code)


def _end(pid: int, patience: float) -> None:
    """Wait for a child of ours; end it if that takes too long."""
    deadline = time.monotonic() + patience
    while not os.waitpid(pid, linux.WNOHANG)[0]:
        if time.monotonic() >= deadline:
            os.kill(pid, linux.SIGKILL)
            os.waitpid(pid, 0)
            return
        time.sleep(0.002)


def warm_allocator() -> None:
    """Bring glibc's allocator into the state of a program that has run for a while.

    It asks the kernel for each block of 128 KiB or more until one has been freed; from then
    on blocks up to the size of that one are kept. Without this asyncio, which allocates
    256 KiB for each read, would pay three system calls and a page fault for every message.
    """
    bytearray(2**23)


def raise_descriptor_limit() -> int:
    """Allow ourselves as many descriptors as we may; returns how many."""
    _, hard = linux.getrlimit(linux.RLIMIT_NOFILE)
    linux.setrlimit(linux.RLIMIT_NOFILE, (hard, hard))
    return int(hard)


# How a program is run

TrioProgram = Callable[[Control], Coroutine[Any, Any, None]]


def _run_plain(program: Callable[[Control], None], control: Control) -> None:
    program(control)


def _run_trio(program: TrioProgram, control: Control) -> None:
    trio = importlib.import_module("trio")

    async def sleeper() -> None:
        while True:
            before = time.perf_counter()
            await trio.sleep(SLEEP)
            control.sleeps.append(time.perf_counter() - before - SLEEP)

    async def whole() -> None:
        async with trio.open_nursery() as nursery:
            if control.params.get("sleeper"):
                nursery.start_soon(sleeper)
            await program(control)
            nursery.cancel_scope.cancel()

    trio.run(whole)


async def _with_asyncio_sleeper(program: TrioProgram, control: Control) -> None:
    async def sleeper() -> None:
        while True:
            before = time.perf_counter()
            await asyncio.sleep(SLEEP)
            control.sleeps.append(time.perf_counter() - before - SLEEP)

    task = asyncio.create_task(sleeper()) if control.params.get("sleeper") else None
    await program(control)
    if task is not None:
        task.cancel()


def _run_asyncio(program: TrioProgram, control: Control) -> None:
    asyncio.run(_with_asyncio_sleeper(program, control))


def _run_uvloop(program: TrioProgram, control: Control) -> None:
    uvloop = importlib.import_module("uvloop")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_with_asyncio_sleeper(program, control))


_LOOPS: dict[str, Callable[..., None]] = {
    "none": _run_plain,
    "trio": _run_trio,
    "asyncio": _run_asyncio,
    "uvloop": _run_uvloop,
}

if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])

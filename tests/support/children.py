"""Programs of ours in a process of their own, which tell line by line how far they are."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio


class Child:
    """A running program.

    Attributes:
        process: the process.
    """

    def __init__(self, process: trio.Process) -> None:
        self.process = process
        self._rest = b""

    async def line(self) -> str:
        """The next line of its output; fails if it has ended."""
        assert self.process.stdout is not None
        while b"\n" not in self._rest:
            data = await self.process.stdout.receive_some()
            assert data, f"the child has ended, and its last words were {self._rest!r}"
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode()

    async def say(self, text: str) -> None:
        """Write a line to its input."""
        assert self.process.stdin is not None
        await self.process.stdin.send_all(f"{text}\n".encode())


@asynccontextmanager
async def child(*arguments: str) -> AsyncIterator[Child]:
    """A Python program that runs in the block; it is killed if it has not ended by itself.

    Args:
        arguments: those of the interpreter.
    """
    process = await trio.lowlevel.open_process(
        [sys.executable, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield Child(process)
    finally:
        process.kill()
        with trio.move_on_after(5, shield=True):
            await process.wait()
            await process.stdin.aclose()
            await process.stdout.aclose()

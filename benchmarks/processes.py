"""The processes of a run, seen from the one that directs them."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .contenders import Contender
from .control import Params
from .placement import pin
from .wire import Message, Wire, WireClosedError

_ROOT = Path(__file__).resolve().parent.parent
_PATIENCE = 60.0
"""Seconds for one step; the load generator gives up sooner when nothing moves at all."""

_DISTORTING = {
    "PYTHONASYNCIODEBUG",
    "PYTHONDEVMODE",
    "PYTHONMALLOC",
    "PYTHONTRACEMALLOC",
    "PYTHONWARNINGS",
}


class MeasurementError(Exception):
    """A program under test or its load failed; the text says how."""


class Process:
    """A process of ours, and the wire to it. It ends when the wire is closed."""

    def __init__(self, module: str, *arguments: str) -> None:
        self.wire, other = Wire.pair()
        descriptor = other.sock.fileno()
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, str(descriptor), *arguments],
            cwd=_ROOT,
            pass_fds=[descriptor],
            stdin=subprocess.DEVNULL,
            env=environment(),
            process_group=0,  # Ctrl-C is for us alone; we end the others
        )
        other.close()

    def pin(self, cores: set[int]) -> None:
        """Let it, and the programs that it makes later, run on these cores only."""
        pin(self._process.pid, cores)

    def ask(self, message: Message, timeout: float = _PATIENCE) -> Message:
        """Send a message and wait for the answer."""
        self.wire.send(message)
        return self.wire.receive(timeout)

    def close(self, patience: float = 1.0) -> None:
        """End the process."""
        self.wire.close()
        try:
            self._process.wait(patience)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def environment() -> dict[str, str]:
    """Our variables without those that make Python slow: debugging, coverage."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in _DISTORTING and not name.startswith("COVERAGE_")
    }
    return {**kept, "PYTHONPATH": str(_ROOT)}


class Forge(Process):
    """Makes the programs of one module, a process for each measurement."""

    def __init__(self, module: str) -> None:
        super().__init__("benchmarks.forge", f"benchmarks.programs.{module}")

    def wait_until_ready(self) -> None:
        """Wait until the module was imported."""
        try:
            self.wire.receive(_PATIENCE)
        except WireClosedError:
            raise MeasurementError("the program could not be imported; see above") from None

    @contextmanager
    def program(
        self, contender: Contender, place: tuple[str, str], params: Params, settle: bool
    ) -> Iterator[Program]:
        """A program under test, ended when the block is left.

        With ``settle`` it takes a while to copy what it shares with the forge, which otherwise
        happens during the work.
        """
        wire, other = Wire.pair()
        module, program = place
        order = {"module": module, "program": program, "loop": contender.loop}
        try:
            self.wire.send({**order, "params": params, "settle": settle}, (other.sock.fileno(),))
            pid = self.wire.receive(_PATIENCE)["pid"]
            other.close()
            try:
                yield Program(wire)
            finally:
                self._end(wire, pid)
        finally:
            wire.close()
            other.close()

    def _end(self, wire: Wire, pid: int) -> None:
        try:
            wire.send({"order": "exit"})
        except WireClosedError:
            pass
        self.ask({"end": pid})


class Program:
    """A program under test."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def _receive(self, timeout: float = _PATIENCE) -> Message:
        try:
            message = self._wire.receive(timeout)
        except WireClosedError:
            raise MeasurementError("the program under test died") from None
        except TimeoutError:
            raise MeasurementError("the program under test does not answer") from None
        if "error" in message:
            raise MeasurementError(f"the program under test failed:\n{message['error']}")
        return message

    def complaint(self) -> str:
        """Why it failed, if it did so by itself."""
        try:
            message = self._wire.receive(0.2)
        except (WireClosedError, TimeoutError):
            return ""
        return str(message.get("error", ""))

    def ends_before(self, other: Process) -> bool:
        """Wait until this or the other process says something; whether it was this one."""
        ours, theirs = self._wire.sock, other.wire.sock
        return ours in select.select([ours, theirs], [], [], _PATIENCE)[0]

    def port(self) -> int:
        """The port of a server, once it listens."""
        return int(self._receive()["ready"])

    def mark(self) -> Message:
        """What it has used so far."""
        self._wire.send({"order": "mark"})
        return self._receive()

    def marks(self) -> tuple[Message, Message]:
        """What a client had used before and after its work, once that is done."""
        message = self._receive()
        return message["begin"], message["end"]


class LoadGenerator(Process):
    """The other side of all programs under test."""

    def __init__(self, *, sleeps: bool = False) -> None:
        super().__init__("benchmarks.load", *(["--sleeps"] if sleeps else []))

    def prepare(self, load: str, params: Params) -> Message:
        """Get ready; tells the port to connect to if the program under test is a client."""
        order = {"load": f"benchmarks.{load}", "params": params}
        return self._check(self.ask(order), "ready")

    def start(self) -> None:
        """Begin with the work."""
        self.wire.send({"order": "go"})

    def finish(self) -> Message:
        """Wait for the end of the work, and tell how it went. Connections stay open."""
        return self._check(self.wire.receive(_PATIENCE), "result")

    def end(self) -> None:
        """Close the connections."""
        self.wire.send({"order": "end"})

    def _check(self, message: Message, key: str) -> Message:
        if "error" in message:
            raise MeasurementError(f"the load generator failed:\n{message['error']}")
        answer: Message = message[key]
        return answer

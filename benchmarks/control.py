"""The side of a program under test: its orders, and the marks at which it looks at itself.

A thread answers the orders, so that every program, whatever its event loop, is asked in the
same way. It is blocked in a system call while something is measured and costs nothing then.
"""

from __future__ import annotations

import os
import threading
import time
from array import array
from collections.abc import Sequence

from . import linux
from .wire import Message, Wire, WireClosedError

Params = dict[str, int]


class Control:
    """What a program under test is given.

    Attributes:
        params: the sizes of the work.
        sleeps: how late a task was that sleeps beside the work, in seconds.
    """

    def __init__(self, wire: Wire, params: Params) -> None:
        self.params = params
        self.sleeps = array("d")
        self._wire = wire
        self._began: Message = {}

    def __getitem__(self, name: str) -> int:
        return self.params[name]

    def listen_to_orders(self) -> None:
        """Answer orders from now on."""
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        try:
            while True:
                order = self._wire.receive()["order"]
                if order == "exit":
                    os._exit(0)
                self._wire.send(self._mark())
        except WireClosedError:
            os._exit(0)

    def ready(self, port: int = 0) -> None:
        """A server is listening on ``port``."""
        self._wire.send({"ready": port})

    def begin(self) -> None:
        """A client begins with what is measured."""
        self._began = self._mark()

    def end(self) -> None:
        """A client is done."""
        self._wire.send({"begin": self._began, "end": self._mark()})

    def failed(self, reason: str) -> None:
        """The program ended by an exception."""
        self._wire.send({"error": reason[-20000:]})

    def _mark(self) -> Message:
        usage = linux.getrusage(linux.RUSAGE_SELF)
        sleeps, self.sleeps = self.sleeps, array("d")
        mark: Message = {
            "cpu": usage.ru_utime + usage.ru_stime,
            "wall": time.perf_counter(),
            "resident": resident_bytes(),
        }
        if sleeps:
            mark["late_p50"] = percentile(sleeps, 50)
            mark["late_p99"] = percentile(sleeps, 99)
        return mark


def resident_bytes() -> int:
    """The memory of this process that is in RAM (VmRSS)."""
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[1]) * int(linux.getpagesize())


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that ``percent`` per cent of ``values`` do not exceed."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(len(ranked) * percent / 100))]

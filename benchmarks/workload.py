"""What a workload is, and what one measurement of it tells."""

from __future__ import annotations

import enum
import importlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass

from .contenders import BASELINE, Contender
from .control import Params


class Size(enum.Enum):
    """How much work is done."""

    FULL = "full"
    QUICK = "quick"
    TINY = "tiny"
    """For the tests of the benchmarks themselves."""


class Measure(enum.Enum):
    """What is compared; of all, less is better. The value is its unit."""

    CPU = "us CPU"
    CPU_PER_GB = "ms CPU/GB, both ends"
    WALL = "us wall"
    RESIDENT = "bytes"
    LATENESS = "ms late, p99"
    LATENCY = "ms, p99"
    LOST = "% lost"


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement.

    Attributes:
        cpu: seconds of CPU that the program under test used.
        wall: seconds that it took.
        operations: round trips, connections, bytes or lines.
        resident: bytes by which its memory in RAM grew.
        p50, p99: latencies that the load generator saw, in seconds.
        late_p50, late_p99: how late a sleeping task was, in seconds.
        lost: how many datagrams did not arrive, 0 to 1.
        load_cpu: seconds of CPU that the load generator used.
    """

    cpu: float
    wall: float
    operations: int
    resident: int = 0
    p50: float | None = None
    p99: float | None = None
    late_p50: float | None = None
    late_p99: float | None = None
    lost: float | None = None
    load_cpu: float = 0.0

    def figure(self, measure: Measure) -> float:
        """The one figure that is compared."""
        match measure:
            case Measure.CPU:
                return self.cpu / self.operations * 1e6
            case Measure.CPU_PER_GB:
                return (self.cpu + self.load_cpu) / self.operations * 1e12
            case Measure.WALL:
                return self.wall / self.operations * 1e6
            case Measure.RESIDENT:
                return max(self.resident, 1) / self.operations
            case Measure.LATENESS:
                return max(self.late_p99 or 0.0, 1e-6) * 1e3
            case Measure.LATENCY:
                return max(self.p99 or 0.0, 1e-6) * 1e3
            case Measure.LOST:
                return max(self.lost or 0.0, 0.01) * 1e2  # of less it is hard to tell more


@dataclass(frozen=True, slots=True, eq=False)
class Workload:
    """A program and a load for it.

    Attributes:
        name: what ``--only`` takes.
        title: what the table shows.
        program: the name of the function in the contender's module.
        load: ``module:function`` below ``benchmarks``.
        sizes: the parameters of both.
        is_client: the program under test connects; else it listens.
        measure: what is compared.
        baseline: the contender that is 1 in the ratios.
        most_rounds: more are not worth their time.
        module: where the programs of all contenders are, if not in the contenders' modules;
            there they are named ``<contender's module>_<program>``.
    """

    name: str
    title: str
    program: str
    load: str
    sizes: Mapping[Size, Params]
    is_client: bool = False
    measure: Measure = Measure.CPU
    baseline: str = BASELINE
    most_rounds: int = 1000
    module: str = ""

    def place(self, contender: Contender) -> tuple[str, str]:
        """The module and the function of a contender's program."""
        if self.module:
            return self.module, f"{contender.module}_{self.program}"
        return f"benchmarks.programs.{contender.module}", self.program

    def is_known_to(self, contender: Contender) -> bool:
        """Whether the contender has a program for this."""
        if self.measure is Measure.LATENESS and contender.loop == "none":
            return False  # there are no tasks that could be late
        module, function = self.place(contender)
        return importlib.util.find_spec(module) is not None and hasattr(
            importlib.import_module(module), function
        )

    def params(self, size: Size) -> Params:
        """The parameters for a size."""
        return dict(self.sizes[size])

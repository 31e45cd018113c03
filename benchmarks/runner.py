"""The rounds: in each, every contender does the work once, in an order drawn by lot."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from . import linux
from .contenders import Contender
from .control import Params
from .placement import Placement
from .processes import Forge, LoadGenerator, MeasurementError, Program
from .results import Results
from .wire import Message, WireClosedError
from .workload import Sample, Size, Workload

Say = Callable[[str], None]


class Runner:
    """Runs workloads with contenders, and collects the samples."""

    def __init__(
        self,
        contenders: Sequence[Contender],
        size: Size,
        say: Say,
        placement: Placement = Placement.FREE,
    ) -> None:
        self._placement = placement
        self._contenders = contenders
        self._size = size
        self._say = say
        self._forges: dict[str, Forge] = {}
        self._load: LoadGenerator | None = None
        self._lot = random.Random(1)
        self._cores = placement.cores(sorted(linux.sched_getaffinity(0)))

    @contextmanager
    def processes(self) -> Iterator[None]:
        """Within the block the processes exist."""
        try:
            for module in dict.fromkeys(contender.module for contender in self._contenders):
                self._forges[module] = Forge(module)
            self._load = self._new_load()
            for forge in self._forges.values():
                forge.wait_until_ready()
                forge.pin(self._cores[0])
            yield
        finally:
            for forge in self._forges.values():
                forge.close()
            self._forges.clear()
            if self._load is not None:
                self._load.close()
                self._load = None

    def _new_load(self) -> LoadGenerator:
        load = LoadGenerator(sleeps=self._placement.load_sleeps)
        load.pin(self._cores[1])
        return load

    def run(
        self, workloads: Sequence[Workload], rounds: int, results: Results, most_seconds: float
    ) -> None:
        """So many rounds, or as many as fit into the time, but at least one."""
        deadline = time.monotonic() + most_seconds
        for number in range(rounds):
            began = time.monotonic()
            for workload in workloads:
                if number < workload.most_rounds:
                    if number and time.monotonic() > deadline:
                        self._say(f"time is up in round {number + 1} of {rounds}")
                        return
                    self._round(workload, number, results)
            self._say(f"round {number + 1} of {rounds}: {time.monotonic() - began:.0f} s")

    def _round(self, workload: Workload, number: int, results: Results) -> None:
        contenders = [
            one
            for one in self._contenders
            if number < one.most_rounds
            and workload.is_known_to(one)
            and not results.has_failed(workload, one)
        ]
        self._lot.shuffle(contenders)
        for contender in contenders:
            try:
                sample = self.measure(workload, contender)
            except MeasurementError as exc:
                results.add_failure(workload, contender, str(exc))
                self._say(f"{workload.name}, {contender.name}: {exc}")
            else:
                results.add(workload, contender, number, sample)

    def measure(self, workload: Workload, contender: Contender) -> Sample:
        """One measurement, in a fresh process.

        Raises:
            MeasurementError: it failed, or took too long.
        """
        assert self._load is not None
        measure = self._client if workload.is_client else self._server
        try:
            sample = measure(workload, contender, self._load)
            self._load.end()
        except (MeasurementError, WireClosedError, TimeoutError) as exc:
            self._load.close(0.0)  # it may wait for something that never comes
            self._load = self._new_load()
            if isinstance(exc, MeasurementError):
                raise
            raise MeasurementError(f"a process does not answer: {exc!r}") from exc
        return sample

    def _server(self, workload: Workload, contender: Contender, load: LoadGenerator) -> Sample:
        params = workload.params(self._size)
        with self._program(workload, contender, params) as program:
            load.prepare(workload.load, {**params, "port": program.port()})
            before = program.mark()
            load.start()
            result = load.finish()
            after = program.mark()
        return _sample(before, after, result)

    def _client(self, workload: Workload, contender: Contender, load: LoadGenerator) -> Sample:
        params = workload.params(self._size)
        params["port"] = load.prepare(workload.load, params)["port"]
        load.start()
        with self._program(workload, contender, params) as program:
            if program.ends_before(load):
                before, after = program.marks()
                result = load.finish()
            else:
                result = load.finish()
                before, after = program.marks()
        return _sample(before, after, result)

    @contextmanager
    def _program(
        self, workload: Workload, contender: Contender, params: Params
    ) -> Iterator[Program]:
        forge = self._forges[contender.module]
        settle = self._size is not Size.TINY
        with forge.program(contender, workload.place(contender), params, settle) as program:
            try:
                yield program
            except MeasurementError as exc:
                if complaint := program.complaint():
                    raise MeasurementError(f"the program under test failed:\n{complaint}") from exc
                raise


def _sample(before: Message, after: Message, result: Message) -> Sample:
    return Sample(
        cpu=after["cpu"] - before["cpu"],
        wall=result.get("wall", after["wall"] - before["wall"]),
        operations=result["operations"],
        resident=after["resident"] - before["resident"],
        p50=result.get("p50"),
        p99=result.get("p99"),
        late_p50=after.get("late_p50"),
        late_p99=after.get("late_p99"),
        lost=result.get("lost"),
        load_cpu=result.get("cpu", 0.0),
    )

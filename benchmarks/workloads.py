"""The workloads over TCP, and after them those of other kinds, which bring their own module."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from . import messages, tls, udp
from .control import Params
from .workload import Measure, Size, Workload

_MIB = 2**20


def _sizes(full: Params, quick: Params, tiny: Params) -> dict[Size, Params]:
    """The quick and the tiny one need only say what differs."""
    return {Size.FULL: full, Size.QUICK: {**full, **quick}, Size.TINY: {**full, **quick, **tiny}}


_BULK = _sizes({"unit": 16 * _MIB, "units": 12}, {"units": 6}, {"unit": _MIB, "units": 2})


def _ping(
    connections: int, size: int, full: int, quick: int, tiny: int = 200
) -> dict[Size, Params]:
    return _sizes(
        {"connections": connections, "size": size, "messages": full, "warm": 20},
        {"messages": quick},
        {"connections": min(connections, 20), "messages": tiny, "warm": 2},
    )


def _far(connections: int, full: int, quick: int, tiny: int) -> dict[Size, Params]:
    return {
        size: {**params, "warm": 2 if size is Size.TINY else 5, "milliseconds": 20}
        for size, params in _ping(connections, 64, full, quick, tiny).items()
    }


WORKLOADS: Sequence[Workload] = (
    Workload(
        "receive",
        "bulk receive",
        "sink",
        "loads.bulk:to_server",
        _BULK,
        measure=Measure.CPU_PER_GB,
    ),
    Workload(
        "send",
        "bulk send, 64 KiB writes, progress events",
        "source",
        "loads.bulk:from_server",
        _BULK,
        measure=Measure.CPU_PER_GB,
    ),
    Workload(
        "ping-1",
        "ping-pong 64 B, 1 connection",
        "echo",
        "loads.ping:to_server",
        _ping(1, 64, 3000, 1500),
    ),
    Workload(
        "ping-100",
        "ping-pong 64 B, 100 connections",
        "echo",
        "loads.ping:to_server",
        _ping(100, 64, 7000, 3000),
    ),
    Workload(
        "ping-1000",
        "ping-pong 64 B, 1000 connections",
        "echo",
        "loads.ping:to_server",
        _ping(1000, 64, 7000, 4000),
    ),
    Workload(
        "ping-5000",
        "ping-pong 64 B, 5000 connections",
        "echo",
        "loads.ping:to_server",
        _sizes(
            {"connections": 5000, "size": 64, "messages": 15000},
            {"connections": 2000, "messages": 4000},
            {"connections": 20, "messages": 100},
        ),
        most_rounds=1,
    ),
    Workload(
        "noise",
        "ping-pong 64 B, 100 connections beside a noisy one",
        "echo",
        "loads.ping:beside_noise",
        _ping(100, 64, 3000, 1500),
        measure=Measure.LATENCY,
        most_rounds=3,
    ),
    Workload(
        "ping-16k",
        "ping-pong 16 KiB, 100 connections",
        "echo",
        "loads.ping:to_server",
        _ping(100, 16384, 4000, 2000),
    ),
    Workload(
        "connect",
        "connect + 1 byte + close",
        "echo",
        "loads.connect:to_server",
        _sizes({"count": 1000, "at_once": 16}, {"count": 500}, {"count": 40}),
    ),
    Workload(
        "newcomers",
        "newcomers beside 400 busy connections",
        "echo",
        "loads.connect:newcomers",
        _sizes(
            {"connections": 400, "count": 48, "size": 64},
            {"count": 32},
            {"connections": 20, "count": 4},
        ),
        measure=Measure.WALL,
    ),
    Workload(
        "idle",
        "idle connection, resident",
        "echo",
        "loads.connect:idle",
        _sizes({"warm": 200, "count": 5000}, {"count": 2000}, {"warm": 10, "count": 50}),
        measure=Measure.RESIDENT,
        most_rounds=1,
    ),
    Workload(
        "lines",
        "40-byte lines, one by one",
        "lines",
        "loads.bulk:lines",
        _sizes(
            {"batch": 10000, "batches": 100, "size": 40},
            {"batches": 10},
            {"batch": 1000, "batches": 2},
        ),
        baseline="asyncio-streams",
        most_rounds=3,
    ),
    Workload(
        "sleeper",
        "2 ms sleep beside 1000 busy connections",
        "echo",
        "loads.ping:to_server",
        {
            size: {**params, "sleeper": 1}
            for size, params in _ping(1000, 64, 12000, 6000, 600).items()
        },
        measure=Measure.LATENESS,
        most_rounds=3,
    ),
    Workload(
        "client-send",
        "client: bulk send, progress events",
        "client_send",
        "loads.bulk:from_client",
        _BULK,
        is_client=True,
        measure=Measure.CPU_PER_GB,
    ),
    Workload(
        "client-receive",
        "client: bulk receive",
        "client_receive",
        "loads.bulk:to_client",
        _BULK,
        is_client=True,
        measure=Measure.CPU_PER_GB,
    ),
    Workload(
        "client-ping-1",
        "client: ping-pong 64 B, 1 connection",
        "client_ping",
        "loads.ping:to_client",
        _ping(1, 64, 3000, 1500),
        is_client=True,
    ),
    Workload(
        "client-ping-100",
        "client: ping-pong 64 B, 100 connections",
        "client_ping",
        "loads.ping:to_client",
        _ping(100, 64, 7000, 3000),
        is_client=True,
    ),
    Workload(
        "far-1",
        "client: 64 B, answered after 20 ms, 1 connection",
        "client_ping",
        "loads.far:to_client",
        _far(1, 50, 25, 5),
        is_client=True,
    ),
    Workload(
        "far-50",
        "client: 64 B, answered after 20 ms, 50 connections",
        "client_ping",
        "loads.far:to_client",
        _far(50, 1000, 500, 60),
        is_client=True,
    ),
    Workload(
        "client-connect",
        "client: connect + 1 byte + close",
        "client_connect",
        "loads.connect:from_client",
        _sizes({"count": 500, "warm": 50}, {"count": 300}, {"count": 20, "warm": 5}),
        is_client=True,
    ),
    *tls.WORKLOADS,
    *udp.WORKLOADS,
    *messages.WORKLOADS,
)


def choose(names: Iterable[str]) -> list[Workload]:
    """The workloads of these names, in the order of the table; all for no names.

    Raises:
        ValueError: there is no workload of that name.
    """
    wanted = set(names)
    if unknown := wanted - {workload.name for workload in WORKLOADS}:
        known = ", ".join(workload.name for workload in WORKLOADS)
        raise ValueError(f"no workload {min(unknown)!r}; there are {known}")
    return [workload for workload in WORKLOADS if not wanted or workload.name in wanted]

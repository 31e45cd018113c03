"""``xsock interfaces``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from trio_xsock import NetworkInterface, network_interfaces

from ._command import Command, add_json
from ._errors import ExitCode
from ._interrupt import until_interrupted
from ._report import Report
from ._text import escape

_TITLES = ("", "name", "address", "mask", "hardware address", "MTU", "further addresses")


def _row(number: int, interface: NetworkInterface) -> tuple[str, ...]:
    """An interface for a person, with the place that ``network_interface()`` takes."""
    cells = (
        str(number),
        interface.name,
        interface.ip_address,
        interface.subnet_mask,
        interface.mac_address,
        str(interface.mtu),
        ", ".join(interface.addresses[1:]),
    )
    return tuple(escape(cell) for cell in cells)


def _table(interfaces: Sequence[NetworkInterface]) -> list[str]:
    """The titles, and a line for each interface, in columns."""
    rows = [_TITLES, *(_row(*numbered) for numbered in enumerate(interfaces))]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


async def _run(options: argparse.Namespace, report: Report) -> ExitCode:
    async def work() -> ExitCode:
        _show(report)
        await report.delivered()
        return ExitCode.DONE

    code = await until_interrupted(work)
    if code is None:
        report.trouble("interrupted", "interrupted")
        return ExitCode.INTERRUPTED
    return code


def _show(report: Report) -> None:
    interfaces = network_interfaces()
    titles, *lines = _table(interfaces)
    if not report.as_json:
        report.fact("titles", titles)
    for line, interface in zip(lines, interfaces, strict=True):
        report.fact(
            "interface",
            line,
            name=interface.name,
            ip_address=interface.ip_address,
            subnet_mask=interface.subnet_mask,
            mac_address=interface.mac_address,
            addresses=interface.addresses,
            is_up=interface.is_up,
            is_loopback=interface.is_loopback,
            mtu=interface.mtu,
        )


COMMAND = Command(
    name="interfaces",
    summary="list the network interfaces of this machine that are up",
    description="List the network interfaces that are up, each with its place, its name and its "
    "addresses. Wherever an interface is asked for, the place or the name does.",
    configure=add_json,
    run=_run,
)

"""``xsock interfaces``."""

from __future__ import annotations

import argparse

import trio

from trio_xsock import NetworkInterface, network_interfaces

from ._command import Command, add_json
from ._errors import ExitCode
from ._report import Report
from ._text import escape


def _line(number: int, interface: NetworkInterface) -> str:
    """An interface for a person, with the place that ``network_interface()`` takes."""
    mask = f" mask {interface.subnet_mask}" if interface.subnet_mask else ""
    hardware = f", hardware address {interface.mac_address}" if interface.mac_address else ""
    others = ", ".join(interface.addresses[1:])
    also = f", also {others}" if others else ""
    address = interface.ip_address or "no address"
    return escape(f"{number}  {interface.name}: {address}{mask}{also}{hardware}, ") + (
        f"packets up to {interface.mtu} bytes"
    )


async def _run(options: argparse.Namespace, report: Report) -> ExitCode:
    for number, interface in enumerate(network_interfaces()):
        report.fact(
            "interface",
            _line(number, interface),
            name=interface.name,
            ip_address=interface.ip_address,
            subnet_mask=interface.subnet_mask,
            mac_address=interface.mac_address,
            addresses=interface.addresses,
            is_up=interface.is_up,
            is_loopback=interface.is_loopback,
            mtu=interface.mtu,
        )
    await trio.lowlevel.checkpoint()
    return ExitCode.DONE


COMMAND = Command(
    name="interfaces",
    summary="list the network interfaces of this machine that are up",
    description="List the network interfaces that are up, each with its place, its name and its "
    "addresses. Wherever an interface is asked for, the place or the name does.",
    configure=add_json,
    run=_run,
)

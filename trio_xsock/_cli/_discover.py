"""``xsock discover GROUP``."""

from __future__ import annotations

import argparse
import contextlib
import math
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import trio

from trio_xsock import (
    AutoDiscovery,
    ErrorOccurred,
    Member,
    MemberJoined,
    MemberLeft,
    NetworkInterface,
)

from . import _arguments
from ._command import Command, add_json
from ._errors import CommandError, ExitCode, UsageError
from ._interrupt import until_interrupted
from ._progress import is_terminal
from ._report import Report
from ._text import endpoint, escape
from ._udp import add_interface

if TYPE_CHECKING:
    from ._member_table import MemberTable

_PORT: Final = 4711


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("group", metavar="GROUP", help="the name of the group")
    parser.add_argument(
        "--port",
        metavar="PORT",
        type=_arguments.listening_port,
        default=_PORT,
        help=f"the port that the group shares (default: {_PORT})",
    )
    parser.add_argument("--name", default="xsock", help="what to call ourselves (default: xsock)")
    parser.add_argument(
        "--key-file",
        metavar="FILE",
        type=Path,
        help="a file whose content is the group's key, less white space at its end",
    )
    add_interface(parser)
    parser.add_argument(
        "--seconds",
        metavar="SECONDS",
        type=_arguments.seconds,
        default=0.0,
        help="look for so long; 0, the default, until Ctrl-C",
    )
    add_json(parser)


class _Show(Protocol):
    """Shows which members join and leave."""

    def joined(self, member: Member, own: bool) -> None: ...

    def left(self, member: Member) -> None: ...

    def trouble(self, error: Exception) -> None: ...


class _Lines:
    """A line for each change, for logs and programs."""

    def __init__(self, report: Report) -> None:
        self._report = report

    def joined(self, member: Member, own: bool) -> None:
        self._say("joined", "+", member, own)

    def left(self, member: Member) -> None:
        self._say("left", "-", member, False)

    def trouble(self, error: Exception) -> None:
        self._report.trouble("error", escape(str(error)))

    def _say(self, event: str, sign: str, member: Member, own: bool) -> None:
        where = endpoint(member.address, member.port)
        self._report.fact(
            event,
            f"{sign} {where} {_label(member, own)}",
            instance_id=member.instance_id,
            address=member.address,
            port=member.port,
            name=member.name,
            metadata=tuple(f"{key}={value}" for key, value in member.metadata.items()),
            own=own,
        )


class _Rows:
    """A row for each member in a table on a terminal."""

    def __init__(self, table: MemberTable) -> None:
        self._table = table

    def joined(self, member: Member, own: bool) -> None:
        where = endpoint(member.address, member.port)
        more = ", ".join(f"{key}={value}" for key, value in member.metadata.items())
        self._table.put(member.instance_id, (_label(member, own), where, escape(more)))

    def left(self, member: Member) -> None:
        self._table.drop(member.instance_id)

    def trouble(self, error: Exception) -> None:
        """A line above the table."""
        self._table.say(f"xsock: {escape(str(error))}")


def _label(member: Member, own: bool) -> str:
    """Its name, which is untrusted and so escaped, and whether it is this program."""
    return escape(member.name or "(no name)") + (" (this program)" if own else "")


async def _run(options: argparse.Namespace, report: Report) -> ExitCode:
    if not options.port:
        raise UsageError("all members share the port, so it cannot be 0")
    key = _read_key(options.key_file)
    interface: NetworkInterface | None = options.interface
    try:
        discovery = AutoDiscovery(
            options.port, name=options.name, key=key, network_interface=interface
        )
    except ValueError as exc:
        raise UsageError(str(exc)) from exc

    async def work() -> ExitCode:
        with _show(options.group, report) as show, trio.move_on_after(options.seconds or math.inf):
            await _watch(discovery, options.group, show, report)
        return ExitCode.DONE

    code = await until_interrupted(lambda: report.while_read(work))
    if code is None:
        report.trouble("interrupted", "interrupted", message="interrupted")
        return ExitCode.INTERRUPTED
    return code


async def _watch(discovery: AutoDiscovery, group: str, show: _Show, report: Report) -> None:
    async with discovery:
        await discovery.bind()
        try:
            discovery.register(group)
        except ValueError as exc:
            raise UsageError(str(exc)) from exc
        own = discovery.get_member_list()[0]
        async for event in discovery.events:
            match event:
                case MemberJoined(member=member):
                    show.joined(member, member.instance_id == own.instance_id)
                case MemberLeft(member=member):
                    show.left(member)
                case ErrorOccurred(error=error):  # discovery goes on, and may work again later
                    show.trouble(error)
                case _:  # of the socket itself
                    pass
            await report.room()


def _read_key(path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        key = path.read_bytes().rstrip()
    except OSError as exc:
        raise CommandError(f"cannot read {escape(str(path))}: {exc.strerror}") from exc
    if not key:
        raise UsageError(f"there is no key in {escape(str(path))}")
    return key


@contextlib.contextmanager
def _show(group: str, report: Report) -> Generator[_Show]:
    """The table on a terminal, else lines."""
    if report.as_json or not is_terminal(report.out):
        yield _Lines(report)
        return
    from ._member_table import member_table  # noqa: PLC0415 - rich may be missing

    with member_table(group, report.out) as table:
        yield _Rows(table)


COMMAND = Command(
    name="discover",
    summary="show who is in a group, as they come and go",
    description="Be a member of a group, and show all others that AutoDiscovery finds: as a "
    "table on a terminal, else as a line for each that comes (+) or goes (-).",
    configure=_configure,
    run=_run,
)

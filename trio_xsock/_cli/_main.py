"""The command line as a whole: parse, run the command, turn what happened into an exit code."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import trio

from trio_xsock import SocketError

from ._command import Command
from ._errors import CommandError, ExitCode, escape_error
from ._report import Report

_commands: tuple[Command, ...] | None
try:
    from . import _registry
except ModuleNotFoundError as exc:
    if exc.name is None or exc.name.partition(".")[0] != "rich":
        raise
    _commands = None  # main() says so
else:
    _commands = _registry.COMMANDS

_MISSING_RICH = """\
xsock: the command line needs 'rich', which is not installed.
Install it together with the library:

    python -m pip install 'trio-xsock[cli]'
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``xsock`` and return its exit code.

    Args:
        argv: the arguments without the program's name; default: the process's own.

    Returns:
        0 done, 1 network failure or refusal, 2 wrong usage, 130 interrupted.
    """
    if _commands is None:
        sys.stderr.write(_MISSING_RICH)
        return ExitCode.USAGE
    try:
        options = _parser(_commands).parse_args(argv)
    except SystemExit as exc:  # argparse's way to end: --help, or wrong usage
        return exc.code if isinstance(exc.code, int) else ExitCode.USAGE
    report = Report(as_json=getattr(options, "json", False))
    try:
        return int(trio.run(options.command.run, options, report))
    except (CommandError, SocketError) as exc:
        report.trouble("failed", escape_error(exc))
        return exc.exit_code if isinstance(exc, CommandError) else ExitCode.FAILED
    except KeyboardInterrupt:
        report.trouble("interrupted", "interrupted")
        return ExitCode.INTERRUPTED


def _parser(choices: Sequence[Command]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="xsock",
        description="Move files and bytes over TCP. 'xsock COMMAND --help' tells more.",
        epilog="exit codes: 0 done, 1 network failure or refusal, 2 wrong usage, 130 interrupted",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in choices:
        of_command = commands.add_parser(
            command.name,
            help=command.summary,
            description=command.description,
            epilog=parser.epilog,
            allow_abbrev=False,
        )
        command.configure(of_command)
        of_command.set_defaults(command=command)
    return parser

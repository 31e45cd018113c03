"""The command line as a whole: parse, run the command, turn what happened into an exit code."""

from __future__ import annotations

import argparse
import functools
import importlib.util
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NoReturn

import trio

from trio_xsock import SocketError, __version__

from . import _registry
from ._command import Command
from ._errors import CommandError, ExitCode, OutputFailedError, OutputGoneError, escape_error
from ._interrupt import Signals, signals_of_the_command, until_interrupted
from ._log import logging_to
from ._report import Report
from ._text import escape

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
    with signals_of_the_command() as signals:
        return _main(argv, signals)


def program() -> NoReturn:
    """The program ``xsock``: run ``main()`` and exit.

    A signal that arrives after the exit code was decided does not change it.
    """
    with signals_of_the_command() as signals:
        code = _main(None, signals)
        signals.ignore()
        sys.exit(code)


def _main(argv: Sequence[str] | None, signals: Signals) -> int:
    report = Report()
    try:
        code = _parse_and_run(argv, report)
    finally:
        report.finish(signals.is_impatient)
    if signals.count and not report.is_delivered():
        return ExitCode.INTERRUPTED
    return code


def _parse_and_run(argv: Sequence[str] | None, report: Report) -> int:
    try:
        options = _parser(_registry.COMMANDS, report).parse_args(argv)
    except SystemExit as exc:  # argparse's way to end: --help, --version, or wrong usage
        if exc.code:
            return ExitCode.USAGE
        return _run(report, functools.partial(_deliver, report))
    if importlib.util.find_spec("rich") is None:
        report.plain(_MISSING_RICH, error=True)
        return ExitCode.USAGE
    report.as_json = getattr(options, "json", False)
    with logging_to(report):
        return _run(report, functools.partial(options.command.run, options, report))


async def _deliver(report: Report) -> ExitCode:
    """Wait until the output of ``--help`` or ``--version`` is written."""

    async def work() -> ExitCode:
        await report.delivered()
        return ExitCode.DONE

    code = await until_interrupted(work)
    return ExitCode.INTERRUPTED if code is None else code


def _run(report: Report, work: Callable[[], Awaitable[int]]) -> int:
    try:
        return int(trio.run(work))
    except OutputGoneError:  # as in "xsock connect ... | head -1"
        return ExitCode.DONE
    except OutputFailedError:  # the report says so at its end
        return ExitCode.FAILED
    except (CommandError, SocketError) as exc:
        report.trouble("failed", escape_error(exc))
        return exc.exit_code if isinstance(exc, CommandError) else ExitCode.FAILED
    except OSError as exc:  # of our own machine, such as a file that an option or variable names
        report.trouble("failed", escape(str(exc)))
        return ExitCode.FAILED
    except KeyboardInterrupt:
        report.trouble("interrupted", "interrupted")
        return ExitCode.INTERRUPTED


def _parser_class(report: Report) -> type[argparse.ArgumentParser]:
    """The class of all parsers; they write through ``report``."""

    class Parser(argparse.ArgumentParser):
        is_parsing = False

        def _print_message(self, message: str, file: object = None) -> None:
            report.plain(message, error=file is not sys.stdout)

        def parse_known_args(self, *args: Any, **options: Any) -> Any:
            """Refuse unknown arguments here, so that the usage of the subcommand is shown.

            Options may stand between several files: ``send a b --name c HOST:PORT``.
            """
            if self._subparsers is not None or self.is_parsing:
                return super().parse_known_args(*args, **options)
            self.is_parsing = True
            mixed = "--" not in args[0]  # which argparse only knows in their proper order
            parse = self.parse_known_intermixed_args if mixed else super().parse_known_args
            found = parse(*args, **options)
            if found[1]:
                self.error(f"unrecognized arguments: {' '.join(found[1])}")
            return found

    return Parser


def _parser(choices: Sequence[Command], report: Report) -> argparse.ArgumentParser:
    parser = _parser_class(report)(
        prog="xsock",
        description="Move files and bytes over TCP. 'xsock COMMAND --help' tells more.",
        epilog="exit codes: 0 done, 1 network failure or refusal, 2 wrong usage, 130 interrupted",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--version",
        action="version",
        version=f"xsock {__version__}",
        help="say which version this is",
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

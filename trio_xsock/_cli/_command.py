"""What a command of ``xsock`` consists of, and the options that several of them share."""

from __future__ import annotations

import argparse
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from . import _arguments
from ._errors import ExitCode
from ._report import Report

_TIMEOUT = 60.0


@dataclass(frozen=True, slots=True)
class Command:
    """One command. To add one, write a module that defines it, and a line in ``_registry``."""

    name: str
    summary: str
    """One line for the list of commands."""
    description: str
    """The first paragraph of ``--help``."""
    configure: Callable[[argparse.ArgumentParser], None]
    """Adds the command's own arguments to its parser."""
    run: Callable[[argparse.Namespace, Report], Awaitable[ExitCode]]
    """Runs the command, within ``trio.run``; may raise ``CommandError`` and ``SocketError``."""


def add_json(parser: argparse.ArgumentParser) -> None:
    """``--json``; the dispatcher makes the ``Report`` from it."""
    parser.add_argument(
        "--json", action="store_true", help="write one JSON object per line, and no progress"
    )


def add_bind(parser: argparse.ArgumentParser) -> None:
    """``--bind ADDRESS``, for commands that listen."""
    parser.add_argument(
        "--bind",
        metavar="ADDRESS",
        default="",
        help="listen on this address only (default: on all interfaces)",
    )


def add_timeout(parser: argparse.ArgumentParser) -> None:
    """``--timeout SECONDS``, how long the peer may be silent."""
    parser.add_argument(
        "--timeout",
        type=_arguments.seconds,
        default=_TIMEOUT,
        metavar="SECONDS",
        help="give up when the other side is silent for so long; 0 waits for ever "
        f"(default: {_TIMEOUT:g})",
    )

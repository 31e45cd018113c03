"""The connections of ``connect`` and ``listen``, and the options that both commands share."""

from __future__ import annotations

import argparse
import math

from trio_xsock import TCPSocket

from . import _arguments
from ._command import add_json
from ._tls import make_tcp_socket


def add_connection_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a connection, for either side."""
    parser.add_argument(
        "--timeout",
        type=_arguments.seconds,
        default=math.inf,
        metavar="SECONDS",
        help="end a connection on which nothing comes or goes for so long (default: never)",
    )
    parser.add_argument(
        "--no-shutdown",
        dest="shutdown",
        action="store_false",
        help="do not tell the other side when standard input has ended",
    )
    parser.add_argument(
        "--crlf",
        action="store_true",
        help="end each line of standard input with CR LF, as SMTP, HTTP and others want it",
    )
    add_json(parser)


def make_socket(options: argparse.Namespace, host: str = "", port: int = 0) -> TCPSocket:
    """A socket with the options applied, not connected yet."""
    idle_timeout = options.timeout if options.timeout < math.inf else None
    return make_tcp_socket(options, host, port, idle_timeout=idle_timeout)

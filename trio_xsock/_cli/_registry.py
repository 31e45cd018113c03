"""The commands of ``xsock``, in the order of ``--help``. A new one is one more line here."""

from __future__ import annotations

from . import _bench, _connect, _demo, _discover, _interfaces, _listen, _receive, _send, _udp
from ._command import Command

COMMANDS: tuple[Command, ...] = (
    _send.COMMAND,
    _receive.COMMAND,
    _connect.COMMAND,
    _listen.COMMAND,
    _udp.COMMAND,
    _discover.COMMAND,
    _interfaces.COMMAND,
    _demo.COMMAND,
    _bench.COMMAND,
)

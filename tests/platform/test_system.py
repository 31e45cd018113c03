"""Which system this is, and what it is taken to be with ``TRIO_XSOCK_PLATFORM=minimal``."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import trio_xsock
from trio_xsock._platform import files, sockets, system

PACKAGE = Path(trio_xsock.__file__).parent
TAKEN_AWAY = """
import socket
from trio_xsock._platform import files, sockets, system

present = [
    name
    for module in (files, sockets, system)
    for name in (
        "CLOSE_ON_EXEC DIRECTORY NO_FOLLOW NAMES_BY_DESCRIPTOR RENAMES_OPEN_FILES "
        "NO_SIGNAL REUSE_PORT BIND_ADDRESS_NO_PORT NOTSENT_LOWAT IP_RECVPKTINFO IPV6_RECVPKTINFO "
        "IP_MULTICAST_ALL IPV6_MULTICAST_ALL IP_UNICAST_IF IPV6_UNICAST_IF SO_MEMINFO "
        "POLLIN POLLOUT POLLERR POLLHUP POLLNVAL"
    ).split()
    if getattr(module, name, 0)
]
answers = [
    system.is_linux(),
    system.has_poll(),
    sockets.has_sendfile(),
    files.tells_what_is_in_memory(),
]
with socket.socket(type=socket.SOCK_DGRAM) as sock:
    answers.append(sockets.send_message(sock))
    sock.bind(("127.0.0.1", 0))
    sock.sendto(b"x", sock.getsockname())
    message = sockets.receive_message(sock)(10, 10)
print(system.MINIMAL, present, any(answers), message[:2])
print([each.name for each in system.ending_signals()])
for call in (
    system.make_epoll,
    system.make_poll,
    lambda: sockets.sendfile(0, 0, 0, 0),
    lambda: files.preadv(0, [], 0),
    lambda: files.link(b"", b"", None),
):
    try:
        call()
    except OSError as exc:
        print(exc)
"""


def test_everything_taken_away() -> None:
    """None of it is left that one of the three systems lacks; calls say so."""
    environment = {**os.environ, "TRIO_XSOCK_PLATFORM": "minimal"}
    command = [sys.executable, "-W", "error", "-c", TAKEN_AWAY]
    out = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    first, signals, *missing = out.stdout.splitlines()
    assert first == "True [] False (b'x', [])"
    assert signals == "['SIGINT', 'SIGTERM']"
    calls = ["epoll", "poll", "sendfile", "preadv", "link"]
    assert [line.rpartition(" ")[2] for line in missing] == calls


@pytest.mark.skipif(not system.is_linux(), reason="these are Linux's")
def test_nothing_is_missing_on_linux() -> None:
    """What only Linux has is in use there."""
    numbers = [sockets.NO_SIGNAL, sockets.REUSE_PORT, sockets.SO_MEMINFO, files.NO_FOLLOW]
    assert all(numbers)
    assert all([system.has_poll(), system.waits_for_pipes(), files.NAMES_BY_DESCRIPTOR])
    assert "SIGHUP" in [each.name for each in system.ending_signals()]


def test_nothing_else_asks_which_system_it_is() -> None:
    """``sys.platform`` and ``os.name`` are looked at in one folder."""
    asking = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and (node.value.id, node.attr) in {("sys", "platform"), ("os", "name")}
    }
    assert {Path(each).parts[0] for each in asking} == {"_platform"}

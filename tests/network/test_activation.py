"""Socket activation, as the child of who opened the sockets sees it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import raw_listener
from tests.support.programs import find_program, free_port, running, serves
from trio_xsock import activation_sockets

CHILD = """
import os, trio
from trio_xsock import ServerSocket, activation_sockets

async def main():
    sockets = activation_sockets()
    print([sock.getsockname()[1] for sock in sockets], [sock.get_inheritable() for sock in sockets])
    print(activation_sockets(), [name for name in os.environ if name.startswith("LISTEN_")])
    if not sockets:
        return
    async def greet(sock):
        await sock.send_all(b"hello")
        server.stop_listening()
    async with ServerSocket.from_socket(*sockets) as server:
        await server.serve(greet)

trio.run(main)
"""

# What a supervisor does: the sockets become descriptors 3, 4, ..., then the program is started.
LAUNCHER = """
import fcntl, os, sys
passed = list(map(int, sys.argv[2:]))
kept = [fcntl.fcntl(number, fcntl.F_DUPFD, 50) for number in passed]
for index, number in enumerate(kept):
    os.dup2(number, 3 + index)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(passed)), LISTEN_FDNAMES="x")
os.execv(sys.executable, [sys.executable, "-c", sys.argv[1]])
"""


def launch(*sockets: socket.socket, program: str = CHILD) -> subprocess.Popen[str]:
    """Start a program with these sockets."""
    numbers = [sock.fileno() for sock in sockets]
    command = [sys.executable, "-c", LAUNCHER, program, *map(str, numbers)]
    return subprocess.Popen(
        command, pass_fds=numbers, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_a_server_on_inherited_descriptors() -> None:
    """It serves those who come to any of them, and those who came before it was there."""
    with raw_listener() as first, raw_listener() as second:
        ports = [sock.getsockname()[1] for sock in (first, second)]
        with socket.create_connection(("127.0.0.1", ports[1]), timeout=10) as client:
            with launch(first, second) as child:
                assert client.recv(5) == b"hello"
                output, errors = child.communicate(timeout=10)
    assert errors == ""
    assert output.splitlines() == [f"{ports} [False, False]", "[] []"]
    assert child.returncode == 0


def test_without_activation_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variables, or meant for another process, or none that make sense."""
    assert activation_sockets() == []
    monkeypatch.setenv("LISTEN_PID", str(os.getppid()))
    monkeypatch.setenv("LISTEN_FDS", "1")
    assert activation_sockets() == []
    assert "LISTEN_FDS" not in os.environ
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    monkeypatch.setenv("LISTEN_FDS", "one")
    assert activation_sockets() == []


def test_what_is_no_socket_is_refused() -> None:
    """With the error of the OS."""
    program = """
import os
from trio_xsock import activation_sockets
os.dup2(os.open(os.devnull, os.O_RDONLY), 3)
try:
    activation_sockets()
except OSError as error:
    print(error.strerror)
"""
    with raw_listener() as sock, launch(sock, program=program) as child:
        output, errors = child.communicate(timeout=10)
    assert (output, errors) == ("Socket operation on non-socket\n", "")


@pytest.mark.peer
def test_systemd_starts_a_server(tmp_path: Path) -> None:
    """The tool with which systemd lets socket activation be tried."""
    program = find_program("systemd-socket-activate")
    port = free_port()
    command = [program, "-l", f"127.0.0.1:{port}", sys.executable, "-c", CHILD]
    # The first to come, which asks whether it serves, is served as well.
    with running(command, tmp_path, lambda: serves(port)) as process:
        assert process.wait(10) == 0
    assert f"[{port}] [False]" in (tmp_path / "output").read_text()

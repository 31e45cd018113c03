"""Programs that tests talk to: found or skipped, started in the foreground, ended by their id."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

_RANDOM = random.SystemRandom()


def find_program(name: str) -> str:
    """Where a program is; skips the test, with the reason, where it is not."""
    # Servers are where a user's path may not lead.
    path = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin", "/usr/local/sbin"))
    found = shutil.which(name, path=path)
    if found is None:
        pytest.skip(f"the program {name} is not installed")
    return found


@contextmanager
def running(
    command: Sequence[str], folder: Path, ready: Callable[[], bool], patience: float = 10.0
) -> Iterator[subprocess.Popen[bytes]]:
    """A program that runs for as long as the block does.

    Args:
        command: what to start; it must stay in the foreground.
        folder: where it runs; what it prints goes to ``output`` there.
        ready: whether it serves by now.
        patience: seconds to wait for that.
    """
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        deadline = time.monotonic() + patience
        while not ready():
            if process.poll() is not None or time.monotonic() > deadline:
                text = (folder / "output").read_text(errors="replace")
                pytest.fail(f"{command[0]} does not serve:\n{text}")
            time.sleep(0.01)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """A port that nobody has, for a program that has to be told one.

    It is below those that systems give out by themselves, so that nobody gets it by chance
    before the program does; and it is not drawn from the generator that tests seed alike.
    """
    while True:
        port = _RANDOM.randrange(20_000, 32_000)
        with socket.socket(type=kind) as sock, contextlib.suppress(OSError):
            sock.bind(("", port))
            return port


def serves(port: int) -> bool:
    """Whether somebody listens on a port of this machine."""
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0

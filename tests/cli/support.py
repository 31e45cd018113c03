"""``xsock`` as a child process, and raw peers that keep no promise."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import queue
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Self

import trio_xsock
from trio_xsock._cli._transfer import Header, Reply, UntrustedReplyParser

ROOT = Path(trio_xsock.__file__).parent.parent
PATIENCE = 15.0
"""Seconds after which a test fails instead of waiting on; nothing ever takes so long."""


class Lines:
    """The lines of a stream, read as they come."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.seen: list[str] = []
        self._ended = False
        self._queue: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._read, args=(stream,), daemon=True)
        self._thread.start()

    def _read(self, stream: IO[bytes]) -> None:
        with stream:
            for line in stream:
                self._queue.put(line.decode().removesuffix("\n"))
        self._queue.put(None)

    def next(self, patience: float = PATIENCE) -> str | None:
        """The next line, or ``None`` at the end."""
        if self._ended:
            return None
        line = self._queue.get(timeout=patience)
        if line is None:
            self._ended = True
            self._queue.put(None)  # for other threads that wait for it, too
        else:
            self.seen.append(line)
        return line

    def until(self, pattern: str) -> re.Match[str]:
        """Read up to the first line that matches."""
        while (line := self.next()) is not None:
            if match := re.search(pattern, line):
                return match
        raise AssertionError(f"no line matches {pattern!r} in {self.seen}")

    def rest(self, patience: float = PATIENCE) -> list[str]:
        """All lines there are, after the stream has ended."""
        while self.next(patience) is not None:
            pass
        self._thread.join(PATIENCE)
        return self.seen


class Program:
    """A running ``xsock``; a context manager that leaves no process behind."""

    def __init__(self, *arguments: object, code: str | None = None, **options: Any) -> None:
        command = [sys.executable, "-m", "trio_xsock._cli"]
        if code is not None:
            command = [sys.executable, "-c", code]
        options.setdefault("env", environment())
        options.setdefault("stdin", subprocess.DEVNULL)
        self.process = subprocess.Popen(
            [*command, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **options,
        )
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.out = Lines(self.process.stdout)
        self.err = Lines(self.process.stderr)

    def port(self) -> int:
        """The port, from the first line of ``receive``."""
        first = self.out.next()
        assert first is not None, self.err.rest()
        match = re.fullmatch(r"listening on port (\d+)", first)
        return int(match[1]) if match else int(json.loads(first)["port"])

    def interrupt(self) -> None:
        """Ctrl-C."""
        self.process.send_signal(signal.SIGINT)

    def end(self, patience: float = PATIENCE) -> int:
        """The exit code; all output has been read then."""
        self.out.rest(patience)
        self.err.rest(patience)
        return self.process.wait(PATIENCE)

    @property
    def trouble(self) -> str:
        """The last line on standard error."""
        return self.err.seen[-1]

    def facts(self) -> list[dict[str, Any]]:
        """The lines on standard output as JSON."""
        return [json.loads(line) for line in self.out.seen]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.end()


class Raw:
    """``xsock`` with standard output as bytes, and standard input to write to."""

    def __init__(
        self, *arguments: object, variables: dict[str, str] | None = None, **options: Any
    ) -> None:
        options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, **options}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "trio_xsock._cli", *map(str, arguments)],
            stderr=subprocess.PIPE,
            env=environment(**(variables or {})),
            **options,
        )
        assert self.process.stderr is not None
        self.err = Lines(self.process.stderr)

    def port(self) -> int:
        """The port, from the first line of ``listen``."""
        return int(self.err.until(r"^xsock: listening on port (\d+)$")[1])

    def type(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def close_input(self) -> None:
        if self.process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.close()

    def end(self) -> tuple[int, bytes, list[str]]:
        """The exit code, what is left of the output, and all lines of standard error."""
        output = self.process.stdout.read() if self.process.stdout else b""
        lines = self.err.rest()
        return self.process.wait(PATIENCE), output, lines

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.close_input()
        self.end()
        if self.process.stdout:
            self.process.stdout.close()


@contextlib.contextmanager
def terminal() -> Iterator[tuple[int, int]]:
    """The two sides of a pseudo-terminal that changes nothing: the person's, the program's."""
    person, program = pty.openpty()
    settings = termios.tcgetattr(program)
    settings[1] &= ~termios.OPOST
    settings[3] &= ~termios.ECHO
    termios.tcsetattr(program, termios.TCSANOW, settings)
    try:
        yield person, program
    finally:
        os.close(person)
        os.close(program)


def read_terminal(person: int, until: bytes) -> bytes:
    data = b""
    while until not in data:
        assert select.select([person], [], [], PATIENCE)[0], data
        data += os.read(person, 4096)
    return data


def connect(port: int) -> socket.socket:
    """A raw connection to a receiver."""
    return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def receive_exactly(sock: socket.socket, count: int) -> bytes:
    """That many bytes, or fewer at the end."""
    data = bytearray()
    while len(data) < count and (piece := sock.recv(count - len(data))):
        data += piece
    return bytes(data)


def receive_reply(sock: socket.socket) -> Reply:
    """The next reply of a receiver."""
    parser = UntrustedReplyParser()
    while True:
        data = sock.recv(parser.wanted)
        assert data, "the receiver left without a reply"
        reply = parser.feed(data)
        if reply is not None:
            return reply


def receive_header(sock: socket.socket) -> Header:
    """The header that a sender begins with."""
    fixed = receive_exactly(sock, 20)
    name = receive_exactly(sock, int.from_bytes(fixed[10:12], "big"))
    return Header(name.decode(), int.from_bytes(fixed[12:20], "big"))


@contextlib.contextmanager
def raw_receiver(answer: Callable[[socket.socket], object]) -> Iterator[str]:
    """A server for one connection, answered in a thread; the place is ``HOST:PORT``."""
    failures: list[Exception] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE)

        def serve() -> None:
            try:
                sock, _ = listener.accept()
                with sock:
                    sock.settimeout(PATIENCE)
                    answer(sock)
            except Exception as exc:  # raised again in the test
                failures.append(exc)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        thread.join(PATIENCE)
        assert not thread.is_alive()
    if failures:
        raise failures[0]


def environment(**changes: str) -> dict[str, str]:
    """Our own environment with changes; the package is found from everywhere."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path, **changes}

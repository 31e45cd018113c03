"""A worker process for each core, all on one port; new code takes over without refused connections.

The supervisor opens a listening socket for each worker, which inherits it. The system distributes
the connections among these sockets (SO_REUSEPORT). At SIGHUP each worker gets a successor with the
same socket; only then it has to finish. Since the socket is never closed, the connections
in its backlog are not lost. SIGTERM ends all.
"""

import argparse
import os
import signal
import socket
import subprocess
import sys
from collections import Counter

import trio

from trio_xsock import (
    ConnectError,
    IncompleteReadError,
    LostConnectionError,
    ServerSocket,
    TCPSocket,
)

assert sys.platform != "win32", "Windows hands no sockets down by descriptor, and has no SIGHUP"

GRACE = 10.0
"""Seconds that a worker's connections may take to end."""


# The worker


async def work(descriptor: int, name: str) -> None:
    """Serve on an inherited socket until stdin ends, and finish what was begun."""

    async def answer(sock: TCPSocket) -> None:
        lines = sock.lines()
        line = await anext(lines, None)  # a new connection gets an answer even during a stop
        while line is not None:
            await sock.send_all(f"{name}\n".encode())
            with sock.may_stop():  # a stop does not wait for idle clients
                line = await anext(lines, None)

    listener = socket.socket(fileno=descriptor)
    async with ServerSocket.from_socket(listener) as server, trio.open_nursery() as nursery:
        await nursery.start(server.serve, answer)
        os.write(sys.stdout.fileno(), b"ready")
        await trio.lowlevel.wait_readable(sys.stdin)  # it ends if the supervisor dies, too
        await server.aclose(GRACE)


# The supervisor


class Supervisor:
    """Sockets, and a process for each of them."""

    def __init__(self, port: int, count: int) -> None:
        first = listen(port)
        self.port: int = first.getsockname()[1]
        self.sockets = [first, *[listen(self.port) for _ in range(count - 1)]]
        self.workers: list[trio.Process] = []
        self.generation = 0

    async def run(self) -> None:
        """Keep the workers until SIGTERM; replace them at each SIGHUP."""
        with trio.open_signal_receiver(signal.SIGHUP, signal.SIGTERM) as signals:
            await self.replace_workers()
            async for number in signals:
                if number == signal.SIGTERM:
                    break
                await self.replace_workers()
        await self.end(self.workers)
        for sock in self.sockets:
            sock.close()

    async def replace_workers(self) -> None:
        """Start a new generation, one after the other, and let the previous one finish."""
        self.generation += 1
        previous, self.workers = self.workers, []
        for number, sock in enumerate(self.sockets):
            self.workers.append(await self.start(sock, f"generation {self.generation}"))
            await self.end(previous[number : number + 1])

    async def start(self, sock: socket.socket, name: str) -> trio.Process:
        """Start a worker; returns when it serves."""
        command = [sys.executable, __file__, "--worker", str(sock.fileno()), "--name", name]
        worker = await trio.lowlevel.open_process(
            command, pass_fds=[sock.fileno()], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert worker.stdout is not None
        async with worker.stdout:
            await worker.stdout.receive_some()
        return worker

    async def end(self, workers: list[trio.Process]) -> None:
        """Let workers finish."""
        for worker in workers:
            assert worker.stdin is not None
            await worker.stdin.aclose()
        for worker in workers:
            await worker.wait()


def listen(port: int) -> socket.socket:
    return socket.create_server(("127.0.0.1", port), reuse_port=True, backlog=1024)


# The demo: clients connect all the time, while the workers are replaced


async def ask_until(name: str, port: int, answers: Counter[str]) -> None:
    """Connect and ask, again and again, until workers of that name have answered often enough."""
    while answers[name] < 50:
        async with TCPSocket("127.0.0.1", port) as sock:
            try:
                await sock.connect()
                await sock.send_all(b"who are you?\n")
                answers[(await sock.receive_until(b"\n")).decode()] += 1
            except (ConnectError, IncompleteReadError, LostConnectionError):
                answers["nobody"] += 1
        await trio.sleep(0.002)  # the workers need the processor, too


async def show() -> None:
    supervisor = Supervisor(0, 2)
    answers: Counter[str] = Counter()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(supervisor.run)
        for name, number in ("generation 1", signal.SIGHUP), ("generation 2", signal.SIGTERM):
            async with trio.open_nursery() as clients:
                for _ in range(4):
                    clients.start_soon(ask_until, name, supervisor.port, answers)
            print(name, "answers")
            os.kill(os.getpid(), number)
    print("refused or cut off:", answers["nobody"])


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--worker", type=int, metavar="DESCRIPTOR")
    parser.add_argument("--name")
    options = parser.parse_args()
    if options.worker is not None:
        await work(options.worker, options.name)
    elif options.port is not None:
        await Supervisor(options.port, options.workers).run()
    else:
        await show()


if __name__ == "__main__":
    trio.run(main)

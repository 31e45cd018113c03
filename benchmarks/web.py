"""Requests per second of a small HTTP/1.1 responder, by wrk: ``python -m benchmarks.web``.

The same answer is given by three programs: on ``ServerSocket`` with a coroutine for each
connection, on ``ServerSocket`` with a handler object, and on a bare ``trio.serve_tcp``. The
program ``wrk`` asks them in turn, on so many connections at once.
"""

from __future__ import annotations

import argparse
import re
import shutil
import statistics
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence

import trio

from trio_xsock import IncompleteReadError, ServerSocket, TCPSocket

from .processes import environment

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\nHello, world!"
END = b"\r\n\r\n"


async def serve_with_coroutines() -> None:
    async def respond(sock: TCPSocket) -> None:
        try:
            while True:
                await sock.receive_until(END)
                await sock.send_all(ANSWER)
        except IncompleteReadError:
            pass

    async with ServerSocket(address="127.0.0.1") as server:
        await server.listen()
        print(server.port, flush=True)
        await server.serve(respond)


class Responder:
    """Answers whatever has arrived in whole; the rest stays in the socket."""

    def on_data_available(self, socket: TCPSocket) -> None:
        data = socket.lookahead()
        count = data.count(END)
        socket.read(data.rfind(END) + len(END) if count else 0)
        socket.write(ANSWER * count)


async def serve_with_handler() -> None:
    handler = Responder()
    async with ServerSocket(
        address="127.0.0.1", add_socket=lambda: TCPSocket(handler=handler)
    ) as server:
        await server.listen()
        print(server.port, flush=True)
        await trio.sleep_forever()


async def serve_with_trio() -> None:
    async def respond(stream: trio.SocketStream) -> None:
        data = b""
        while chunk := await stream.receive_some():
            data += chunk
            while END in data:
                data = data.partition(END)[2]
                await stream.send_all(ANSWER)

    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    print(listener.socket.getsockname()[1], flush=True)
    await trio.serve_listeners(respond, [listener])


PROGRAMS: dict[str, Callable[[], Awaitable[None]]] = {
    "ServerSocket, coroutines": serve_with_coroutines,
    "ServerSocket, handler": serve_with_handler,
    "trio.serve_tcp": serve_with_trio,
}


class WrkError(Exception):
    """wrk met errors; the text is what it says."""


def measure(program: str, wrk: str, connections: int, seconds: float) -> float:
    """The requests per second of one program, in a process of its own.

    Raises:
        WrkError: a request or a connection failed.
    """
    command = [sys.executable, "-m", "benchmarks.web", "--program", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment()) as process:
        try:
            assert process.stdout is not None
            address = f"http://127.0.0.1:{int(process.stdout.readline())}/"
            load = [wrk, "-t1", f"-c{connections}", f"-d{seconds:g}s", address]
            output = subprocess.run(load, capture_output=True, text=True, check=False).stdout
        finally:
            process.kill()
    rate = re.search(r"Requests/sec: +([\d.]+)", output)
    if rate is None or "Socket errors" in output or "Non-2xx" in output:
        raise WrkError(f"{program}:\n{output}")
    return float(rate[1])


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.web", description=__doc__)
    parser.add_argument("--connections", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each load")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--program", choices=PROGRAMS, help="only run it, for somebody else's load")
    options = parser.parse_args(argv)
    if options.program:
        trio.run(PROGRAMS[options.program])
        return 0
    wrk = shutil.which("wrk")
    if wrk is None:
        print("the program wrk is not installed")
        return 2
    rates: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    try:
        for _ in range(options.rounds):
            for name in PROGRAMS:
                rates[name].append(measure(name, wrk, options.connections, options.seconds))
    except WrkError as exc:
        print(exc)
        return 1
    baseline = statistics.median(rates["trio.serve_tcp"])
    print(f"{options.connections} connections, {options.seconds:g} s, requests per second:")
    for name, figures in rates.items():
        rate = statistics.median(figures)
        print(f"{name:26} {rate:9.0f}  {rate / baseline:5.2f} of trio.serve_tcp")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""A server that stops gracefully when it gets a signal, within a time limit."""

import os
import signal

import trio

from trio_xsock import ServerSocket, TCPSocket

GRACE = 1.0
"""Seconds that handlers may take to finish."""


async def serve_until_signalled(server: ServerSocket) -> None:
    """Serve; at SIGTERM or Ctrl-C stop accepting, let handlers finish, then cancel the rest."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.serve, handle)
            number = await anext(signals)
            print(f"{signal.Signals(number).name}: {len(server.active_connections())} left")
            await server.aclose(GRACE)  # serve() returns by this, too


async def handle(sock: TCPSocket) -> None:
    """A job per line: the number of seconds that it takes."""
    lines = sock.lines()
    while True:
        with sock.may_stop():  # a stop does not wait for an idle client
            line = await anext(lines, None)
        if line is None:
            return
        try:
            await trio.sleep(float(line))
        except trio.Cancelled:
            print("cut off")
            raise
        await sock.send_all(b"done\n")


async def client(port: int, seconds: str) -> None:
    async with TCPSocket("127.0.0.1", port) as sock:
        await sock.connect()
        await sock.send_all(f"{seconds}\n".encode())
        await sock.send_eof()
        print(seconds, "seconds:", await sock.receive_some())


async def main() -> None:
    async with ServerSocket(address="127.0.0.1") as server, trio.open_nursery() as nursery:
        await server.listen()
        nursery.start_soon(serve_until_signalled, server)
        nursery.start_soon(client, server.port, "0.5")
        nursery.start_soon(client, server.port, "60")
        await trio.sleep(0.2)
        os.kill(os.getpid(), signal.SIGTERM)  # as an administrator would


if __name__ == "__main__":
    trio.run(main)

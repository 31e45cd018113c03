"""Stay connected: connect again whenever the connection is lost, with a back-off."""

import random
from collections.abc import Awaitable, Callable, Iterator
from typing import NoReturn

import trio

from trio_xsock import (
    ConnectError,
    LostConnectionError,
    NameResolutionError,
    ServerSocket,
    TCPSocket,
)

STABLE = 30.0
"""Seconds: after a connection that lasted this long the delays start from the beginning."""


def delays(first: float, longest: float = 30.0) -> Iterator[float]:
    """Seconds to wait before each attempt: doubled each time, and random by a half."""
    delay = first
    while True:
        yield random.uniform(delay / 2, delay)
        delay = min(2 * delay, longest)


async def stay_connected(
    sock: TCPSocket, talk: Callable[[TCPSocket], Awaitable[None]], first_delay: float = 0.5
) -> NoReturn:
    """Run ``talk`` on one connection after another, until cancelled."""
    waits = delays(first_delay)
    while True:
        started = trio.current_time()
        try:
            with trio.fail_after(10):
                await sock.connect()
            await talk(sock)
            print("the server closed the connection")
        except (ConnectError, LostConnectionError, NameResolutionError, trio.TooSlowError) as error:
            print("no connection:", type(error).__name__)
        sock.close()  # a peer that closed has ended only its own direction
        if trio.current_time() - started > STABLE:
            waits = delays(first_delay)
        await trio.sleep(next(waits))


async def print_lines(sock: TCPSocket) -> None:
    async for line in sock.lines():
        print("received", line)


async def main() -> None:
    port = 0
    async with TCPSocket("127.0.0.1") as sock, trio.open_nursery() as nursery:
        for start in "first", "second":
            async with ServerSocket(port, address="127.0.0.1") as server:
                await server.listen()
                if not port:
                    port = sock.port = server.port
                    nursery.start_soon(stay_connected, sock, print_lines, 0.1)
                peer = await server.accept()
                await peer.send_all(f"hello from the {start} server\n".encode())
                await peer.aclose()
            await trio.sleep(0.4)  # nothing listens now
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)

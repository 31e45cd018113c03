"""A pool of connections to one server, which replaces connections that the server closes."""

from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import trio

from trio_xsock import ConnectError, LostConnectionError, ServerSocket, TCPSocket


class Pool:
    """Keeps connections that are not in use, and lends each to one task at a time.

    ``await nursery.start(pool.run)`` first: the connections live in that task.
    """

    def __init__(self, address: str, port: int, most: int = 10) -> None:
        self._address, self._port = address, port
        self._idle: deque[TCPSocket] = deque()
        self._places = trio.CapacityLimiter(most)
        self._nursery: trio.Nursery | None = None

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            await trio.sleep_forever()

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[TCPSocket, None]:
        """A connection for the length of a block; waits while all are in use."""
        async with self._places:
            sock = self._take_idle() or await self._connect()
            try:
                yield sock
            except BaseException:  # cancelled, too: an answer may still be in transit
                sock.close()
                raise
            self._idle.append(sock)

    def _take_idle(self) -> TCPSocket | None:
        while self._idle:
            sock = self._idle.pop()  # the one used last is the one most likely to be alive
            if sock.is_connected and not sock.at_eof and not sock.bytes_available:
                return sock
            sock.close()  # the server has closed it, or has sent unexpected data
        return None

    async def _connect(self) -> TCPSocket:
        assert self._nursery is not None, "the pool does not run"
        sock: TCPSocket = await self._nursery.start(TCPSocket(self._address, self._port).run)
        try:
            await sock.connect()
        except BaseException:
            sock.close()  # ends its task
            raise
        return sock


async def ask(pool: Pool, question: str) -> str:
    """A question and its answer; asked twice if a connection was lost meanwhile."""
    for attempt in 1, 2:
        try:
            async with pool.connection() as sock:
                await sock.send_all(f"{question}\n".encode())
                return (await sock.receive_until(b"\n")).decode()
        except (LostConnectionError, EOFError):  # the server closed just now
            if attempt == 2:
                raise
    raise AssertionError


async def answer(sock: TCPSocket) -> None:
    """The server: it closes after two answers."""
    lines = sock.lines()
    for _ in range(2):
        try:
            line = await anext(lines)
        except StopAsyncIteration:
            return
        await sock.send_all(f"{line.upper()}\n".encode())


async def main() -> None:
    async with ServerSocket(address="127.0.0.1") as server, trio.open_nursery() as nursery:
        port: int = await nursery.start(server.serve, answer)
        pool = Pool("127.0.0.1", port, most=2)
        await nursery.start(pool.run)
        for word in "one", "two", "three", "four", "five":
            print(await ask(pool, word))
        print(server.statistics().accepted, "connections")
        server.stop_listening()
        print(await ask(pool, "six"), "on a connection that is still there")
        try:
            await ask(pool, "seven")
        except ConnectError:
            print("nobody listens any more")
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)

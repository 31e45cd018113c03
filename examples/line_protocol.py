"""A line protocol: a store of keys and values, served in all three styles.

The protocol is one plain class without I/O, which is easy to test. A server passes lines to it, and
sends back its answers.
"""

import trio

from trio_xsock import (
    DataAvailable,
    DelimiterNotFoundError,
    EventChannel,
    LostConnectionError,
    ServerSocket,
    TCPSocket,
)

LONGEST = 1000
"""Bytes of a line; a client that sends a longer one is disconnected."""


class Store:
    """``SET key value``, ``GET key`` and ``QUIT``, a line each."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}

    def answer(self, line: str) -> str | None:
        """The answer to one line, ``None`` to end the connection."""
        match line.split(maxsplit=2):
            case ["SET", key, value]:
                self.values[key] = value
                return "OK"
            case ["GET", key]:
                return self.values.get(key, "?")
            case ["QUIT"]:
                return None
            case _:
                return "ERROR"


# Calls


async def serve_by_calls(store: Store, task_status: trio.TaskStatus[int]) -> None:  # noqa: ASYNC128 - serve does
    async def talk(sock: TCPSocket) -> None:
        try:
            lines = sock.lines(max_bytes=LONGEST)
            while True:
                with sock.may_stop():
                    line = await anext(lines, "QUIT")
                answer = store.answer(line)
                if answer is None:
                    return
                await sock.send_all(f"{answer}\n".encode())
        except (DelimiterNotFoundError, LostConnectionError):
            return

    async with ServerSocket(address="127.0.0.1", idle_timeout=60) as server:
        await server.serve(talk, task_status=task_status)


# What the two others share


def answer_lines(store: Store, sock: TCPSocket) -> None:
    """Answer what has arrived in whole lines; the rest stays in the socket."""
    lines, newline, rest = sock.lookahead().rpartition(b"\n")
    if newline:
        for line in sock.read(len(lines) + 1).decode(errors="replace").splitlines():
            answer = store.answer(line)
            if answer is None:
                sock.start_soon(sock.aclose)  # what was written before is sent first
                return
            sock.write(f"{answer}\n")
    if len(rest) > LONGEST:
        sock.close()


# Events


async def serve_by_events(store: Store, task_status: trio.TaskStatus[int]) -> None:
    channel = EventChannel()

    def add_socket() -> TCPSocket:
        return TCPSocket(events=channel, allow_half_close=False)

    async with ServerSocket(address="127.0.0.1", add_socket=add_socket, idle_timeout=60) as server:
        await server.listen()
        task_status.started(server.port)
        async for event in channel:
            if isinstance(event, DataAvailable):
                answer_lines(store, event.socket)


# A handler


class StoreHandler:
    def __init__(self, store: Store) -> None:
        self.store = store

    def on_data_available(self, socket: TCPSocket) -> None:
        answer_lines(self.store, socket)


async def serve_by_handler(store: Store, task_status: trio.TaskStatus[int]) -> None:
    handler = StoreHandler(store)
    async with ServerSocket(
        address="127.0.0.1", add_socket=lambda: TCPSocket(handler=handler), idle_timeout=60
    ) as server:
        await server.listen()
        task_status.started(server.port)
        await trio.sleep_forever()


async def main() -> None:
    for serve in serve_by_calls, serve_by_events, serve_by_handler:
        async with trio.open_nursery() as nursery:
            port: int = await nursery.start(serve, Store())
            async with TCPSocket("127.0.0.1", port) as sock:
                await sock.connect()
                sock.write("SET colour dark green\nGET colour\nGET size\nHELLO\nQUIT\n")
                print(f"{serve.__name__}:", [line async for line in sock.lines()])
            nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)

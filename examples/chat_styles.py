"""The chat server of ``chat.py`` in the two other styles: by events, and with a handler object."""

import trio

from trio_xsock import (
    DataAvailable,
    ErrorOccurred,
    EventChannel,
    ServerSocket,
    SocketError,
    TCPSocket,
)

LONGEST = 1000
"""Bytes of a line."""


class Room:
    """The clients of the room, and sending to all of them; plain functions that never wait."""

    def __init__(self) -> None:
        self.names: dict[TCPSocket, str] = {}

    def take_lines(self, sock: TCPSocket) -> None:
        """Take what has arrived in whole lines; the rest stays in the socket."""
        lines, newline, rest = sock.lookahead().rpartition(b"\n")
        if len(rest) > LONGEST:
            self.leave(sock)
            sock.close()
        elif newline:
            for line in sock.read(len(lines) + 1).decode(errors="replace").splitlines():
                self.hear(sock, line)

    def hear(self, sock: TCPSocket, line: str) -> None:
        """The first line is a name, all others are for the others."""
        if sock in self.names:
            self.tell(f"{self.names[sock]}: {line}", but=sock)
        else:
            self.names[sock] = line
            self.tell(f"* {line} is here")

    def leave(self, sock: TCPSocket) -> None:
        if sock in self.names:
            self.tell(f"* {self.names.pop(sock)} has left", but=sock)

    def tell(self, text: str, but: TCPSocket | None = None) -> None:
        for sock in self.names:
            if sock is not but:
                try:
                    sock.write(text + "\n")
                except SocketError:  # the client is too slow, or gone
                    sock.close()


# Events: one task reads the events of all clients


async def serve_by_events(task_status: trio.TaskStatus[int]) -> None:
    room, channel = Room(), EventChannel()

    def add_socket() -> TCPSocket:
        return TCPSocket(events=channel, allow_half_close=False)

    async with ServerSocket(address="127.0.0.1", add_socket=add_socket) as server:
        await server.listen()
        task_status.started(server.port)
        async for event in channel:
            match event:
                case DataAvailable(socket=sock):
                    room.take_lines(sock)
                case ErrorOccurred(socket=sock):
                    room.leave(sock)
                case _:
                    pass


# A handler: the room itself, with the names of the events


class Handler(Room):
    def on_data_available(self, socket: TCPSocket) -> None:
        self.take_lines(socket)

    def on_error(self, socket: TCPSocket, error: SocketError) -> None:
        self.leave(socket)


async def serve_by_handler(task_status: trio.TaskStatus[int]) -> None:
    room = Handler()
    async with ServerSocket(
        address="127.0.0.1", add_socket=lambda: TCPSocket(handler=room)
    ) as server:
        await server.listen()
        task_status.started(server.port)
        await trio.sleep_forever()


async def next_line(sock: TCPSocket) -> str:
    return (await sock.receive_until(b"\n")).decode()


async def main() -> None:
    for serve in serve_by_events, serve_by_handler:
        print(serve.__name__)
        async with trio.open_nursery() as nursery:
            port: int = await nursery.start(serve)
            async with TCPSocket("127.0.0.1", port) as ada, TCPSocket("127.0.0.1", port) as ben:
                await ada.connect()
                ada.write("ada\n")
                print("ada hears", await next_line(ada))
                await ben.connect()
                ben.write("ben\n")
                print("ben hears", await next_line(ben))
                ada.write("hello\nevery")
                ada.write("body\n")
                print("ben hears", await next_line(ben))
                print("ben hears", await next_line(ben))
                await ada.aclose()
                print("ben hears", await next_line(ben))
            nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)

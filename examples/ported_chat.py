"""A chat server in the shape of a Xojo program: a server, its connections, and their events.

``python ported_chat.py 7000`` serves until Ctrl-C; talk to it with ``xsock connect 127.0.0.1:7000``
in two terminals. Without a port the program connects two clients of its own, as a demo.
"""

import sys

import trio

from trio_xsock import ServerSocket, SocketError, SocketHandler, TCPSocket


class Chat(SocketHandler[TCPSocket]):
    """The events of all connections; ``socket`` is what ``Me`` is in Xojo."""

    def __init__(self, port: int) -> None:
        self.names: dict[TCPSocket, str] = {}
        self.server = ServerSocket(port, address="127.0.0.1", add_socket=self.add_socket)

    def add_socket(self) -> TCPSocket:  # the event AddSocket
        return TCPSocket(handler=self, receive_buffer_limit=10_000, idle_timeout=3600)

    def on_connected(self, socket: TCPSocket) -> None:
        socket.write("your name?\n")

    def on_data_available(self, socket: TCPSocket) -> None:
        while b"\n" in (unread := socket.lookahead()):  # the rest of a line arrives later
            line = socket.read(unread.index(b"\n") + 1).decode(errors="replace").strip()
            if socket in self.names:
                self.tell(f"{self.names[socket]}: {line}", but=socket)
            else:
                self.names[socket] = line
                self.tell(f"* {line} is here")

    def on_error(self, socket: TCPSocket, error: SocketError) -> None:  # 102: it is gone
        if socket in self.names:
            self.tell(f"* {self.names.pop(socket)} has left")

    def tell(self, text: str, but: TCPSocket | None = None) -> None:
        for socket in self.server.active_connections():
            if socket in self.names and socket is not but:
                try:
                    socket.write(text + "\n")
                except SocketError:  # the client is too slow, or gone
                    socket.close()


async def serve(port: int) -> None:
    chat = Chat(port)
    async with chat.server as server:
        await server.listen()
        print("listening on port", server.port)
        await trio.sleep_forever()  # the events do the rest


async def demo() -> None:
    chat = Chat(0)
    async with chat.server as server:
        await server.listen()
        ada, ben = (TCPSocket("127.0.0.1", server.port) for _ in range(2))
        async with ada, ben:
            for client, name in (ada, "ada"), (ben, "ben"):
                await client.connect()
                print(name, "hears", await client.receive_until(b"\n"))
                client.write(name + "\n")
                print(name, "hears", await client.receive_until(b"\n"))
            ben.write("hello, ada\n")
            for _ in range(2):
                print("ada hears", await ada.receive_until(b"\n"))
            await ada.aclose()
            print("ben hears", await ben.receive_until(b"\n"))


if __name__ == "__main__":
    trio.run(serve, int(sys.argv[1])) if len(sys.argv) > 1 else trio.run(demo)

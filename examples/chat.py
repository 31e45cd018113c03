"""A chat server: each line of a client is sent to all others."""

import trio

from trio_xsock import ServerSocket, SocketError, TCPSocket


class Chat:
    """The clients of the room, and sending to all of them."""

    def __init__(self) -> None:
        self.names: dict[TCPSocket, str] = {}

    async def serve(self, sock: TCPSocket) -> None:
        """Serve one client until it leaves; the first line is its name."""
        try:
            with sock.may_stop():  # a stop does not wait for the next line
                async for line in sock.lines(max_bytes=1000):
                    if sock in self.names:
                        self.tell(f"{self.names[sock]}: {line}", but=sock)
                    else:
                        self.names[sock] = line
                        self.tell(f"* {line} is here")
        except SocketError as error:  # a lost connection, or a line that is too long
            print("lost one:", error)
        finally:
            if sock in self.names:
                self.tell(f"* {self.names.pop(sock)} has left", but=sock)

    def tell(self, text: str, but: TCPSocket | None = None) -> None:
        """Send a line to all clients; a plain function that never waits."""
        for sock in self.names:
            if sock is not but:
                try:
                    sock.write(text + "\n")
                except SocketError:  # the client is too slow, or gone
                    sock.close()


async def next_line(sock: TCPSocket) -> str:
    return (await sock.receive_until(b"\n")).decode()


async def main() -> None:
    async with ServerSocket(address="127.0.0.1") as server, trio.open_nursery() as nursery:
        port: int = await nursery.start(server.serve, Chat().serve)

        async with TCPSocket("127.0.0.1", port) as ada, TCPSocket("127.0.0.1", port) as ben:
            await ada.connect()
            ada.write("ada\n")
            print("ada hears", await next_line(ada))

            await ben.connect()
            ben.write("ben\n")
            print("ada hears", await next_line(ada))
            print("ben hears", await next_line(ben))

            ada.write("hello everybody\n")
            print("ben hears", await next_line(ben))
            await ada.aclose()
            print("ben hears", await next_line(ben))

        server.stop_listening()


if __name__ == "__main__":
    trio.run(main)

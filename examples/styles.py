"""One client in three styles: by calls, by events, and with a handler object."""

import trio

from trio_xsock import Connected, DataAvailable, ServerSocket, SocketHandler, TCPSocket


async def shout(sock: TCPSocket) -> None:  # the server: a task for each connection
    async for line in sock.lines():
        await sock.send_all(f"{line.upper()}\n".encode())


async def by_calls(port: int) -> None:
    async with TCPSocket("127.0.0.1", port) as sock:
        await sock.connect()
        await sock.send_all(b"hello\n")
        print("calls:", await sock.receive_until(b"\n"))


async def by_events(port: int) -> None:
    async with TCPSocket("127.0.0.1", port) as sock:
        sock.start_soon(sock.connect)
        async for event in sock.events:
            match event:
                case Connected():
                    sock.write("hello\n")
                case DataAvailable():
                    print("events:", sock.read_all())
                    sock.close()
                case _:
                    pass


class Client(SocketHandler):
    def on_connected(self, socket: TCPSocket) -> None:
        socket.write("hello\n")

    def on_data_available(self, socket: TCPSocket) -> None:
        print("handler:", socket.read_all())
        socket.close()


async def by_handler(port: int) -> None:
    async with trio.open_nursery() as nursery:
        sock = await nursery.start(TCPSocket("127.0.0.1", port, handler=Client()).run)
        await sock.connect()


async def main() -> None:
    async with ServerSocket(address="127.0.0.1") as server, trio.open_nursery() as nursery:
        port = await nursery.start(server.serve, shout)
        for style in by_calls, by_events, by_handler:
            await style(port)
        server.stop_listening()


if __name__ == "__main__":
    trio.run(main)

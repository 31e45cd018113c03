"""Callback objects: the shape of a program ported from Xojo."""

import trio

from trio_xsock import ServerSocket, SocketError, SocketHandler, TCPSocket


class Echo(SocketHandler):
    def on_data_available(self, socket: TCPSocket) -> None:
        socket.write(socket.read_all())


class Client(SocketHandler):
    def on_connected(self, socket: TCPSocket) -> None:
        socket.write("ping")

    def on_data_available(self, socket: TCPSocket) -> None:
        print("received", socket.read_all("utf-8"))
        socket.start_soon(socket.disconnect)  # how a handler does async work

    def on_error(self, socket: TCPSocket, error: SocketError) -> None:
        print("ended:", error)
        socket.close()  # also if connecting failed: run() returns


async def main() -> None:
    async with ServerSocket(
        address="127.0.0.1", add_socket=lambda: TCPSocket(handler=Echo())
    ) as server:
        await server.listen()  # no serve(): sockets with a handler are live at once

        async with trio.open_nursery() as nursery:
            sock = TCPSocket("127.0.0.1", server.port, handler=Client())
            await nursery.start(sock.run)  # ends when the socket is closed
            sock.start_soon(sock.connect)  # its result is reported to the handler


if __name__ == "__main__":
    trio.run(main)

"""Channel consumers: the events of a socket, one after the other."""

import trio

from trio_xsock import (
    Connected,
    DataAvailable,
    ErrorOccurred,
    SendComplete,
    ServerSocket,
    TCPSocket,
)


async def greet(sock: TCPSocket) -> None:
    name = await sock.receive_some()
    await sock.send_all(b"welcome, " + name)


async def watch(sock: TCPSocket) -> None:
    async for event in sock.events:
        match event:
            case Connected():
                print("connected")
                sock.write("Ada")
            case SendComplete(bytes_sent=sent):
                print("sent", sent, "bytes")
            case DataAvailable():
                print("received", sock.read_all("utf-8"))
            case ErrorOccurred(error=error):
                print("ended:", error)
            case _:
                pass  # SendProgress


async def main() -> None:
    async with ServerSocket(address="127.0.0.1") as server, trio.open_nursery() as nursery:
        port: int = await nursery.start(server.serve, greet)

        async with TCPSocket("127.0.0.1", port) as sock:
            sock.start_soon(sock.connect)
            await watch(sock)  # returns when the connection has ended

        server.stop_listening()


if __name__ == "__main__":
    trio.run(main)

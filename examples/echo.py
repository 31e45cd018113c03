"""An echo server and a client, in twenty lines."""

import trio

from trio_xsock import ServerSocket, TCPSocket


async def echo(sock: TCPSocket) -> None:
    while True:
        with sock.may_stop():  # a server that stops does not wait for idle clients
            chunk = await sock.receive_some()
        if not chunk:
            return
        await sock.send_all(chunk)


async def main() -> None:
    async with ServerSocket(address="127.0.0.1") as server, trio.open_nursery() as nursery:
        port: int = await nursery.start(server.serve, echo)

        async with TCPSocket("127.0.0.1", port) as sock:
            await sock.connect()
            await sock.send_all(b"hello")
            print(await sock.receive_exactly(5))

        server.stop_listening()


if __name__ == "__main__":
    trio.run(main)

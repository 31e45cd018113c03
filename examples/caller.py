"""Callers: a line server and a client that awaits its answers."""

import trio

from trio_xsock import ServerSocket, TCPSocket


async def shout(sock: TCPSocket) -> None:
    async for line in sock.lines():
        await sock.send_all(f"{line.upper()}\n".encode())


async def main() -> None:
    async with ServerSocket(address="127.0.0.1") as server, trio.open_nursery() as nursery:
        port: int = await nursery.start(server.serve, shout)

        async with TCPSocket("127.0.0.1", port) as sock:
            await sock.connect()
            sock.write("hello\n")
            answer = await sock.receive_until(b"\n")
            print(answer.decode())

        server.stop_listening()


if __name__ == "__main__":
    trio.run(main)

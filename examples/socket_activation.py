"""A server that systemd starts when the first client comes, and that ends when it is idle.

It runs as a service of systemd; without systemd the demo starts it in the same way.
"""

import socket
import subprocess
import sys

import trio

from trio_xsock import ServerSocket, TCPSocket, activation_sockets

IDLE = 0.5
"""Seconds without a connection after which it ends; the next client starts it again."""


async def serve(sockets: list[socket.socket]) -> None:
    async with ServerSocket.from_socket(*sockets) as server, trio.open_nursery() as nursery:
        changes = server.subscribe(connections=True)
        await nursery.start(server.serve, greet)
        while True:
            with trio.move_on_after(IDLE) as idle:
                await changes.receive()
            if idle.cancelled_caught and not server.active_connections():
                break
        server.stop_listening()


async def greet(sock: TCPSocket) -> None:
    await sock.send_all(b"hello")


def start_like_systemd(listener: socket.socket) -> subprocess.Popen[bytes]:
    """Start this very program with the socket as its descriptor 3."""
    launcher = f"LISTEN_FDS=1 LISTEN_PID=$$ exec {sys.executable} {__file__} 3<&{listener.fileno()}"
    return subprocess.Popen(["/bin/sh", "-c", launcher], pass_fds=[listener.fileno()])


async def show() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        for client in "first", "second":
            async with TCPSocket("127.0.0.1", port) as sock:
                await sock.connect()  # nobody serves yet; the connection waits
                with await trio.to_thread.run_sync(start_like_systemd, listener) as server:
                    print(f"the {client} client hears", await sock.receive_exactly(5))
                    await trio.to_thread.run_sync(server.wait)
            print("the server has ended", "well" if server.returncode == 0 else "badly")


async def main() -> None:
    sockets = activation_sockets()
    if sockets:
        await serve(sockets)
    else:
        await show()


if __name__ == "__main__":
    trio.run(main)

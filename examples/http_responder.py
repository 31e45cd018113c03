"""A small HTTP/1.1 responder for use behind a load balancer, with a graceful stop.

Without arguments it shows itself; as a worker behind HAProxy it runs as
``http_responder.py --port 8001 --name a --proxy-protocol``.
"""

import argparse
import os
import signal

import trio

from trio_xsock import (
    DelimiterNotFoundError,
    IncompleteReadError,
    LostConnectionError,
    ServerSocket,
    TCPSocket,
)

NOTICE = 0.5
"""Seconds from the first failing health check until connections are refused."""

GRACE = 5.0
"""Seconds that requests which have begun may take after that."""


class Responder:
    """Answers requests; once ``draining``, its health check fails."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.draining = False

    async def serve(self, sock: TCPSocket) -> None:
        """Answer the requests of one connection, one after the other."""
        try:
            while True:
                with sock.may_stop():  # between two requests a stop ends it at once
                    head = await sock.receive_until(b"\r\n\r\n", max_bytes=8192)
                leaving = self.draining or b"\r\nconnection: close" in head.lower()
                await sock.send_all(self.answer(head, sock.remote_address, leaving))
                if leaving:
                    return
        except (IncompleteReadError, DelimiterNotFoundError, LostConnectionError):
            return  # the end between two requests, a head that is too long, a connection lost

    def answer(self, head: bytes, client: str, leaving: bool) -> bytes:
        path = head.split(b" ", 2)[1:2]
        if path == [b"/health"]:
            status, text = ("503 Service Unavailable" if self.draining else "200 OK"), ""
        else:
            status, text = "200 OK", f"{self.name} says hello to {client}\n"
        ending = "Connection: close\r\n" if leaving else ""
        return f"HTTP/1.1 {status}\r\nContent-Length: {len(text)}\r\n{ending}\r\n{text}".encode()


async def run_worker(server: ServerSocket, name: str, notice: float = NOTICE) -> None:
    """Serve until SIGTERM; then let the load balancer notice, finish, and end."""
    responder = Responder(name)
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            await nursery.start(server.serve, responder.serve)
            await anext(signals)
            responder.draining = True  # health checks fail from now on
            await trio.sleep(notice)
            await server.aclose(GRACE)


async def ask(port: int, path: str) -> None:
    async with TCPSocket("127.0.0.1", port) as sock:
        await sock.connect()
        await sock.send_all(
            f"GET {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n".encode()
        )
        print(b"".join([chunk async for chunk in sock]).decode().replace("\r\n", " | "))


async def show() -> None:
    async with ServerSocket(address="127.0.0.1") as server, trio.open_nursery() as nursery:
        await server.listen()
        nursery.start_soon(run_worker, server, "it", 0.3)
        await ask(server.port, "/")
        await ask(server.port, "/health")
        os.kill(os.getpid(), signal.SIGTERM)
        await ask(server.port, "/health")


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int)
    parser.add_argument("--name", default="it")
    parser.add_argument("--proxy-protocol", action="store_true")
    options = parser.parse_args()
    if options.port is None:
        await show()
        return
    async with ServerSocket(options.port, proxy_protocol=options.proxy_protocol) as server:
        await run_worker(server, options.name)


if __name__ == "__main__":
    trio.run(main)

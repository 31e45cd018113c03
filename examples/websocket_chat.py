"""A chat over WebSockets: trio-websocket on the sockets of this library, on both sides."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import trio
import trio_websocket as ws

from trio_xsock import ServerSocket, TCPSocket


class Chat:
    """The room: for each client, the messages to send, and the cancel scope of its task."""

    def __init__(self) -> None:
        self._there: dict[str, tuple[trio.MemorySendChannel[str], trio.CancelScope]] = {}

    async def serve(self, request: ws.WebSocketRequest) -> None:
        """Serve one client until it leaves; its name is the path of its request."""
        name = request.path.strip("/")
        try:
            if not name or name in self._there:
                await request.reject(409, body=b"choose another name")
            else:
                await self._serve(name, request)
        except ws.ConnectionClosed:  # it was lost before it was answered
            pass

    async def _serve(self, name: str, request: ws.WebSocketRequest) -> None:
        send, receive = trio.open_memory_channel[str](100)
        scope = trio.CancelScope()
        self._there[name] = send, scope
        try:
            with scope:
                async with await request.accept() as client, trio.open_nursery() as nursery:
                    nursery.start_soon(self._write, client, receive)
                    self.tell(f"* {name} is here")
                    await self._read(name, client)
                    nursery.cancel_scope.cancel()
        finally:
            del self._there[name]
            self.tell(f"* {name} has left")

    async def _read(self, name: str, client: ws.WebSocketConnection) -> None:
        try:
            while True:
                message = await client.get_message()
                if isinstance(message, str):  # and not bytes
                    self.tell(f"{name}: {message}", but=name)
        except ws.ConnectionClosed:  # by a closing handshake, or without
            return

    async def _write(
        self, client: ws.WebSocketConnection, receive: trio.MemoryReceiveChannel[str]
    ) -> None:
        try:
            async for text in receive:
                await client.send_message(text)
        except ws.ConnectionClosed:  # _read notices it, too
            return

    def tell(self, text: str, but: str | None = None) -> None:
        """Send a message to all clients; a plain function that never waits."""
        for name, (send, scope) in self._there.items():
            if name != but:
                try:
                    send.send_nowait(text)
                except trio.WouldBlock:  # the client is too slow
                    scope.cancel()


async def serve_by_handler(server: ServerSocket[TCPSocket], chat: Chat) -> None:
    """Each connection gets a task of `serve`, and one of trio-websocket's that reads."""

    async def handle(sock: TCPSocket) -> None:
        async with trio.open_nursery() as nursery:
            request = None
            with trio.move_on_after(10):  # seconds for the opening handshake
                request = await ws.wrap_server_stream(nursery, sock)
            if request is not None:
                await chat.serve(request)
            nursery.cancel_scope.cancel()

    await server.serve(handle)


async def serve_by_listener(server: ServerSocket[TCPSocket], chat: Chat) -> None:
    """trio-websocket's own server, which takes connections of ours from `accept`."""
    listener: Any = server  # its types name Trio's listeners only; any trio.abc.Listener works
    await ws.WebSocketServer(chat.serve, [listener], connect_timeout=10).run()


@asynccontextmanager
async def connected(port: int, name: str) -> AsyncGenerator[ws.WebSocketConnection, None]:
    """A client of the chat, which leaves at the end of the block."""
    async with TCPSocket("127.0.0.1", port) as sock, trio.open_nursery() as nursery:
        await sock.connect()
        stream: Any = sock  # as above: any trio.abc.Stream works
        with trio.fail_after(10):
            client = await ws.wrap_client_stream(nursery, stream, f"127.0.0.1:{port}", f"/{name}")
        async with client:
            yield client


async def talk(serve: Callable[[ServerSocket[TCPSocket], Chat], Awaitable[None]]) -> None:
    async with ServerSocket(address="127.0.0.1") as server, trio.open_nursery() as nursery:
        await server.listen()
        nursery.start_soon(serve, server, Chat())
        async with connected(server.port, "ada") as ada:
            print("ada hears", await ada.get_message())
            async with connected(server.port, "ben") as ben:
                print("ada hears", await ada.get_message())
                print("ben hears", await ben.get_message())
                await ada.send_message("hello everybody")
                print("ben hears", await ben.get_message())
            print("ada hears", await ada.get_message())
        nursery.cancel_scope.cancel()


async def main() -> None:
    for serve in (serve_by_handler, serve_by_listener):
        print(serve.__name__)
        await talk(serve)


if __name__ == "__main__":
    trio.run(main)

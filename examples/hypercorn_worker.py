"""An ASGI app served by hypercorn's Trio worker, on connections of a ServerSocket.

`hypercorn.trio.serve` opens sockets of its own. To serve on ours, this does what its
`worker_serve` does: a `TCPServer` for each connection, and a `Lifespan` around all of them. These
classes have no underscore, but hypercorn does not document them. It sees TLS only in streams of
Trio's: on an SSLSocket it works, but without ALPN, and the app is told the scheme "http".
"""

from typing import Any

import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.trio.lifespan import Lifespan
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import (
    ASGIFramework,
    ASGIReceiveCallable,
    ASGISendCallable,
    ConnectionState,
    LifespanState,
    Scope,
)

from trio_xsock import ServerSocket, TCPSocket


class Worker:
    """Serves an ASGI app until told to stop."""

    def __init__(self, app: ASGIFramework, config: Config) -> None:
        self._app = ASGIWrapper(app)
        self._config = config
        self._context = WorkerContext(None)
        self._state: LifespanState = {}

    async def serve(  # noqa: ASYNC128 - the server's serve calls it
        self,
        server: ServerSocket[TCPSocket],
        *,
        task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Start the app, serve until `stop`, and shut the app down."""
        lifespan = Lifespan(self._app, self._config, self._state)
        async with trio.open_nursery() as nursery:
            await nursery.start(lifespan.handle_lifespan)
            await lifespan.wait_for_startup()
            await server.serve(self._handle, task_status=task_status)
            await lifespan.wait_for_shutdown()
            nursery.cancel_scope.cancel()

    async def _handle(self, sock: TCPSocket) -> None:
        stream: Any = sock  # its types name Trio's streams only
        state = ConnectionState(self._state.copy())
        await TCPServer(self._app, self._config, self._context, state, stream).run()

    async def stop(self, server: ServerSocket[TCPSocket]) -> None:
        """Close idle connections, and let requests end, for as long as hypercorn does."""
        server.stop_listening()
        await self._context.terminated.set()
        await server.aclose(grace=self._config.graceful_timeout)


async def app(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
    """A small ASGI app: it tells each client where it comes from."""
    if scope["type"] == "lifespan":
        await receive()
        print("the app starts")
        await send({"type": "lifespan.startup.complete"})
        await receive()
        print("the app ends")
        await send({"type": "lifespan.shutdown.complete"})
    elif scope["type"] == "http":
        address = scope["client"][0] if scope["client"] else "a Unix socket"
        text = f"{scope['method']} {scope['path']} from {address}".encode()
        headers = [(b"content-length", b"%d" % len(text))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": text, "more_body": False})


async def get(sock: TCPSocket, path: str) -> str:
    """A request in the plainest way, and the text of its answer."""
    await sock.send_all(f"GET {path} HTTP/1.1\r\nHost: example\r\n\r\n".encode())
    head = await sock.receive_until(b"\r\n\r\n")
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    return (await sock.receive_exactly(int(fields[b"content-length"]))).decode()


async def main() -> None:
    worker = Worker(app, Config())
    async with ServerSocket(address="127.0.0.1") as server, trio.open_nursery() as nursery:
        port: int = await nursery.start(worker.serve, server)
        async with TCPSocket("127.0.0.1", port) as client:
            await client.connect()
            print(await get(client, "/one"))
            print(await get(client, "/two"))  # on the same connection
            await worker.stop(server)
            print("and then", await client.receive_some())


if __name__ == "__main__":
    trio.run(main)

"""One echo server in all three styles; clients cannot tell them apart."""

import trio

from trio_xsock import DataAvailable, EventChannel, ServerSocket, SocketHandler, TCPSocket

# Calls: a task for each connection


async def echo(sock: TCPSocket) -> None:
    async for chunk in sock:
        await sock.send_all(chunk)


async def serve_by_calls(task_status: trio.TaskStatus[int]) -> None:  # noqa: ASYNC128 - serve does
    async with ServerSocket(address="127.0.0.1") as server:
        await server.serve(echo, task_status=task_status)


# Events: one task for all connections, which post into one channel


async def serve_by_events(task_status: trio.TaskStatus[int]) -> None:
    channel = EventChannel()

    def add_socket() -> TCPSocket:
        return TCPSocket(events=channel, allow_half_close=False)  # ends when the peer does

    async with ServerSocket(address="127.0.0.1", add_socket=add_socket) as server:
        await server.listen()
        task_status.started(server.port)
        async for event in channel:
            if isinstance(event, DataAvailable):
                event.socket.write(event.socket.read_all())


# A handler: no task at all


class Echo(SocketHandler):
    def on_data_available(self, socket: TCPSocket) -> None:
        socket.write(socket.read_all())


async def serve_by_handler(task_status: trio.TaskStatus[int]) -> None:
    handler = Echo()
    async with ServerSocket(
        address="127.0.0.1", add_socket=lambda: TCPSocket(handler=handler)
    ) as server:
        await server.listen()
        task_status.started(server.port)
        await trio.sleep_forever()


async def main() -> None:
    for serve in serve_by_calls, serve_by_events, serve_by_handler:
        async with trio.open_nursery() as nursery:
            port: int = await nursery.start(serve)
            async with TCPSocket("127.0.0.1", port) as sock:
                await sock.connect()
                await sock.send_all(b"hello")
                print(f"{serve.__name__}:", await sock.receive_exactly(5))
                await sock.send_eof()
                assert await sock.receive_some() == b""
            nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)

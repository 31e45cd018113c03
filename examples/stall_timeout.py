"""Stall timeout: a send may take any time, as long as it makes progress."""

import trio

from trio_xsock import EventChannel, SendProgress, ServerSocket, TCPSocket


async def send_unless_stalled(sock: TCPSocket, data: bytes, seconds: float) -> None:
    """Send ``data``; raise ``trio.TooSlowError`` if nothing of it was sent for ``seconds``."""
    with sock.subscribe() as progress, trio.fail_after(seconds) as scope:
        sock.start_soon(postpone, progress, scope, seconds)
        await sock.send_all(data)


async def postpone(progress: EventChannel, scope: trio.CancelScope, seconds: float) -> None:
    """Move the deadline each time something was sent; ends when the channel is closed."""
    async for event in progress:
        if isinstance(event, SendProgress):
            scope.deadline = trio.current_time() + seconds


async def slow_reader(sock: TCPSocket) -> None:
    """Read a little at intervals, and then stop reading."""
    for _ in range(25):
        await sock.receive_exactly(500_000)
        await trio.sleep(0.05)
    await trio.sleep_forever()


async def main() -> None:
    async with ServerSocket(address="127.0.0.1") as server, trio.open_nursery() as nursery:
        port: int = await nursery.start(server.serve, slow_reader)

        async with TCPSocket("127.0.0.1", port) as sock:
            await sock.connect()
            began = trio.current_time()
            try:
                await send_unless_stalled(sock, bytes(100_000_000), seconds=0.8)
            except trio.TooSlowError:
                print(f"stalled after {sock.bytes_sent} bytes")
            print("took longer than the time-out:", trio.current_time() - began > 1)
            print("still connected:", sock.is_connected)

        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)

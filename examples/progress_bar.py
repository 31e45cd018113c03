"""A progress bar: the same bar fed by a channel, and by a handler object."""

import trio

from trio_xsock import EventChannel, SendComplete, SendProgress, ServerSocket, TCPSocket

SIZE = 30_000_000


class Bar:
    """A bar of text, drawn in one line."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.sent = 0
        self.drawn = -1

    def advance(self, count: int) -> None:
        self.sent += count
        percent = self.sent * 100 // self.size
        if percent > self.drawn:
            self.drawn = percent
            print(f"\r[{'#' * (percent * 2 // 5):40}] {percent:3} %", end="", flush=True)

    def finish(self, aborted: bool) -> None:
        print(f"\n{self.sent} bytes,", "aborted" if aborted else "done")


async def draw(events: EventChannel, bar: Bar) -> None:
    """Feed the bar from a channel, for one batch."""
    async for event in events:
        match event:
            case SendProgress(bytes_sent=count):
                bar.advance(count)
            case SendComplete(user_aborted=aborted):
                bar.finish(aborted)
                return
            case _:
                pass


class BarHandler:
    """Feed the bar as a handler object, and abort after a third of the data."""

    def __init__(self, bar: Bar) -> None:
        self.bar = bar

    def on_send_progress(self, socket: TCPSocket, bytes_sent: int, bytes_left: int) -> bool:
        self.bar.advance(bytes_sent)
        return self.bar.sent > SIZE // 3  # True is the Cancel button

    def on_send_complete(self, socket: TCPSocket, user_aborted: bool) -> None:
        self.bar.finish(user_aborted)


async def swallow(sock: TCPSocket) -> None:
    async for _ in sock:
        pass


async def main() -> None:
    async with ServerSocket(address="127.0.0.1") as server, trio.open_nursery() as nursery:
        port: int = await nursery.start(server.serve, swallow)

        async with TCPSocket("127.0.0.1", port) as sock:
            await sock.connect()
            async with trio.open_nursery() as drawing:
                drawing.start_soon(draw, sock.events, Bar(SIZE))
                await sock.send_all(bytes(SIZE))

        async with TCPSocket("127.0.0.1", port, handler=BarHandler(Bar(SIZE))) as sock:
            await sock.connect()
            sock.write(bytes(SIZE))
            await sock.flush()

        server.stop_listening()


if __name__ == "__main__":
    trio.run(main)

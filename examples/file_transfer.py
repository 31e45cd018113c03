"""Send a file over TCP with progress; both ends compare a checksum."""

import hashlib
import tempfile
from pathlib import Path

import trio

from trio_xsock import EventChannel, SendComplete, SendProgress, ServerSocket, TCPSocket


async def send(path: Path, port: int) -> None:
    size = (await trio.Path(path).stat()).st_size
    async with TCPSocket("127.0.0.1", port) as sock:
        await sock.connect()
        await sock.send_all(f"{path.name}\n{size}\n".encode())

        with sock.subscribe() as events:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(show_progress, events, size)
                sent = await sock.send_file(path)
        print(f"{sent} bytes sent")

        checksum = (await sock.receive_until(b"\n")).decode()
        print("it arrived whole:", checksum == await sha256(path))


async def show_progress(events: EventChannel, size: int) -> None:
    """Print each tenth of the file; return when it was sent."""
    shown = 0
    async for event in events:
        match event:
            case SendProgress(total_sent=sent) if sent * 10 // size > shown:
                shown = sent * 10 // size
                print(f"{shown * 10:3} %")
            case SendComplete():
                return
            case _:
                pass


async def receive(sock: TCPSocket, folder: Path) -> None:
    """Store one file in the folder, and answer with its checksum."""
    name = (await sock.receive_until(b"\n", max_bytes=255)).decode()
    left = int(await sock.receive_until(b"\n", max_bytes=20))
    path = folder / ("received-" + Path(name).name)  # the last part only: it stays in the folder

    async with await trio.open_file(path, "wb") as file:
        while left:
            chunk = await sock.receive_some(left)
            if not chunk:
                raise EOFError(f"{name}: {left} bytes are missing")
            await file.write(chunk)
            left -= len(chunk)
    await sock.send_all(f"{await sha256(path)}\n".encode())


async def sha256(path: Path) -> str:
    def digest() -> str:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    return await trio.to_thread.run_sync(digest)  # so that other connections go on


async def main(folder: Path) -> None:
    path = folder / "example.dat"
    path.write_bytes(bytes(20_000_000))

    async def store(sock: TCPSocket) -> None:
        await receive(sock, folder)

    async with ServerSocket(address="127.0.0.1") as server, trio.open_nursery() as nursery:
        port: int = await nursery.start(server.serve, store)
        await send(path, port)
        server.stop_listening()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        trio.run(main, Path(folder))

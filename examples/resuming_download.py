"""A download that goes on where it was interrupted, with HTTP's ``Range`` and ``If-Range``."""

import hashlib
import random
import re
import tempfile

import trio

from trio_xsock import ConnectError, LostConnectionError, ServerSocket, TCPSocket, connect_tcp


async def read_head(sock: TCPSocket) -> tuple[str, dict[str, str]]:
    """The second word of a request's or response's first line, and the headers."""
    text = (await sock.receive_until(b"\r\n\r\n", max_bytes=8192)).decode("latin-1")
    first, *lines = text.split("\r\n")
    pairs = (line.partition(":") for line in lines)
    return f"{first} ".split(" ")[1], {name.lower(): value.strip() for name, _, value in pairs}


# The client


class Download:
    """A file on its way: ``.part`` has what has arrived, ``.etag`` of which version it is."""

    def __init__(self, target: trio.Path) -> None:
        self._target = target
        self._part = target.with_name(f"{target.name}.part")
        self._etag = target.with_name(f"{target.name}.etag")

    async def run(self, host: str, port: int, path: str) -> None:
        """Fetch all of it; connect again after each loss. A later run goes on from here."""
        delay = 0.05
        while True:
            before = await self._size()
            try:
                async with connect_tcp(host, port) as sock:
                    if await self._fetch(sock, host, path):
                        break
            except (ConnectError, LostConnectionError, EOFError) as error:
                print(type(error).__name__)
            size = await self._size()
            print("interrupted after", size, "bytes")
            delay = 0.05 if size > before else min(2 * delay, 30)
            await trio.sleep(delay)
        await self._part.replace(self._target)
        await self._etag.unlink()

    async def _size(self) -> int:
        if await self._part.exists() and await self._etag.exists():
            return (await self._part.stat()).st_size
        return 0

    async def _fetch(self, sock: TCPSocket, host: str, path: str) -> bool:
        """Ask for what is missing, and store what comes; returns whether that is all."""
        request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n"
        if size := await self._size():
            request += f"Range: bytes={size}-\r\nIf-Range: {await self._etag.read_text()}\r\n"
        await sock.send_all(f"{request}\r\n".encode())
        status, headers = await read_head(sock)
        span = headers.get("content-range", "")
        match status:
            case "200":  # from the beginning: nothing is here yet, or the file is another one now
                await self._part.write_bytes(b"")
                await self._etag.write_text(headers["etag"])
            case "206" if span.startswith(f"bytes {size}-"):
                pass
            case "416" if span == f"bytes */{size}":  # everything is here already
                return True
            case _:
                raise ValueError(f"{path}: the server says {status} {span}")
        length = int(headers["content-length"])
        async with await self._part.open("ab", buffering=0) as file:
            return await sock.receive_file(file.wrapped, count=length) == length


# The server


class Files:
    """Serves the files of a folder, one for each connection."""

    def __init__(self, folder: trio.Path, most: int) -> None:
        self._folder = folder
        self._most = most  # bytes after which it hangs up, for the sake of the example

    async def serve(self, sock: TCPSocket) -> None:
        with sock.may_stop():  # until a request has come
            target, headers = await read_head(sock)
        path = self._folder / target.rpartition("/")[2]  # the last part: it stays in the folder
        if not await path.is_file():
            await sock.send_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            return
        stat = await path.stat()
        size, etag, start = stat.st_size, f'"{stat.st_mtime_ns:x}-{stat.st_size:x}"', 0
        lines = ["HTTP/1.1 200 OK", "Connection: close"]
        wanted = re.fullmatch(r"bytes=(\d{1,18})-", headers.get("range", ""))
        if wanted and headers.get("if-range", etag) == etag:
            start = min(int(wanted[1]), size)
            if start < size:
                lines[0] = "HTTP/1.1 206 Partial Content"
                lines.append(f"Content-Range: bytes {start}-{size - 1}/{size}")
            else:
                lines[0] = "HTTP/1.1 416 Range Not Satisfiable"
                lines.append(f"Content-Range: bytes */{size}")
        lines += [f"ETag: {etag}", f"Content-Length: {size - start}", "", ""]
        await sock.send_all("\r\n".join(lines).encode())
        await sock.send_file(path, offset=start, count=min(size - start, self._most))


async def checksum(path: trio.Path) -> str:
    return hashlib.sha256(await path.read_bytes()).hexdigest()


async def main(folder: trio.Path) -> None:
    source, target = folder / "source.bin", folder / "target.bin"
    await source.write_bytes(random.randbytes(5_000_000))
    async with ServerSocket(address="127.0.0.1") as server, trio.open_nursery() as nursery:
        port: int = await nursery.start(server.serve, Files(folder, most=2_000_000).serve)
        await Download(target).run("127.0.0.1", port, "/source.bin")
        await server.aclose()
    print("the same:", await checksum(source) == await checksum(target))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        trio.run(main, trio.Path(name))

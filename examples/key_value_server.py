"""A key-value server: the part of memcached's text protocol that most clients use."""

import trio

from trio_xsock import (
    DelimiterNotFoundError,
    IncompleteReadError,
    ServerSocket,
    TCPSocket,
    connect_tcp,
)

LONGEST_LINE = 2048
LONGEST_KEY = 250
LARGEST_VALUE = 2**20
MOST_VALUES = 10_000


class CommandError(Exception):
    """The client broke the protocol: it is told how, and the connection ends."""


class Store:
    """The values, and what the commands do to them; it knows no sockets."""

    def __init__(self) -> None:
        self._values: dict[bytes, tuple[int, bytes, float]] = {}  # flags, data, when it expires

    def set(self, key: bytes, flags: int, seconds: int, data: bytes) -> bytes:
        if len(self._values) >= MOST_VALUES and key not in self._values:
            return b"SERVER_ERROR out of memory storing object\r\n"
        expires = trio.current_time() + seconds if seconds else float("inf")
        self._values[key] = flags, data, expires
        return b"STORED\r\n"

    def get(self, key: bytes) -> bytes:
        flags, data, expires = self._values.get(key, (0, b"", 0))
        if expires > trio.current_time():
            return b"VALUE %b %d %d\r\n%b\r\n" % (key, flags, len(data), data)
        self._values.pop(key, None)
        return b""

    def delete(self, key: bytes) -> bytes:
        return b"DELETED\r\n" if self._values.pop(key, None) else b"NOT_FOUND\r\n"


class Server:
    """Carries the commands of each connection to one store, and the answers back."""

    def __init__(self) -> None:
        self._store = Store()

    async def serve(self, sock: TCPSocket) -> None:
        """Answer the commands of one connection, one after the other."""
        lines = sock.lines(None, max_bytes=LONGEST_LINE)
        try:
            while True:
                with sock.may_stop():  # a server that stops does not wait for idle clients
                    line = await anext(lines, None)
                if line is None or line == b"quit":
                    return
                await self._answer(sock, line)
        except CommandError as error:
            await sock.send_all(f"CLIENT_ERROR {error}\r\n".encode())
        except DelimiterNotFoundError:
            await sock.send_all(b"CLIENT_ERROR line too long\r\n")
        except IncompleteReadError:
            return  # the client has ended the connection within a value

    async def _answer(self, sock: TCPSocket, line: bytes) -> None:
        match line.split():
            case [b"get", *keys] if keys:
                for key in keys:  # one by one: a line may ask for more than memory holds
                    await sock.send_all(self._store.get(key))
                answer = b"END\r\n"
            case [b"set", key, flags, seconds, size, *rest] if rest in ([], [b"noreply"]):
                data = await self._value(sock, key, number(size))
                answer = self._store.set(key, number(flags), number(seconds), data)
                if rest:
                    return
            case [b"delete", key]:
                answer = self._store.delete(key)
            case _:
                answer = b"ERROR\r\n"
        await sock.send_all(answer)

    async def _value(self, sock: TCPSocket, key: bytes, size: int) -> bytes:
        """The value that follows a line; it may hold line ends."""
        if len(key) > LONGEST_KEY:
            raise CommandError("key too long")
        if size > LARGEST_VALUE:
            raise CommandError("value too large")
        data = await sock.receive_exactly(size + 2)
        if not data.endswith(b"\r\n"):
            raise CommandError("bad data chunk")
        return data[:-2]


def number(text: bytes) -> int:
    if not text.isdigit() or len(text) > 10:
        raise CommandError("bad command line format")
    return int(text)


async def ask(sock: TCPSocket, command: str, *, end: bytes = b"\r\n") -> str:
    """Send a command, and wait for the end of its answer."""
    await sock.send_all(f"{command}\r\n".encode())
    return (await sock.receive_until(end)).decode()


async def main() -> None:
    async with (
        ServerSocket(address="127.0.0.1", idle_timeout=600) as server,
        trio.open_nursery() as nursery,
    ):
        port: int = await nursery.start(server.serve, Server().serve)
        async with connect_tcp("127.0.0.1", port) as ada, connect_tcp("127.0.0.1", port) as ben:
            print("ada:", await ask(ada, "set colour 0 0 10\r\ndark green"))
            print("ben:", (await ask(ben, "get colour size", end=b"END\r\n")).split("\r\n"))
            print("ben:", await ask(ben, "delete colour"))
            print("ada:", await ask(ada, "delete colour"))
            print("ada:", await ask(ada, "set x 0 0 many"))
            print("ada is cut off:", await ada.receive_some())
            await server.aclose()
            print("the server stops:", await ben.receive_some())


if __name__ == "__main__":
    trio.run(main)

"""httpx and httpcore on sockets of this library: a network backend for their connection pool."""

import ssl
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import httpcore
import httpx  # noqa: ASYNC127 - the client that most programs use
import trio
from h11_server import serve

from trio_xsock import ServerSocket, SocketError, SSLSocket


@contextmanager
def translated(timeout: float | None, too_slow: Any, failed: Any) -> Generator[None, None, None]:
    """A block whose time is limited, and whose errors leave as those of httpcore."""
    try:
        with trio.fail_after(float("inf") if timeout is None else timeout):
            yield
    except trio.TooSlowError as error:
        raise too_slow(f"more than {timeout} seconds") from error
    except (SocketError, OSError) as error:
        raise failed(str(error)) from error


class Stream(httpcore.AsyncNetworkStream):
    """One connection, with the interface of httpcore."""

    def __init__(self, sock: SSLSocket) -> None:
        self._sock = sock

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        with translated(timeout, httpcore.ReadTimeout, httpcore.ReadError):
            return await self._sock.receive_some(max_bytes)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        with translated(timeout, httpcore.WriteTimeout, httpcore.WriteError):
            await self._sock.send_all(buffer)

    async def aclose(self) -> None:
        await self._sock.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> httpcore.AsyncNetworkStream:
        self._sock.ssl_context = ssl_context
        self._sock.server_hostname = server_hostname
        try:
            with translated(timeout, httpcore.ConnectTimeout, httpcore.ConnectError):
                await self._sock.start_tls()
        except BaseException:
            self._sock.close()
            raise
        return self

    def get_extra_info(self, info: str) -> Any:
        sock = self._sock
        match info:
            case "is_readable":  # for an idle connection, which is not used again if it is
                return not sock.is_connected or sock.at_eof or sock.bytes_available > 0
            case "socket":
                return sock.socket
            case "client_addr":
                return sock.socket.getsockname()
            case "server_addr":
                return sock.socket.getpeername()
            case "ssl_object" if sock.ssl_connected:  # the part of one that httpcore uses
                return SimpleNamespace(selected_alpn_protocol=lambda: sock.selected_alpn_protocol)
            case _:
                return None


class Backend(httpcore.AsyncNetworkBackend):
    """Connects for httpcore; the connections live in the nursery, and end with it."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        # HTTP itself says where a response ends, and many servers end without close_notify.
        sock = SSLSocket(host, port, ssl_enabled=False, https_compatible=True)
        sock.bind_address = local_address or ""
        await self._nursery.start(sock.run)
        try:
            with translated(timeout, httpcore.ConnectTimeout, httpcore.ConnectError):
                await sock.connect()
                for option in socket_options or ():
                    sock.setsockopt(*option)
        except BaseException:
            sock.close()  # ends its task
            raise
        return Stream(sock)

    async def sleep(self, seconds: float) -> None:
        await trio.sleep(seconds)


def transport(nursery: trio.Nursery, context: ssl.SSLContext) -> httpx.AsyncHTTPTransport:
    """A ``transport`` for ``httpx.AsyncClient``."""
    made = httpx.AsyncHTTPTransport(verify=context)
    made._pool = httpcore.AsyncConnectionPool(context, network_backend=Backend(nursery))
    return made


async def main() -> None:
    async with ServerSocket(address="127.0.0.1") as server, trio.open_nursery() as nursery:
        port: int = await nursery.start(server.serve, serve)
        context = ssl.create_default_context()
        async with httpx.AsyncClient(transport=transport(nursery, context)) as client:
            for _ in range(2):
                print((await client.get(f"http://127.0.0.1:{port}/")).text.strip())
        print(server.statistics().accepted, "connection")
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)

"""The examples with h11 and httpx, against peers of the standard library and each other."""

from __future__ import annotations

import importlib
import socket
import ssl
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpcore
import httpx
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.support.peers import LOOPBACK, RawPeer, accept, raw_listener
from tests.support.tls import TLSPeer, credentials
from trio_xsock import ServerSocket, SSLSocket, TCPSocket

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples"))

h11_example: Any = importlib.import_module("h11_server")
httpx_example: Any = importlib.import_module("httpx_transport")
serve = h11_example.serve
MOST: int = h11_example.MOST

HELLO = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
GET = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"


@asynccontextmanager
async def h11_server(*, tls: bool = False) -> AsyncGenerator[ServerSocket[TCPSocket], None]:
    """The example's server, running."""

    def add_socket() -> TCPSocket:
        if not tls:
            return TCPSocket()
        return SSLSocket(certificate_file=credentials().server, alpn_protocols=["http/1.1"])

    async with ServerSocket(address=LOOPBACK, add_socket=add_socket) as server:
        async with trio.open_nursery() as nursery:
            await nursery.start(server.serve, serve)
            yield server
            await server.aclose()


@asynccontextmanager
async def httpcore_pool(**options: object) -> AsyncGenerator[httpcore.AsyncConnectionPool, None]:
    """httpcore on the example's backend."""
    async with trio.open_nursery() as nursery:
        pool = httpcore.AsyncConnectionPool(
            ssl_context=credentials().client_context(),
            network_backend=httpx_example.Backend(nursery),
            **options,  # type: ignore[arg-type]
        )
        async with pool:
            yield pool
        await wait_all_tasks_blocked()
        assert not nursery.child_tasks  # the pool has closed every connection


def stream_of(response: Any) -> Any:
    """The example's stream that an answer came on."""
    return response.extensions["network_stream"]


async def read_head(peer: RawPeer | TLSPeer) -> bytes:
    """A request without a body, or the head of an answer."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += await peer.recv_exactly(1)
    return head


async def read_answer(peer: RawPeer) -> tuple[bytes, bytes, bytes]:
    """The status, the headers in small letters, and the body."""
    line, _, headers = (await read_head(peer)).partition(b"\r\n")
    headers = headers.lower()
    size = headers.partition(b"content-length: ")[2].split(b"\r\n")[0]
    return line.split()[1], headers, await peer.recv_exactly(int(size))


# The server, and a client that knows no library


async def test_server_keeps_a_connection_for_many_requests() -> None:
    """Bodies of known size and in chunks, piece by piece, and requests sent ahead."""
    async with h11_server() as server:
        with await RawPeer.connect(server.port) as client:
            post = b"POST /echo HTTP/1.1\r\nHost: here\r\nContent-Length: 6\r\n\r\n"
            for piece in (post[:9], post[9:], b"one", b"two"):
                await client.send(piece)
                await wait_all_tasks_blocked()
            assert (await read_answer(client))[::2] == (b"200", b"onetwo")
            await client.send(
                b"POST /echo HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n"
                b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n" + GET + GET.replace(b"/ ", b"/missing ")
            )
            assert (await read_answer(client))[::2] == (b"200", b"abcde")
            assert (await read_answer(client))[::2] == (b"200", b"hello\n")
            assert (await read_answer(client))[0] == b"404"
        assert server.statistics().accepted == 1
        assert server.statistics().failed == 0


async def test_server_answers_head_and_expect() -> None:
    """HEAD has no body, and a client that asks first is told to go on."""
    async with h11_server() as server:
        with await RawPeer.connect(server.port) as client:
            await client.send(GET.replace(b"GET", b"HEAD"))
            assert b"Content-Length: 6" in await read_head(client)
            await client.send(
                b"POST /echo HTTP/1.1\r\nHost: here\r\nContent-Length: 3\r\n"
                b"Expect: 100-continue\r\n\r\n"
            )
            assert (await read_head(client)).startswith(b"HTTP/1.1 100 ")
            await client.send(b"abc")
            assert (await read_answer(client))[::2] == (b"200", b"abc")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),  # no host
        (b"POST /echo HTTP/1.1\r\nHost: here\r\nContent-Length: x\r\n\r\n", b"400"),
        (
            b"POST /echo HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\nno size\r\n",
            b"400",
        ),
        (b"GET / HTTP/1.1\r\nHost: here\r\nX: " + b"x" * 2**17, b"400"),
        (
            b"POST /echo HTTP/1.1\r\nHost: here\r\nContent-Length: 2000000\r\n\r\n"
            + b"x" * (MOST + 1),
            b"413",
        ),
    ],
)
async def test_server_refuses_what_is_wrong_and_closes(request_: bytes, status: bytes) -> None:
    """A client that breaks the rules is told so, and the handler does not fail."""
    async with h11_server() as server:
        with await RawPeer.connect(server.port) as client:
            await client.send(request_)
            answer, headers, _ = await read_answer(client)
            assert answer == status
            assert b"connection: close" in headers
            assert await client.recv_some() == b""
        assert server.statistics().failed == 0


@pytest.mark.parametrize(
    "request_",
    [
        b"GET / HTTP/1.0\r\n\r\n",
        GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"),
    ],
)
async def test_server_closes_where_the_client_wants_it(request_: bytes) -> None:
    """Without keep-alive the answer is the last of the connection."""
    async with h11_server() as server:
        with await RawPeer.connect(server.port) as client:
            await client.send(request_)
            assert (await read_answer(client))[::2] == (b"200", b"hello\n")
            assert await client.recv_some() == b""
        assert server.statistics().failed == 0


@pytest.mark.parametrize("request_", [b"", b"GET / HT", GET])
async def test_server_survives_clients_that_vanish(request_: bytes) -> None:
    """A reset anywhere fails no handler."""
    async with h11_server() as server:
        client = await RawPeer.connect(server.port)
        await client.send(request_)
        await wait_all_tasks_blocked()
        client.reset()
        await wait_all_tasks_blocked()
        assert server.statistics().failed == 0


async def test_server_stops_with_an_idle_client(autojump_clock: trio.testing.MockClock) -> None:
    """Keep-alive does not hold up a stop; a request that has begun is still answered."""
    async with h11_server() as server:
        with (
            await RawPeer.connect(server.port) as idle,
            await RawPeer.connect(server.port) as beginning,
            await RawPeer.connect(server.port) as busy,
        ):
            await idle.send(GET)
            await read_answer(idle)
            await beginning.send(b"GET / HT")
            await busy.send(b"POST /echo HTTP/1.1\r\nHost: here\r\nContent-Length: 4\r\n\r\nab")
            await wait_all_tasks_blocked()
            async with trio.open_nursery() as nursery:
                before = trio.current_time()
                nursery.start_soon(server.aclose)
                assert await idle.recv_some() == b""
                assert await beginning.recv_some() == b""
                await busy.send(b"cd")
                assert (await read_answer(busy))[::2] == (b"200", b"abcd")
                assert await busy.recv_some() == b""
            assert trio.current_time() == before


# The client, and a server that knows no library


async def test_client_uses_a_connection_again() -> None:
    """Two requests of httpx on one connection, whose addresses are told."""
    with raw_listener() as listener:
        port = listener.getsockname()[1]

        async def answer() -> None:
            with await accept(listener) as peer:
                for _ in range(2):
                    await read_head(peer)
                    await peer.send(HELLO)
                assert await peer.recv_some() == b""  # closed in good order

        async with trio.open_nursery() as nursery, trio.open_nursery() as connections:
            nursery.start_soon(answer)
            context = credentials().client_context()
            async with httpx.AsyncClient(
                transport=httpx_example.transport(connections, context)
            ) as client:
                url = f"http://{LOOPBACK}:{port}/"
                assert (await client.get(url)).text == "hello"
                response = await client.get(url)
                assert response.text == "hello"
                stream = stream_of(response)
                assert stream.get_extra_info("server_addr") == (LOOPBACK, port)
                assert stream.get_extra_info("client_addr")[0] == LOOPBACK
                assert stream.get_extra_info("socket").family == socket.AF_INET
                assert stream.get_extra_info("ssl_object") is None
                assert stream.get_extra_info("unheard of") is None
                assert not stream.get_extra_info("is_readable")


@pytest.mark.parametrize("ending", ["fin", "reset", "words"])
async def test_client_does_not_use_a_connection_that_is_no_good(ending: str) -> None:
    """The server hangs up, or speaks unasked, while a connection is idle."""
    with raw_listener() as listener:
        url = f"http://{LOOPBACK}:{listener.getsockname()[1]}/"
        async with httpcore_pool() as pool, trio.open_nursery() as nursery:
            first: list[RawPeer] = []

            async def answer() -> None:
                first.append(await accept(listener))
                await read_head(first[0])
                await first[0].send(HELLO)
                with await accept(listener) as second:
                    await read_head(second)
                    await second.send(HELLO)

            nursery.start_soon(answer)
            await pool.request("GET", url)
            with first[0] as peer:
                if ending == "fin":
                    peer.fin()
                elif ending == "reset":
                    peer.reset()
                else:
                    await peer.send(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
                await wait_all_tasks_blocked()
                assert (await pool.request("GET", url)).content == b"hello"


async def test_client_binds_and_sets_options() -> None:
    """``local_address`` and ``socket_options`` of the pool reach the socket."""
    options = [
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 77),
    ]
    with raw_listener() as listener:
        async with httpcore_pool(local_address="127.0.0.9", socket_options=options) as pool:
            url = f"http://{LOOPBACK}:{listener.getsockname()[1]}/"

            async def answer() -> None:
                with await accept(listener) as peer:
                    assert peer.sock.getpeername()[0] == "127.0.0.9"
                    await read_head(peer)
                    await peer.send(HELLO)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(answer)
                async with pool.stream("GET", url) as response:
                    sock = stream_of(response).get_extra_info("socket")
                    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 77
                    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


async def test_client_time_outs(autojump_clock: trio.testing.MockClock) -> None:
    """Each has httpcore's exception: connecting with TLS, reading, and writing."""
    with raw_listener(small=True) as listener:
        place = f"{LOOPBACK}:{listener.getsockname()[1]}"
        times = {"timeout": {"connect": 5, "read": 7}}
        async with httpcore_pool() as pool, trio.open_nursery() as nursery:
            before = trio.current_time()
            with pytest.raises(httpcore.ConnectTimeout):
                await pool.request("GET", f"https://{place}/", extensions=times)
            assert trio.current_time() == before + 5
            with pytest.raises(httpcore.ReadTimeout):
                await pool.request("GET", f"http://{place}/", extensions=times)
            assert trio.current_time() == before + 5 + 7
            stream = await httpx_example.Backend(nursery).connect_tcp(*listener.getsockname())
            with pytest.raises(httpcore.WriteTimeout):
                await stream.write(bytes(2**24), 9)
            assert trio.current_time() == before + 5 + 7 + 9
            await stream.aclose()


async def test_client_errors() -> None:
    """Nobody listens; no such name; the server resets; the backend is asked itself."""
    with raw_listener() as listener:
        port = listener.getsockname()[1]
        async with httpcore_pool() as pool, trio.open_nursery() as nursery:

            async def reset() -> None:
                peer = await accept(listener)
                await read_head(peer)
                peer.reset()

            nursery.start_soon(reset)
            with pytest.raises(httpcore.ReadError):
                await pool.request("GET", f"http://{LOOPBACK}:{port}/")
            stream = await httpx_example.Backend(nursery).connect_tcp(LOOPBACK, port)
            peer = await accept(listener)
            peer.reset()
            await wait_all_tasks_blocked()
            assert stream.get_extra_info("is_readable")
            with pytest.raises(httpcore.WriteError):
                await stream.write(b"x")
            await stream.aclose()
    async with httpcore_pool(retries=1) as pool:
        with pytest.raises(httpcore.ConnectError):
            await pool.request("GET", f"http://{LOOPBACK}:{port}/")


# HTTPS


async def test_client_https_with_a_server_of_the_standard_library() -> None:
    """The handshake, keep-alive, an end without TLS's farewell, and then a new connection."""
    with raw_listener() as listener:
        url = f"https://localhost:{listener.getsockname()[1]}/"
        context = credentials().server_context()
        context.set_alpn_protocols(["http/1.1"])
        async with httpcore_pool(local_address=LOOPBACK) as pool, trio.open_nursery() as nursery:

            async def answer(times: int) -> None:
                with await accept(listener) as raw:
                    peer = TLSPeer(raw, context)
                    await peer.handshake()
                    for _ in range(times):
                        await read_head(peer)
                        await peer.send(HELLO)

            nursery.start_soon(answer, 2)
            response = await pool.request("GET", url)
            assert response.content == b"hello"
            stream = stream_of(response)
            tls = stream.get_extra_info("ssl_object")
            assert tls.selected_alpn_protocol() == "http/1.1"
            assert not stream.get_extra_info("is_readable")
            assert (await pool.request("GET", url)).content == b"hello"
            await wait_all_tasks_blocked()
            assert stream.get_extra_info("is_readable")  # the server has gone
            nursery.start_soon(answer, 1)
            assert (await pool.request("GET", url)).content == b"hello"


async def test_client_https_answer_that_ends_with_the_connection() -> None:
    """HTTP/1.0 without a length: all of it is read, with and without TLS's farewell."""
    context = credentials().server_context()
    with raw_listener() as listener:
        url = f"https://{LOOPBACK}:{listener.getsockname()[1]}/"
        async with httpcore_pool() as pool, trio.open_nursery() as nursery:

            async def answer(farewell: bool) -> None:
                with await accept(listener) as raw:
                    peer = TLSPeer(raw, context)
                    await peer.handshake()
                    await read_head(peer)
                    await peer.send(b"HTTP/1.0 200 OK\r\n\r\n" + b"x" * 300_000)
                    if farewell:
                        await peer.end()

            for farewell in (True, False):
                nursery.start_soon(answer, farewell)
                assert (await pool.request("GET", url)).content == b"x" * 300_000


async def test_client_https_expects_the_name_it_was_told() -> None:
    """The name for TLS may be another than that of the URL, which is then not looked for."""
    context = credentials().server_context(credentials().issue("other", "other.example"))
    with raw_listener() as listener:
        url = f"https://{LOOPBACK}:{listener.getsockname()[1]}/"
        async with httpcore_pool() as pool, trio.open_nursery() as nursery:

            async def answer() -> None:
                with await accept(listener) as raw:
                    peer = TLSPeer(raw, context)
                    await peer.handshake()
                    await read_head(peer)
                    await peer.send(HELLO)

            nursery.start_soon(answer)
            name = {"sni_hostname": "other.example"}
            assert (await pool.request("GET", url, extensions=name)).content == b"hello"


async def test_client_refuses_an_unknown_authority() -> None:
    """The context that was given is the one that decides."""
    async with h11_server(tls=True) as server, trio.open_nursery() as nursery:
        context = ssl.create_default_context(cafile=credentials().elsewhere)
        async with httpx.AsyncClient(transport=httpx_example.transport(nursery, context)) as client:
            with pytest.raises(httpx.ConnectError, match="unable to get local issuer"):
                await client.get(f"https://{LOOPBACK}:{server.port}/")


async def test_client_cannot_encrypt_twice() -> None:
    """A second TLS inside the first is refused as an error of httpcore, and closes."""
    async with h11_server(tls=True) as server, trio.open_nursery() as nursery:
        context = credentials().client_context()
        stream = await httpx_example.Backend(nursery).connect_tcp(LOOPBACK, server.port)
        assert await stream.start_tls(context, LOOPBACK, 5) is stream
        with pytest.raises(httpcore.ConnectError):
            await stream.start_tls(context, LOOPBACK, 5)
        assert stream.get_extra_info("is_readable")


# One against the other


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_httpx_with_the_h11_server(scheme: str) -> None:
    """Many requests at a time, of all kinds; connections are used again."""
    async with h11_server(tls=scheme == "https") as server, trio.open_nursery() as nursery:
        url = f"{scheme}://{LOOPBACK}:{server.port}"
        made = httpx_example.transport(nursery, credentials().client_context())
        async with httpx.AsyncClient(transport=made, base_url=url) as client:

            async def post(number: int) -> None:
                body = b"%d" % number * 30_000
                assert (await client.post("/echo", content=body)).content == body

            async def pieces() -> AsyncIterator[bytes]:
                for _ in range(5):
                    yield b"piece"

            async with trio.open_nursery() as tasks:
                for number in range(10):
                    tasks.start_soon(post, number)
            assert (await client.post("/echo", content=pieces())).content == b"piece" * 5
            assert (await client.get("/")).text == "hello\n"
            assert (await client.head("/")).headers["content-length"] == "6"
            assert (await client.get("/missing")).status_code == 404
            assert (await client.delete("/")).status_code == 405
            assert server.statistics().accepted <= 10
            assert (await client.post("/echo", content=bytes(MOST + 1))).status_code == 413
    assert server.statistics().failed == 0

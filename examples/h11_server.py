"""An HTTP/1.1 server: h11 is the protocol, the sockets carry its bytes."""

import h11
import trio

from trio_xsock import LostConnectionError, ServerSocket, TCPSocket

MOST = 2**20
"""Bytes that the body of a request may have."""


async def serve(sock: TCPSocket) -> None:
    """Answer the requests of one connection, one after the other."""
    connection = h11.Connection(h11.SERVER)
    try:
        while await serve_request(sock, connection):
            connection.start_next_cycle()
    except h11.RemoteProtocolError as error:
        if connection.our_state in (h11.IDLE, h11.SEND_RESPONSE):  # no answer has begun
            await respond(sock, connection, 400, f"{error}\n".encode(), leaving=True)
    except LostConnectionError:
        pass  # the client is gone


async def serve_request(sock: TCPSocket, connection: h11.Connection) -> bool:
    """Answer the next request; returns whether another one may follow."""
    with sock.may_stop():  # between two requests a stop ends the connection at once
        request = await next_event(sock, connection)
    if not isinstance(request, h11.Request):
        return False  # the client has closed the connection
    body = bytearray()
    while isinstance(event := await next_event(sock, connection), h11.Data):
        body += event.data
        if len(body) > MOST:
            await respond(sock, connection, 413, b"the body is too long\n", leaving=True)
            return False
    status, content = answer(request, bytes(body))
    await respond(sock, connection, status, content, only_head=request.method == b"HEAD")
    return connection.our_state is connection.their_state is h11.DONE


async def next_event(sock: TCPSocket, connection: h11.Connection) -> object:
    """The next event of h11 from the client's bytes."""
    while (event := connection.next_event()) is h11.NEED_DATA:
        if connection.they_are_waiting_for_100_continue:
            go_on = h11.InformationalResponse(status_code=100, headers=[])
            await sock.send_all(connection.send(go_on) or b"")
        connection.receive_data(await sock.receive_some())
    return event


async def respond(
    sock: TCPSocket,
    connection: h11.Connection,
    status: int,
    content: bytes,
    only_head: bool = False,
    leaving: bool = False,
) -> None:
    """Send a response, all of it in one call."""
    headers = [("Content-Type", "text/plain"), ("Content-Length", str(len(content)))]
    if leaving:
        headers.append(("Connection", "close"))
    events: list[h11.Event] = [h11.Response(status_code=status, headers=headers)]
    if not only_head:
        events.append(h11.Data(data=content))
    events.append(h11.EndOfMessage())
    await sock.send_all(b"".join(connection.send(event) or b"" for event in events))


def answer(request: h11.Request, body: bytes) -> tuple[int, bytes]:
    """The application: it says hello, and echoes what is posted to it."""
    match request.method, request.target:
        case ((b"GET" | b"HEAD"), b"/"):
            return 200, b"hello\n"
        case b"POST", b"/echo":
            return 200, body
        case ((b"GET" | b"HEAD" | b"POST"), _):
            return 404, b"there is no such page\n"
        case _:
            return 405, b"there is no such method\n"


async def ask(sock: TCPSocket, request: bytes) -> None:
    """The client: send a request, and print the answer to it."""
    await sock.send_all(request)
    head = (await sock.receive_until(b"\r\n\r\n")).decode()
    length = head.lower().partition("content-length: ")[2].split()[0]
    content = await sock.receive_exactly(int(length))
    print(head.split()[1], content.decode().strip())


async def main() -> None:
    async with (
        ServerSocket(address="127.0.0.1", idle_timeout=60) as server,
        trio.open_nursery() as nursery,
        TCPSocket("127.0.0.1") as sock,
    ):
        sock.port = await nursery.start(server.serve, serve)
        await sock.connect()
        await ask(sock, b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
        await ask(sock, b"POST /echo HTTP/1.1\r\nHost: me\r\nContent-Length: 3\r\n\r\nabc")
        await ask(sock, b"nonsense\r\n\r\n")
        print("after an error:", await sock.receive_some())

        await sock.aclose()
        await sock.connect()
        await ask(sock, b"GET /missing HTTP/1.1\r\nHost: here\r\n\r\n")
        await server.aclose()
        print("the server stops:", await sock.receive_some())


if __name__ == "__main__":
    trio.run(main)

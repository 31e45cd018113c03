"""A time service over UDP: a question, an answer, and asking again when either was lost.

The server is a handler object that answers as questions come. The client numbers its questions, so
that a late answer to an earlier one is not taken for the answer to this one.
"""

import dataclasses
import struct
import time

import trio

from trio_xsock import Datagram, UDPSocket

QUESTION = struct.Struct("!I")
ANSWER = struct.Struct("!Id")
PATIENCE = 0.2
"""Seconds to wait for an answer before asking again."""


class TimeServer:
    """Answers each question with its number and the time."""

    def on_data_available(self, sock: UDPSocket) -> None:
        while (question := sock.read()) is not None:
            if len(question.data) == QUESTION.size:  # datagrams may be from anywhere
                (number,) = QUESTION.unpack(question.data)
                answer = ANSWER.pack(number, time.time())
                sock.write(dataclasses.replace(question, data=answer))


async def ask(sock: UDPSocket, host: str, port: int, tries: int = 5) -> float | None:
    """By how many seconds the server's clock is ahead of ours; None if it does not answer."""
    for number in range(tries):
        asked = time.time()
        await sock.send(Datagram(host, port, QUESTION.pack(number)))
        with trio.move_on_after(PATIENCE):
            async for datagram in sock:
                if len(datagram.data) != ANSWER.size:
                    continue
                answered, their_time = ANSWER.unpack(datagram.data)
                if answered == number:
                    return float(their_time - (asked + time.time()) / 2)
    return None


async def main() -> None:
    async with (
        UDPSocket(address="127.0.0.1", handler=TimeServer()) as server,
        UDPSocket(address="127.0.0.1") as client,
    ):
        await server.bind()
        await client.bind()
        client.write_to("127.0.0.1", b"not a question", server.port)
        ahead = await ask(client, "127.0.0.1", server.port)
        print("one machine, one time:", ahead is not None and abs(ahead) < PATIENCE)
        port = server.port
        server.close()
        print("nobody there:", await ask(client, "127.0.0.1", port, tries=2))


if __name__ == "__main__":
    trio.run(main)

"""Message sockets that are connected to raw peers, and who listens to them."""

from __future__ import annotations

from typing import Any

from trio_xsock import EasyTCPSocket, Message, encode_message

from .pairs import linked
from .peers import RawPeer
from .waiting import until


class MessageListener:
    """A handler that remembers messages, and errors with how many messages came before."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.errors: list[Any] = []

    def on_received_message(self, socket: EasyTCPSocket, command: int, data: bytes) -> None:
        self.messages.append(Message(command, data))

    def on_error(self, socket: EasyTCPSocket, error: Exception) -> None:
        self.errors.append((error, len(self.messages)))


def easy(**options: Any) -> Any:
    """A connected message socket and its raw peer."""
    return linked(socket_class=EasyTCPSocket, **options)


async def arrived(sock: EasyTCPSocket, peer: RawPeer, *messages: tuple[int, bytes]) -> None:
    """Let messages arrive that nobody waits for."""
    total = sock.messages_available + len(messages)
    await peer.send(b"".join(encode_message(*message) for message in messages))
    await until(lambda: sock.messages_available == total)


async def awaited(got: list[Any], sock: EasyTCPSocket, command: int) -> None:
    """Wait for a message with this command, and note it."""
    got.append((command, await sock.wait_for_message(command)))

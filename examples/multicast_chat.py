"""A chat without a server: each message goes to all members of a multicast group.

``python multicast_chat.py NAME [INTERFACE]`` on several machines of one network, or several times
on one machine. Without a name it shows itself, with two who talk by way of the loopback
interface.
"""

import sys

import trio

from trio_xsock import Datagram, NetworkInterface, UDPSocket, network_interface

GROUP = "239.192.77.1"
PORT = 47701


async def join(sock: UDPSocket) -> None:
    """Join the chat. All members on this machine share the port, because they are in one group."""
    await sock.bind(PORT)
    if not sock.join_multicast_group(GROUP):
        raise SystemExit("the group cannot be joined; is the network there?")


def say(sock: UDPSocket, name: str, text: str) -> None:
    sock.write(Datagram(GROUP, PORT, f"{name}: {text}".encode()))


def heard(datagram: Datagram) -> str:
    """The message, escaped for a terminal."""
    return ascii(datagram.data.decode("utf-8", "replace"))[1:-1]


async def chat(name: str, interface: NetworkInterface | None) -> None:
    async with UDPSocket(network_interface=interface) as sock:
        await join(sock)

        async def listen() -> None:
            async for datagram in sock:
                print(heard(datagram))

        sock.start_soon(listen)
        while line := await trio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True):
            say(sock, name, line.rstrip("\n"))


async def show() -> None:
    loopback = NetworkInterface.loopback()
    async with (
        UDPSocket(network_interface=loopback) as ada,
        UDPSocket(network_interface=loopback) as ben,
    ):
        await join(ada)
        await join(ben)
        say(ada, "ada", "hello everybody")
        print("ben hears", heard(await ben.receive()))
        say(ben, "ben", "hello ada")
        print("ada hears", heard(await ada.receive()))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        own = network_interface(sys.argv[2]) if len(sys.argv) > 2 else None
        trio.run(chat, sys.argv[1], own)
    else:
        trio.run(show)

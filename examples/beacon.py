"""Service discovery by broadcasts: services announce themselves, and expire when they are silent.

For programs of your own on one local network; for other devices use mDNS. Each
beacon goes out by every interface of the machine that has a broadcast address of its own.
"""

import trio

from trio_xsock import NetworkInterface, UDPSocket, network_interfaces

PORT = 47702
INTERVAL = 0.05
"""Seconds between two broadcasts; a real service would use a longer interval."""


async def call(name: str, port: int, interface: NetworkInterface) -> None:
    """Announce on the network of ``interface``, at intervals, that ``name`` is at ``port``."""
    async with UDPSocket(network_interface=interface) as sock:
        await sock.bind()
        while True:
            sock.write_to(sock.broadcast_address, f"{port} {name}".encode(), PORT)
            await trio.sleep(INTERVAL)


async def call_everywhere(name: str, port: int) -> None:
    async with trio.open_nursery() as nursery:
        for interface in network_interfaces():
            nursery.start_soon(call, name, port, interface)


class Listener:
    """Keeps a list of the services that were announced recently."""

    def __init__(self) -> None:
        self.last_heard: dict[str, float] = {}

    def on_data_available(self, sock: UDPSocket) -> None:
        while (datagram := sock.read()) is not None:
            port, _, name = datagram.data.decode("ascii", "replace").partition(" ")
            place = f"{name!a} is at {datagram.address}:{port}"
            if port.isdecimal() and len(self.last_heard) < 1000:
                if place not in self.last_heard:
                    print(place)
                self.last_heard[place] = trio.current_time()

    async def forget_the_silent(self) -> None:
        while self.last_heard:
            await trio.sleep(INTERVAL)
            for place, when in list(self.last_heard.items()):
                if when < trio.current_time() - 4 * INTERVAL:
                    del self.last_heard[place]
                    print(place.replace("is at", "is no more at"))


async def main() -> None:
    listener = Listener()
    loopback = NetworkInterface.loopback()
    async with UDPSocket(PORT, network_interface=loopback, handler=listener) as sock:
        await sock.bind()
        with trio.move_on_after(4 * INTERVAL):
            await call("printer", 631, loopback)  # a real one: call_everywhere("printer", 631)
        await listener.forget_the_silent()


if __name__ == "__main__":
    trio.run(main)

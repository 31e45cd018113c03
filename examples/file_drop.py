"""Send a file to another program on the network: discovery finds it, messages carry the file."""

import hashlib
import os

import trio

from trio_xsock import (
    AutoDiscovery,
    EasyTCPSocket,
    EventChannel,
    Member,
    MemberJoined,
    Message,
    NetworkInterface,
    SendProgress,
    ServerSocket,
    UDPSocket,
)

NAME, PIECE, END, THANKS = range(4)  # the commands of the messages
PIECE_SIZE = 2**16
SIZE = 20_000_000


async def receive(sock: EasyTCPSocket) -> None:
    """What a receiver does with each connection; a real one would write to a file."""
    name, size, digest = "", 0, hashlib.sha256()
    async for command, data in sock:
        match command:
            case 0:
                name = data.decode()
            case 1:
                size += len(data)
                digest.update(data)
            case 2:
                whole = digest.digest() == data
                report = f"{os.path.basename(name)}: {size} bytes arrived, whole: {whole}"
                await sock.send(Message(THANKS, report.encode()))
            case _:
                return  # a program that is not ours


async def show_progress(events: EventChannel, total: int) -> None:
    """Print each tenth that was sent."""
    sent, shown = 0, 0
    async for event in events:
        if isinstance(event, SendProgress):
            sent += event.bytes_sent
            if sent * 10 // total > shown:
                shown = sent * 10 // total
                print(f"{shown * 10:3} %")


async def drop(member: Member, name: str, content: bytes) -> None:
    """Send a file to a member, whose metadata has its port."""
    async with EasyTCPSocket(member.address, int(member.metadata["drop"])) as sock:
        await sock.connect()
        sock.start_soon(show_progress, sock.subscribe(), len(content))
        sock.send_message(NAME, name)
        for start in range(0, len(content), PIECE_SIZE):
            await sock.send(Message(PIECE, content[start : start + PIECE_SIZE]))
        sock.send_message(END, hashlib.sha256(content).digest())
        thanks = await sock.wait_for_message(THANKS)
        print(thanks.decode() if thanks is not None else "")


async def find(discovery: AutoDiscovery) -> Member:
    """The first member that accepts files."""
    async for event in discovery.events:
        if isinstance(event, MemberJoined) and "drop" in event.member.metadata:
            return event.member
    raise RuntimeError("the discovery was closed")


async def main() -> None:
    async with UDPSocket() as sock:  # for the test's sake: a port that is free
        await sock.bind()
        port = sock.port
    here = NetworkInterface.loopback()  # leave this out, to find your network

    async with (
        ServerSocket(add_socket=EasyTCPSocket) as server,
        trio.open_nursery() as nursery,
    ):
        metadata = {"drop": str(await nursery.start(server.serve, receive))}
        async with (
            AutoDiscovery(port, name="box", metadata=metadata, network_interface=here) as box,
            AutoDiscovery(port, name="sender", network_interface=here) as sender,
        ):
            for discovery in (box, sender):
                await discovery.bind()
                discovery.register("file drop")
            member = await find(sender)
            print("dropping on", member.name)
            await drop(member, "picture.png", os.urandom(SIZE))
        server.stop_listening()


if __name__ == "__main__":
    trio.run(main)

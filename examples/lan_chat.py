"""A chat without a server: programs find each other by discovery, and send to the group."""

import trio

from trio_xsock import (
    AutoDiscovery,
    Event,
    MemberJoined,
    MemberLeft,
    NetworkInterface,
    ReceivedMessage,
    UDPSocket,
)

SAY = 1  # the command of a message that holds a line of the chat
KEY = b"all members know this"


class Participant:
    """One program in the chat."""

    def __init__(self, name: str, port: int) -> None:
        self.discovery = AutoDiscovery(
            port,
            name=name,
            key=KEY,  # programs without it cannot join or send
            network_interface=NetworkInterface.loopback(),  # leave this out, to see your network
        )

    def name_of(self, address: str, port: int) -> str:
        for member in self.discovery.get_member_list():
            if (member.address, member.port) == (address, port):
                return member.name
        return address

    def describe(self, event: Event) -> str:
        match event:
            case MemberJoined(member=member):
                return f"* {member.name} is here"
            case MemberLeft(member=member):
                return f"* {member.name} has left"
            case ReceivedMessage(command=1, data=data, from_address=address, from_port=port):
                return f"{self.name_of(address, port)}: {data.decode(errors='replace')}"
            case _:
                return ""

    async def next_line(self) -> str:
        """The next line to show."""
        while True:
            line = self.describe(await self.discovery.events.receive())
            if line:
                return f"{self.discovery.name} sees {line}"


async def free_port() -> int:
    """For the test's sake; all members of a real group agree on one."""
    async with UDPSocket() as sock:
        await sock.bind()
        return sock.port


async def main() -> None:
    port = await free_port()
    ada, ben = Participant("ada", port), Participant("ben", port)
    async with ada.discovery:
        await ada.discovery.bind()
        ada.discovery.register("the chat")
        print(await ada.next_line())

        async with ben.discovery:
            await ben.discovery.bind()
            ben.discovery.register("the chat")
            print(await ada.next_line())
            print(await ben.next_line())
            print(await ben.next_line())

            ada.discovery.send_message(SAY, "hello everybody")
            print(await ben.next_line())
            ben.discovery.send_message(SAY, "hello ada")
            print(await ada.next_line())
        print(await ada.next_line())


if __name__ == "__main__":
    trio.run(main)

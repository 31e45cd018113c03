"""A program that uses the public types as a caller would; mypy and pyright, both strict, accept it.

It is never run. ``assert_type`` holds the checkers to the very types that the reference promises.
"""

from __future__ import annotations

import io
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, assert_never, assert_type

import trio

from trio_xsock import (
    AddressInUseError,
    AutoDiscovery,
    Connected,
    ConnectError,
    ConnectionsChanged,
    DataAvailable,
    Datagram,
    DelimiterNotFoundError,
    DiscoveryEvent,
    EasyTCPEvent,
    EasyTCPSocket,
    EasyUDPEvent,
    EasyUDPSocket,
    ErrorCode,
    ErrorOccurred,
    Event,
    EventChannel,
    IncompleteReadError,
    InvalidPortError,
    InvalidStateError,
    Lines,
    LossReason,
    LostConnectionError,
    Member,
    MemberJoined,
    MemberLeft,
    Message,
    MessageDecoder,
    NameResolutionError,
    OpenDriverError,
    OutOfMemoryError,
    ReceivedMessage,
    SendComplete,
    SendProgress,
    ServerEvent,
    ServerSocket,
    SocketClosedError,
    SocketCore,
    SocketError,
    SocketHandler,
    SocketState,
    SocketStatistics,
    SocketView,
    SSLConnectionTypes,
    SSLEvent,
    SSLSocket,
    TCPEvent,
    TCPSocket,
    TLSError,
    UDPEvent,
    UDPSocket,
    activation_sockets,
    connect_ssl,
    connect_tcp,
    encode_message,
)


def every_event_is_covered(event: Event) -> str:
    """``match`` over the events is exhaustive, and fields can be taken apart by position."""
    assert_type(event.socket, Any)
    match event:
        case Connected() | DataAvailable():
            return type(event).__name__
        case SendProgress(_, bytes_sent, bytes_left, total_sent):
            assert_type(bytes_sent, int)
            assert_type(bytes_left, int)
            assert_type(total_sent, int)
            return f"{total_sent} sent, {bytes_left} left"
        case SendComplete(user_aborted=user_aborted, bytes_sent=sent, bytes_unsent=unsent):
            assert_type(user_aborted, bool)
            assert_type(sent, int)
            assert_type(unsent, int)
            return f"{sent} sent, {unsent} not"
        case ErrorOccurred(error=error):
            assert_type(error, SocketError)
            return str(error)
        case ReceivedMessage(_, command, data, from_address, from_port):
            assert_type(command + from_port, int)
            assert_type(data, bytes)
            return f"message {command} from {from_address}"
        case MemberJoined(member=member) | MemberLeft(member=member):
            assert_type(member, Member)
            return member.name
        case ConnectionsChanged(_, opened, closed, live):
            assert_type(opened + closed + live, int)
            return f"{live} connections"
        case _:
            assert_never(event)


def what_happens_to_a_stream(event: TCPEvent) -> int:
    """No more than these, and ``event.socket`` is the socket's own type."""
    assert_type(event.socket, TCPSocket)
    match event:
        case Connected(socket=sock) | DataAvailable(socket=sock):
            assert_type(sock, TCPSocket)
            return sock.bytes_available
        case SendProgress(bytes_left=left):
            return left
        case SendComplete(socket=sock, bytes_sent=sent):
            return sock.bytes_left_to_send + sent
        case ErrorOccurred(error=error):
            return error.errno or 0
        case _:
            assert_never(event)


def what_happens_to_datagrams(event: UDPEvent) -> Datagram | None:
    """Neither progress nor messages."""
    match event:
        case DataAvailable(socket=sock):
            return sock.read()
        case Connected() | SendComplete() | ErrorOccurred():
            return None
        case _:
            assert_never(event)


def what_happens_to_messages(event: EasyTCPEvent) -> str:
    """No ``DataAvailable``."""
    match event:
        case ReceivedMessage(socket=sock, data=data):
            sock.send_message(1, data)
        case Connected(socket=sock):
            assert_type(sock, EasyTCPSocket)
        case SendProgress() | SendComplete() | ErrorOccurred():
            pass
        case _:
            assert_never(event)
    return ""


def what_happens_to_groups(event: EasyUDPEvent | DiscoveryEvent) -> None:
    """Members come and go in an ``AutoDiscovery`` only."""
    match event:
        case MemberJoined(socket=sock, member=member) | MemberLeft(socket=sock, member=member):
            assert_type(sock, AutoDiscovery)
            sock.send_message_to_individual(member, 1)
        case Connected() | ReceivedMessage() | SendComplete() | ErrorOccurred():
            pass
        case _:
            assert_never(event)


def what_happens_to_a_server(event: ServerEvent) -> int:
    """What ails it, and who comes and goes."""
    match event:
        case ConnectionsChanged(live=live):
            return live
        case ErrorOccurred(socket=server):
            assert_type(server, ServerSocket[Any])
            return server.port
        case _:
            assert_never(event)


class Echo(SocketHandler[TCPSocket]):
    """Its methods know what they are given."""

    def on_data_available(self, socket: TCPSocket) -> None:
        """Sends it back."""
        socket.write(socket.read_all())


async def each_socket_s_own_events(
    secure: SSLSocket, chat: Chat, udp: UDPSocket, easy: EasyTCPSocket, group: EasyUDPSocket
) -> None:
    """A class of one's own has events of its own, which are those of its base, too."""
    assert_type(secure.events, EventChannel[SSLEvent])
    async for event in chat.events:
        assert_type(event.socket, Chat)
        print(what_happens_to_a_stream(event))
    stream: EventChannel[TCPEvent] = secure.events
    assert_type(udp.subscribe(), EventChannel[UDPEvent])
    assert_type(easy.events, EventChannel[EasyTCPEvent])
    assert_type(group.events, EventChannel[EasyUDPEvent])
    assert_type(AutoDiscovery(1).events, EventChannel[DiscoveryEvent])
    handler: SocketHandler[SSLSocket] = Echo()
    print(stream, handler)


def errors_carry_both_numbers(error: SocketError) -> None:
    """Xojo's number and the operating system's are told apart by type."""
    assert_type(error.error_number, ErrorCode | None)
    assert_type(error.errno, int | None)
    match error:
        case LostConnectionError():
            assert_type(error.reason, LossReason)
        case TLSError():
            assert_type(error.reason, str)
        case ConnectError():
            assert_type(error.errors, tuple[OSError, ...])
        case IncompleteReadError():
            assert_type(error.partial, bytes)
            assert_type(error.expected, int | None)
        case DelimiterNotFoundError():
            assert_type(error.max_bytes, int)
        case _:
            pass


def errors_are_also_what_their_bases_say(
    lost: LostConnectionError,
    closed: SocketClosedError,
    in_use: AddressInUseError,
    port: InvalidPortError,
    name: NameResolutionError,
    partial: IncompleteReadError,
) -> None:
    """Code written against Trio's and Python's own exceptions goes on working."""
    broken: trio.BrokenResourceError = lost
    shut: trio.ClosedResourceError = closed
    state: InvalidStateError = closed
    address: OSError = in_use
    lookup: OSError = name
    value: ValueError = port
    end: EOFError = partial
    print(broken, shut, state, address, lookup, value, end)


def one_root_catches_all() -> type[SocketError]:
    """Each class of the tree is a ``SocketError``."""
    tree: tuple[type[SocketError], ...] = (OpenDriverError, OutOfMemoryError, ConnectError)
    return tree[0]


class Handler(SocketHandler):
    """Overrides what it needs, with narrower types where they are known."""

    def on_send_progress(self, socket: TCPSocket, bytes_sent: int, bytes_left: int) -> bool:
        """True aborts."""
        return bytes_left > 2**20

    def on_error(self, socket: TCPSocket, error: SocketError) -> None:
        """Ends."""
        socket.close()


class Duck:
    """Any object is a handler; what it lacks is not called."""

    def on_connected(self, socket: TCPSocket) -> None:
        """Writes at once."""
        socket.write("hello")


async def a_socket_as_a_stream(stream: trio.abc.HalfCloseableStream) -> bytes | bytearray:
    """What takes Trio's streams takes a ``TCPSocket``."""
    await stream.send_all(b"request")
    await stream.send_eof()
    return await stream.receive_some()


async def a_socket_in_its_block() -> None:
    """The calls of a client and what they give."""
    async with TCPSocket("example.org", 7, handler=Handler()) as sock:
        assert_type(sock, TCPSocket)
        core: SocketCore = sock
        await core.connect()
        assert_type(sock.state, SocketState)
        assert_type(sock.is_connected, bool)
        assert_type(sock.port, int)
        assert_type(sock.local_address, str)
        assert_type(sock.last_error, SocketError | None)
        assert_type(sock.statistics(), SocketStatistics)
        sock.write("text")
        sock.write(memoryview(b"bytes"))
        await sock.send_all(bytearray(b"more"))
        await sock.flush()
        assert_type(sock.bytes_left_to_send, int)
        assert_type(await sock.receive_some(), bytes)
        assert_type(await sock.receive_exactly(4), bytes)
        assert_type(await sock.receive_until(b"\r\n"), bytes)
        assert_type(sock.read(4), bytes)
        assert_type(sock.read(4, "ascii"), str)
        assert_type(sock.read_all(), bytes)
        assert_type(sock.read_all("utf-8"), str)
        assert_type(sock.lookahead(), bytes)
        assert_type(sock.lookahead("utf-8", errors="replace"), str)
        assert_type(sock.lines(errors="ignore"), Lines[str])
        assert_type(await sock.receive_file("path", count=5, overwrite=True), int)
        assert_type(await sock.receive_file(io.BytesIO(), progress=print), int)
        assert_type(sock.bytes_received, int)
        assert_type(sock.socket, SocketView)
        assert_type(sock.getsockopt(1, 2), int)
        assert_type(sock.getsockopt(1, 2, 8), bytes)
        sock.setsockopt(1, 2, 3)
        sock.setsockopt(1, 2, b"value")
        sock.setsockopt(1, 2, None, 4)
        assert_type(await sock.poll(), bool)
        async for chunk in sock:
            assert_type(chunk, bytes)
        print(await a_socket_as_a_stream(sock))
        await sock.aclose(grace=1)


async def a_connected_socket() -> None:
    """The options are those of the constructors, and checked."""
    async with connect_tcp("example.org", 7, bind_port=5, keepalive=(1, 2, 3)) as sock:
        assert_type(sock, TCPSocket)
        assert_type(sock.bind_address, str)
    async with connect_ssl("example.org", 443, ca_file=Path(), handler=Handler()) as encrypted:
        assert_type(encrypted, SSLSocket)
        assert_type(encrypted.keepalive, tuple[int, int, int] | None)


async def an_encrypted_socket(folder: Path) -> None:
    """Paths may be of either kind, and the options are attributes."""
    async with SSLSocket(
        "example.org", 443, ca_file=folder / "ca.pem", certificate_file="client.pem"
    ) as sock:
        assert_type(sock, SSLSocket)
        await sock.connect()
        assert_type(sock.ssl_connection_type, SSLConnectionTypes)
        sock.ssl_connection_type = 5
        assert_type(sock.ca_file, str | None)
        sock.ca_file = folder
        assert_type(sock.alpn_protocols, tuple[str, ...])
        sock.alpn_protocols = ["h2"]
        assert_type(sock.ssl_context, ssl.SSLContext | None)
        assert_type(sock.tls_version, str | None)
        assert_type(sock.cipher, str | None)
        assert_type(sock.selected_alpn_protocol, str | None)
        assert_type(sock.peer_certificate, dict[str, Any] | None)
        assert_type(sock.peer_certificate_der, bytes | None)
        assert_type(sock.ssl_connected, bool)
        await sock.start_tls(announce=bytearray(b"go"), server_side=None)


async def events_through_a_channel() -> None:
    """The three ways to a channel give the same kind of values."""
    shared = EventChannel()
    async with TCPSocket("example.org", 7, handler=Duck(), events=shared) as sock:
        assert_type(sock.events, EventChannel[TCPEvent])
        with sock.subscribe() as channel:
            events: trio.abc.ReceiveChannel[Event] = channel
            print(every_event_is_covered(await events.receive()))
            async for event in channel:
                print(every_event_is_covered(event), what_happens_to_a_stream(event))
        assert_type(shared.receive_nowait(), Event)


class Chat(TCPSocket):
    """A socket of the program's own."""

    name = ""


async def a_server_hands_out_what_it_was_told_to_make() -> None:
    """The class of the connections is that of the factory, ``TCPSocket`` without one."""

    async def serve_chat(chat: Chat) -> None:
        await chat.send_all(chat.name.encode())

    async with ServerSocket(0, add_socket=Chat) as server, trio.open_nursery() as nursery:
        await server.listen()
        assert_type(await server.accept(), Chat)
        assert_type(server.active_connections(), list[Chat])
        port: int = await nursery.start(server.serve, serve_chat)
        print(port)
        server.stop_listening()
        await server.stopping.wait()
    async with ServerSocket() as plain:
        accepted = await plain.accept()
        assert_type(accepted, TCPSocket)
        with accepted.may_stop() as nothing:
            assert_type(nothing, None)
            request = await accepted.receive_some()
        print(request)
        server_event = await plain.subscribe(connections=True).receive()
        print(what_happens_to_a_server(server_event))
    async with ServerSocket.from_socket(*activation_sockets(), idle_timeout=60) as activated:
        assert_type(activated, ServerSocket[TCPSocket])
        assert_type(activated.idle_timeout, float | None)


async def a_socket_in_a_nursery() -> None:
    """``run`` reports the socket itself."""
    async with trio.open_nursery() as nursery:
        sock: TCPSocket = await nursery.start(TCPSocket("example.org", 7).run)
        await sock.connect()
        sock.start_soon(trio.sleep, 1)


async def datagrams() -> None:
    """A datagram socket is a channel of datagrams."""
    async with UDPSocket(4711, address="", receive_packet_limit=64) as sock:
        assert_type(sock, UDPSocket)
        await sock.bind()
        await sock.bind(0)
        await sock.connect()
        channel: trio.abc.Channel[Datagram] = sock
        assert_type(await channel.receive(), Datagram)
        await sock.send(Datagram("localhost", 4711, b"data"))
        sock.write(Datagram(address="192.0.2.1", port=4711, data=b"data"))
        sock.write_to("192.0.2.1", bytearray(b"data"))
        sock.write_to("192.0.2.1", b"data", port=4711)
        assert_type(sock.read(), Datagram | None)
        assert_type(sock.packets_available, int)
        assert_type(sock.packets_left_to_send, int)
        assert_type(sock.join_multicast_group("239.1.2.3"), bool)
        sock.leave_multicast_group("239.1.2.3")
        sock.router_hops = 1
        sock.send_to_self = True
        assert_type(sock.broadcast_address, str)
        assert_type(sock.statistics().packets_dropped, int)
        async for datagram in sock:
            assert_type(datagram.data, bytes)
            assert_type(datagram.port, int)


async def messages() -> None:
    """A message socket is a channel of messages, and what a server hands out."""
    async with EasyTCPSocket("example.org", 7, tls=True, max_message_size=2**20) as sock:
        assert_type(sock, EasyTCPSocket)
        await sock.connect()
        channel: trio.abc.Channel[Message] = sock
        assert_type(await channel.receive(), Message)
        await channel.send(Message(1, b"data"))
        sock.send_message(1)
        sock.send_message(1, bytearray(b"data"))
        sock.send_message(command=1, data="text")
        assert_type(await sock.wait_for_connection(timeout=1.5), bool)
        assert_type(await sock.wait_for_message(1), bytes | None)
        assert_type(await sock.wait_for_message(1, timeout=1.5), bytes | None)
        assert_type(sock.messages_available, int)
        assert_type(sock.max_message_size, int)
        assert_type(sock.tls_version, str | None)
        sock.ca_file = Path("ca.pem")
        assert_type(sock.ca_file, str | None)
        async for command, data in sock:
            assert_type(command, int)
            assert_type(data, bytes)
    async with ServerSocket(0, add_socket=EasyTCPSocket) as server:
        assert_type(await server.accept(), EasyTCPSocket)
    decoder = MessageDecoder(max_message_size=10)
    decoder.feed(encode_message(1, "text"))
    assert_type(decoder.decode(), list[Message])


async def groups() -> None:
    """Messages to groups, and who is in them."""
    async with EasyUDPSocket() as group:
        await group.bind(4711)
        group.register("name")
        group.send_message_to_group("name", 1, "text")
        group.send_message_to_individual("192.0.2.1", 1, b"data", port=5)
        assert_type(await group.wait_for_message(1, "192.0.2.1", timeout=1), bytes | None)
        group.unregister("name")
    async with AutoDiscovery(4711, name="me", metadata={"a": "b"}, key=b"key") as discovery:
        await discovery.bind()
        discovery.register("name")
        assert_type(discovery.get_member_list(), list[Member])
        discovery.update_member_list()
        discovery.send_message(1, b"data")
        async for event in discovery.events:
            match event:
                case MemberJoined(member=member) | MemberLeft(member=member):
                    assert_type(member, Member)
                    assert_type(member.metadata, Mapping[str, str])
                    discovery.send_message_to_individual(member, 1, b"data")
                case ReceivedMessage(command=command, data=data, from_address=address):
                    assert_type(command, int)
                    assert_type(data, bytes)
                    assert_type(address, str)
                case _:
                    pass

"""Messages that came in packets: who gets them, and which are dropped."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from tests.support import until
from tests.support.fake_ports import SOMEBODY, fake_delivery, why
from tests.support.groups import easy_udp, free_port, raw_sender
from tests.support.peers import LOOPBACK
from trio_xsock import (
    Connected,
    EasyUDPSocket,
    NameResolutionError,
    SocketClosedError,
)
from trio_xsock._engine.group_inbox import Arrival, GroupInbox
from trio_xsock._machines.packets import encode_group_message
from trio_xsock._machines.udp_groups import group_address
from trio_xsock._runtime.message_hub import MessageHub


class Listener:
    """A handler that remembers messages."""

    def __init__(self) -> None:
        self.messages: list[tuple[Any, ...]] = []

    def on_received_message(self, _: object, *message: Any) -> None:
        self.messages.append(message)


async def test_waiting_for_a_message() -> None:
    """By command and sender; what comes meanwhile waits, and time runs out."""
    async with easy_udp() as sock:
        with raw_sender() as one, raw_sender() as two:
            for number, peer in ((1, one), (2, two), (2, one)):
                peer.sendto(encode_group_message("", number, b"x"), (LOOPBACK, sock.port))
            with trio.testing.assert_checkpoints():
                assert await sock.wait_for_message(2, LOOPBACK) == b"x"
            assert await sock.wait_for_message(2, "127.0.0.9", timeout=0.01) is None
            assert await sock.wait_for_message(2, timeout=5) == b"x"
            assert await sock.wait_for_message(2, timeout=0) is None
            assert await sock.wait_for_message(1) == b"x"
            for arguments in ((-1,), (1, None, -1), (1, None, float("nan"))):
                with pytest.raises(ValueError):
                    await sock.wait_for_message(*arguments)
            for arguments in ((1, 5), ("1",), (True,), (1, None, "5"), (1, b"127.0.0.1")):
                with pytest.raises(TypeError):
                    await sock.wait_for_message(*arguments)
            for name in ("localhost", "", "127.0.0.1.", "127.0.0"):
                with pytest.raises(NameResolutionError, match="an IP address is needed here"):
                    await sock.wait_for_message(1, name)
            one.sendto(encode_group_message("", 3, b"mapped"), (LOOPBACK, sock.port))
            assert await sock.wait_for_message(3, f"::ffff:{LOOPBACK}") == b"mapped"


async def test_closing_ends_the_waits() -> None:
    """And leaves the groups; the socket can be bound again."""
    async with easy_udp() as sock:
        sock.register("orchard")
        async with trio.open_nursery() as nursery:

            async def wait() -> None:
                with pytest.raises(SocketClosedError):
                    await sock.wait_for_message(1)

            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            sock.close()
        with pytest.raises(SocketClosedError):
            await sock.wait_for_message(1)
        await sock.bind(free_port())
        sock.register("orchard")


async def test_messages_go_to_a_handler() -> None:
    """Also those that came before it; not those that come after its socket was closed."""
    listener = Listener()
    async with easy_udp() as sock:
        with raw_sender() as peer:
            peer.sendto(encode_group_message("", 1, b"early"), (LOOPBACK, sock.port))
            await until(lambda: sock.messages_available)
            sock.handler = listener
            peer.sendto(encode_group_message("", 2, b"late"), (LOOPBACK, sock.port))
            await until(lambda: len(listener.messages) == 2)
            port = peer.getsockname()[1]
        assert listener.messages == [(LOOPBACK, port, 1, b"early"), (LOOPBACK, port, 2, b"late")]


async def test_a_handler_that_closes_hears_no_more() -> None:
    """Also of what had arrived together with what made it close."""

    class Closer(Listener):
        def on_received_message(self, socket: EasyUDPSocket, *message: Any) -> None:
            super().on_received_message(socket, *message)
            socket.close()

    listener = Closer()
    async with easy_udp(handler=listener) as sock:
        with raw_sender() as peer:
            for number in range(5):
                peer.sendto(encode_group_message("", number, b""), (LOOPBACK, sock.port))
            await until(lambda: not sock.is_connected)
        await trio.testing.wait_all_tasks_blocked()
    assert len(listener.messages) == 1


async def test_poll_and_late_consumers() -> None:
    """One step by hand runs the handlers; who asks late hears of what waits."""
    listener = Listener()
    async with easy_udp(handler=listener) as sock:
        with raw_sender() as peer:
            peer.sendto(encode_group_message("", 1, b""), (LOOPBACK, sock.port))
            while not listener.messages:
                await sock.poll()
            sock.handler = None
            peer.sendto(encode_group_message("", 2, b""), (LOOPBACK, sock.port))
            await until(lambda: sock.messages_available)
        late = sock.subscribe()
        assert late.receive_nowait() == Connected(sock)
        assert late.receive_nowait().command == 2


async def test_the_queue_is_bounded() -> None:
    """The newest are dropped, and counted; a purge drops all."""
    async with easy_udp(receive_packet_limit=3) as sock:
        channel = sock.events
        with raw_sender() as peer:
            for number in range(5):
                peer.sendto(encode_group_message("", number, b""), (LOOPBACK, sock.port))
            await until(lambda: sock.statistics().packets_dropped == 2)
        assert channel.receive_nowait() == Connected(sock)
        assert channel.receive_nowait().command == 0
        assert sock.messages_available == 2
        sock.purge()
        with pytest.raises(trio.WouldBlock):
            channel.receive_nowait()
        late = sock.subscribe()
        assert late.receive_nowait() == Connected(sock)


# The inbox alone, without an operating system


def test_only_messages_for_registered_groups_and_for_us_alone() -> None:
    """Counted are all that came."""
    hub = MessageHub()
    inbox = GroupInbox(fake_delivery(hub), hub, 10)
    inbox.begin("")
    inbox.groups["orchard"] = group_address("orchard")
    packets = [encode_group_message(group, 1, b"") for group in ("", "orchard", "garden")]
    inbox.take_in([(data, SOMEBODY) for data in (*packets, b"junk")])
    assert (inbox.size, inbox.arrivals.received) == (2, 4)
    inbox.begin("")
    assert (inbox.size, inbox.groups) == (0, {})


def test_a_message_goes_to_the_first_who_wants_it() -> None:
    """By command and by sender; else it waits, as long as there is room."""
    hub = MessageHub()
    inbox = GroupInbox(fake_delivery(hub), hub, 1)
    other, fitting, late = inbox.wait(1, "192.0.2.99"), inbox.wait(1, None), inbox.wait(1, None)
    inbox.forget(late)
    for command in (1, 2, 3):
        inbox.deliver(Arrival(*SOMEBODY, command, b"x"))
    assert (other.parking.done, fitting.parking.done, late.parking.done) == (False, True, False)
    assert (inbox.size, inbox.arrivals.dropped) == (1, 1)
    assert inbox.take(3, None) is None
    assert inbox.take(2, "192.0.2.99") is None
    assert inbox.take(2, SOMEBODY[0]) == Arrival(*SOMEBODY, 2, b"x")
    inbox.stop(why)
    assert other.parking.done


async def test_a_message_that_was_taken_is_announced_no_more() -> None:
    """The last one takes its event with it."""
    async with easy_udp() as sock:
        channel = sock.events
        assert channel.receive_nowait() == Connected(sock)
        with raw_sender() as peer:
            for command in (1, 2):
                peer.sendto(encode_group_message("", command, b""), (LOOPBACK, sock.port))
            await until(lambda: sock.messages_available == 2)
        await sock.wait_for_message(1)
        assert channel.statistics().current_buffer_used == 1
        await sock.wait_for_message(2)
        assert channel.statistics().current_buffer_used == 0

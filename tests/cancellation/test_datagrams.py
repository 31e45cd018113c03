"""Each coroutine of ``UDPSocket``, cancelled at each scheduling step of its life."""

from __future__ import annotations

import errno

import pytest
import trio

from tests.cancellation.test_every_step import CancelAtStep, at_every_step
from tests.support import until
from tests.support.datagrams import Congestion, RawUDP, bound
from tests.support.pairs import GatedResolver
from tests.support.peers import LOOPBACK
from trio_xsock import Datagram, SocketState, UDPSocket


@pytest.mark.parametrize("address", [LOOPBACK, "here.example"])
async def test_bind(address: str) -> None:
    """Bound, or closed and able to be bound."""

    async def life(cancel: CancelAtStep) -> None:
        GatedResolver().answer.set()
        async with UDPSocket(address=address) as sock:
            await cancel.run(sock.bind)
            if sock.state is SocketState.CLOSED:
                assert sock.last_error is None
                await sock.bind()
            assert sock.is_connected

    await at_every_step(life)


@pytest.mark.parametrize("host", [LOOPBACK, "peer.example"])
@pytest.mark.parametrize("busy", [False, True])
async def test_send(host: str, busy: bool) -> None:
    """What was counted went out, and nothing else did; the order is kept."""

    async def life(cancel: CancelAtStep) -> None:
        GatedResolver().answer.set()
        with RawUDP() as peer:
            async with bound() as sock:
                if busy:
                    Congestion(sock, errno.EAGAIN, errno.EAGAIN)
                await cancel.run(lambda: sock.send(Datagram(host, peer.port, b"first")))
                await sock.send(Datagram(LOOPBACK, peer.port, b"last"))
                assert sock.packets_left_to_send == 0
                taken = [(await peer.receive())[0]]
                while taken[-1] != b"last":
                    taken.append((await peer.receive())[0])
                assert taken in ([b"first", b"last"], [b"last"])
                assert sock.statistics().packets_out == len(taken)

    await at_every_step(life)


@pytest.mark.parametrize("waiting", [False, True])
@pytest.mark.parametrize("iterating", [False, True])
async def test_receive(waiting: bool, iterating: bool) -> None:
    """A datagram was returned, or is the next one still."""

    async def life(cancel: CancelAtStep) -> None:
        taken: list[bytes] = []
        with RawUDP() as peer:
            async with bound() as sock, trio.open_nursery() as nursery:

                async def receive() -> None:
                    taken.append((await (anext(sock) if iterating else sock.receive())).data)

                async def send() -> None:
                    peer.send(b"1", sock.port)
                    peer.send(b"2", sock.port)

                if waiting:
                    nursery.start_soon(send)
                else:
                    await send()
                    await until(lambda: sock.packets_available == 2)
                await cancel.run(receive)
                while len(taken) < 2:
                    taken.append((await sock.receive()).data)
                assert taken == [b"1", b"2"]

    await at_every_step(life)


async def test_aclose_and_the_block() -> None:
    """Closed in any case; what was queued went out, or did not."""

    async def life(cancel: CancelAtStep) -> None:
        with RawUDP() as peer:
            async with bound() as sock:
                network = Congestion(sock, errno.EAGAIN, errno.EAGAIN)
                sock.write_to(LOOPBACK, b"data", peer.port)
                await cancel.run(sock.aclose)
                assert (sock.state, sock.packets_left_to_send) == (SocketState.CLOSED, 0)
            assert network.sent in ([b"data"], [])

    await at_every_step(life)


async def test_poll() -> None:
    """One step, or none."""

    async def life(cancel: CancelAtStep) -> None:
        with RawUDP() as peer:
            async with bound() as sock:
                peer.send(b"data", sock.port)
                await cancel.run(sock.poll)
                assert (await sock.receive()).data == b"data"

    await at_every_step(life)

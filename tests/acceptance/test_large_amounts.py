"""Large amounts: costs are linear in the bytes moved, and memory does not grow with them."""

from __future__ import annotations

import os
import socket
import time
from multiprocessing import get_context

import pytest
import trio

from tests.support import raw_listener
from tests.support.pairs import linked
from tests.support.tls import credentials
from trio_xsock import SSLSocket, TCPSocket

HUGE = 2**31 + 10


def count_to_the_end(listener: socket.socket, pipe: int) -> None:
    """In a process of its own: accept, count what comes, say how much it was."""
    peer, _ = listener.accept()
    buffer = bytearray(2**20)
    count = 0
    while size := peer.recv_into(buffer):
        count += size
    os.write(pipe, str(count).encode())
    os.close(pipe)


def resident() -> int:
    """Bytes of memory that this process occupies now."""
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.slow
@pytest.mark.timeout(90)
async def test_more_than_two_gib_go_in_one_send() -> None:
    """One ``send_all`` of 2 GiB and 10 bytes arrives whole, and takes no memory of its own."""
    data = memoryview(bytes(HUGE))  # pages of zeros that nobody touches but to read them
    reading, writing = os.pipe()
    with raw_listener() as listener:
        listener.setblocking(True)
        process = get_context("fork").Process(target=count_to_the_end, args=(listener, writing))
        process.start()
        os.close(writing)
        async with TCPSocket("127.0.0.1", listener.getsockname()[1]) as sock:
            await sock.connect()
            sock.write(b"")  # makes no batch
            await sock.send_all(data[:10_000_000])
            before = resident()
            await sock.send_all(data[10_000_000:])
            grown = resident() - before
            assert sock.bytes_sent == HUGE
        received = await trio.to_thread.run_sync(os.read, reading, 100)
        await trio.to_thread.run_sync(process.join)
        process.close()
    os.close(reading)
    assert int(received) == HUGE
    assert grown < 16 * 2**20


def times_of_writes(count: int, sock: TCPSocket) -> float:
    """Seconds of CPU for so many writes of one byte."""
    began = time.process_time()
    for _ in range(count):
        sock.write(b"x")
    return time.process_time() - began


@pytest.mark.slow
@pytest.mark.timeout(60)
async def test_a_million_tiny_writes_take_linear_time() -> None:
    """A million writes of one byte to a peer that does not read: no dearer at the end."""
    async with linked(small=True, send_buffer_limit=2**21) as (sock, peer):
        with trio.move_on_after(0.05):
            while True:
                await sock.send_all(b"x" * 4096)  # clogged from here on
        first = times_of_writes(250_000, sock)
        for _ in range(2):
            times_of_writes(250_000, sock)
        last = times_of_writes(250_000, sock)
        assert 1_000_000 - 100_000 < sock.bytes_left_to_send <= 1_000_000
        assert last < 5 * first + 0.5
        sock.abort_send()
        sock.close()
        peer.close()


@pytest.mark.slow
async def test_single_bytes_leave_a_full_buffer_in_linear_time() -> None:
    """20,000 reads of one byte from 4 MiB cost what they cost from a small buffer."""
    async with linked(receive_buffer_limit=2**22) as (sock, peer):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.send, bytes(2**22))
            while sock.bytes_available < 2**22:
                await sock.poll()
        began = time.process_time()
        for _ in range(20_000):
            assert len(sock.read(1)) == 1
        assert time.process_time() - began < 2
        assert sock.bytes_available == 2**22 - 20_000


def encrypted_count(listener: socket.socket, pipe: int) -> None:
    """As ``count_to_the_end``, of what comes encrypted."""
    peer, _ = listener.accept()
    with credentials().server_context().wrap_socket(peer, server_side=True) as tls:
        buffer = bytearray(2**18)
        count = 0
        while size := tls.recv_into(buffer):
            count += size
    os.write(pipe, str(count).encode())
    os.close(pipe)


@pytest.mark.slow
async def test_a_quarter_gib_goes_encrypted_in_one_send() -> None:
    """What is encrypted is kept by slices of 64 KiB, never the whole."""
    data = memoryview(bytes(2**28))
    reading, writing = os.pipe()
    issued = credentials()
    with raw_listener() as listener:
        listener.setblocking(True)
        process = get_context("fork").Process(target=encrypted_count, args=(listener, writing))
        process.start()
        os.close(writing)
        async with SSLSocket("localhost", listener.getsockname()[1], ca_file=issued.ca) as sock:
            await sock.connect()
            await sock.send_all(data[:1_000_000])
            before = resident()
            highest = before
            async with trio.open_nursery() as nursery:
                nursery.start_soon(sock.send_all, data[1_000_000:])
                while sock.bytes_sent < 2**28:  # noqa: ASYNC110 - it is looked at every now and then
                    await trio.sleep(0.01)
                    highest = max(highest, resident())
        received = await trio.to_thread.run_sync(os.read, reading, 100)
        await trio.to_thread.run_sync(process.join)
        process.close()
    os.close(reading)
    assert int(received) == 2**28
    assert highest - before < 16 * 2**20

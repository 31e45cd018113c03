"""Nine thousand connections in one process: all served, little memory each, nothing left."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator

import pytest

from tests.support import RawPeer
from tests.support.children import child

COUNT = 9000
DESCRIPTORS = 20000
MOST_BYTES_EACH = 15_000

SERVER = """
import gc, sys
import psutil, trio
from trio_xsock import ServerSocket, TCPSocket


class Echo:
    def on_data_available(self, socket):
        socket.write(socket.read_all())


def resident():
    return psutil.Process().memory_info().rss


def descriptors():
    return psutil.Process().num_fds()


async def main(count):
    echo = Echo()
    before = descriptors()
    async with ServerSocket(
        address="127.0.0.1", add_socket=lambda: TCPSocket(handler=echo)
    ) as server:
        await server.listen()
        gc.collect()
        empty = resident()
        print(server.port, flush=True)
        while len(server.active_connections()) < count:
            await trio.sleep(0.01)
        await trio.sleep(0.1)  # what accepting needed for a while is given back
        print((resident() - empty) // count, flush=True)
        await trio.to_thread.run_sync(sys.stdin.readline)
        print(len(server.active_connections()), server.statistics().accepted, flush=True)
        with trio.fail_after(10):
            await server.aclose(grace=5)
        print(len(server.active_connections()), flush=True)
    sockets = [each for each in gc.get_objects() if isinstance(each, TCPSocket)]
    print(len(sockets), descriptors() - before, flush=True)


trio.run(main, int(sys.argv[1]))
"""


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    """The right to have enough of them, here and in children."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < DESCRIPTORS:
        pytest.skip(f"at most {hard} descriptors are allowed here, {DESCRIPTORS} are needed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.slow
@pytest.mark.timeout(60)
async def test_nine_thousand_connections(
    many_descriptors: None, record_property: Callable[[str, object], None]
) -> None:
    """Echo on all of them, stop with grace, no leak, and under 15 kB for an idle one."""
    async with child("-c", SERVER, str(COUNT)) as server:
        port = int(await server.line())
        peers = [await RawPeer.connect(port) for _ in range(COUNT)]
        bytes_each = int(await server.line())
        for number, peer in enumerate(peers):
            peer.send_nowait(b"%5d" % number)
        for number, peer in enumerate(peers):
            assert await peer.recv_exactly(5) == b"%5d" % number
        await server.say("stop")
        assert (await server.line()).split() == [str(COUNT)] * 2
        for peer in peers:
            assert await peer.recv_some() == b""
            peer.close()
        assert await server.line() == "0"
        assert await server.line() == "0 0", "sockets or descriptors are left"
        assert await server.process.wait() == 0
    record_property("bytes per idle connection", bytes_each)
    assert bytes_each < MOST_BYTES_EACH

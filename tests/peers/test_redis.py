"""redis-server at the other end: small messages, many messages, and a huge one."""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from tests.support import EventRecorder, check_grammar
from tests.support.programs import find_program, free_port, running, serves
from trio_xsock import DataAvailable, ErrorOccurred, LossReason, LostConnectionError, TCPSocket

pytestmark = pytest.mark.peer

LINE = b"\r\n"


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A server that keeps nothing on disk."""
    program = find_program("redis-server")
    folder: Path = tmp_path_factory.mktemp("redis")
    port = free_port()
    options = {
        "--bind": "127.0.0.1",
        "--port": str(port),
        "--daemonize": "no",
        "--save": "",
        "--appendonly": "no",
        "--dir": str(folder),
    }
    command = [program, *itertools.chain.from_iterable(options.items())]
    with running(command, folder, lambda: serves(port)):
        yield port


def command(*words: bytes) -> bytes:
    """A command in redis' own protocol: an array of byte strings."""
    parts = [b"*%d\r\n" % len(words)]
    parts += [b"$%d\r\n%b\r\n" % (len(word), word) for word in words]
    return b"".join(parts)


async def reply(sock: TCPSocket) -> bytes | int | list[object] | None:
    """The next reply, whatever it is."""
    line = await sock.receive_until(LINE)
    kind, rest = line[:1], line[1:]
    if kind == b"+":
        return rest
    if kind == b":":
        return int(rest)
    if kind == b"*":
        return [await reply(sock) for _ in range(int(rest))]
    assert kind == b"$", line
    if rest == b"-1":
        return None
    value = await sock.receive_exactly(int(rest))
    assert await sock.receive_exactly(2) == LINE
    return value


async def test_ping(port: int) -> None:
    """One line there, one line back."""
    async with TCPSocket("localhost", port) as sock:
        await sock.connect()
        await sock.send_all(b"PING\r\n")
        assert await sock.receive_until(LINE) == b"+PONG"
        sock.write("ECHO 'grüß dich'\r\n")
        assert await sock.receive_until(LINE) == b"$11"
        assert (await sock.receive_exactly(13)).decode() == "grüß dich\r\n"
        await sock.send_all(b"QUIT\r\n")
        assert [line async for line in sock.lines()] == ["+OK"]


async def test_a_pipeline(port: int) -> None:
    """Ten thousand commands in one go; the replies come in order while they still go out."""
    count = 10_000
    recorder = EventRecorder()
    async with TCPSocket("127.0.0.1", port, handler=recorder) as sock, trio.open_nursery() as tasks:
        await sock.connect()

        @tasks.start_soon
        async def ask() -> None:
            for number in range(count):
                name, value = b"name%d" % number, b"value" * (number % 50)
                sock.write(command(b"SET", name, value) + command(b"GET", name))
                if number % 500 == 0:
                    await sock.flush()

        for number in range(count):
            assert await reply(sock) == b"OK"
            assert await reply(sock) == b"value" * (number % 50)
        await sock.send_all(command(b"FLUSHALL"))
        assert await reply(sock) == b"OK"
        await sock.aclose()
    check_grammar(recorder.events)


async def test_ping_pong(port: int) -> None:
    """A thousand times there and back, one after the other."""
    async with TCPSocket("127.0.0.1", port) as sock:
        await sock.connect()
        for number in range(1, 1001):
            await sock.send_all(command(b"INCR", b"counter"))
            assert await reply(sock) == number
        sock.write(command(b"DEL", b"counter"))
        assert await reply(sock) == 1


@pytest.mark.slow
async def test_a_huge_value(port: int) -> None:
    """100 MB in one call, and back in one call, to the last bit."""
    value = random.Random(1).randbytes(2**20) * 100
    async with TCPSocket("127.0.0.1", port) as sock:
        await sock.connect()
        sock.write(b"*3\r\n$3\r\nSET\r\n$4\r\nhuge\r\n$%d\r\n" % len(value))
        await sock.send_all(value)
        sock.write(LINE)
        assert await reply(sock) == b"OK"
        sock.write(command(b"GET", b"huge"))
        got = await reply(sock)
        assert isinstance(got, bytes)
        assert hashlib.sha256(got).digest() == hashlib.sha256(value).digest()
        sock.write(command(b"DEL", b"huge"))
        assert await reply(sock) == 1
        assert sock.statistics().bytes_available == 0


@pytest.mark.slow
async def test_a_huge_value_from_a_file_in_small_steps(port: int, tmp_path: Path) -> None:
    """Sent by the kernel, taken as it comes through a small buffer."""
    value = random.Random(2).randbytes(2**20) * 100
    path = tmp_path / "value"
    path.write_bytes(value)
    async with TCPSocket("127.0.0.1", port, receive_buffer_limit=100_000) as sock:
        await sock.connect()
        sock.write(b"*3\r\n$3\r\nSET\r\n$4\r\nhuge\r\n$%d\r\n" % len(value))
        assert await sock.send_file(path) == len(value)
        sock.write(LINE)
        assert await reply(sock) == b"OK"
        sock.write(command(b"GET", b"huge"))
        left = int((await sock.receive_until(LINE))[1:])
        digest = hashlib.sha256()
        while left:
            chunk = await sock.receive_some(min(left, 2**20))
            digest.update(chunk)
            left -= len(chunk)
        assert digest.digest() == hashlib.sha256(value).digest()
        assert await sock.receive_exactly(2) == LINE
        sock.write(command(b"DEL", b"huge"))
        assert await reply(sock) == 1


async def test_a_subscription(port: int) -> None:
    """What others publish is announced as it comes."""
    async with TCPSocket("127.0.0.1", port) as listener, TCPSocket("127.0.0.1", port) as speaker:
        await listener.connect()
        await speaker.connect()
        await listener.send_all(command(b"SUBSCRIBE", b"news"))
        assert await reply(listener) == [b"subscribe", b"news", 1]
        events = listener.subscribe()
        for number in range(100):
            await speaker.send_all(command(b"PUBLISH", b"news", b"%d" % number))
            assert await reply(speaker) == 1
            while not isinstance(await events.receive(), DataAvailable):
                pass
            assert await reply(listener) == [b"message", b"news", b"%d" % number]


async def test_a_connection_that_the_server_ends(port: int) -> None:
    """It is told like every end of a peer's."""
    async with TCPSocket("127.0.0.1", port) as victim, TCPSocket("127.0.0.1", port) as other:
        await victim.connect()
        await other.connect()
        events = victim.subscribe()
        await victim.send_all(command(b"CLIENT", b"ID"))
        number = await reply(victim)
        assert isinstance(number, int)
        await other.send_all(command(b"CLIENT", b"KILL", b"ID", b"%d" % number))
        assert await reply(other) == 1
        assert await victim.receive_some() == b""
        last = [event async for event in events][-1]
        assert isinstance(last, ErrorOccurred)
        assert isinstance(last.error, LostConnectionError)
        assert last.error.reason is LossReason.REMOTE_CLOSED

"""The key-value server, and clients that write the protocol's bytes themselves."""

from __future__ import annotations

import logging
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.support.peers import RawPeer
from tests.support.serving import serving
from trio_xsock.testing import serving as serving_in_memory

sys.path.append(str(Path(__file__).resolve().parents[2] / "examples"))

example: Any = import_module("key_value_server")


def set_command(key: str, value: bytes, *, seconds: int = 0, rest: str = "") -> bytes:
    """What stores a value."""
    return f"set {key} 7 {seconds} {len(value)}{rest}\r\n".encode() + value + b"\r\n"


async def test_values_of_all_kinds_in_pieces() -> None:
    """A value may hold line ends; it may come byte by byte, or with what follows it."""
    value = b"\r\nEND\r\n\0\xff get x\r\n"
    stored = b"VALUE k 7 %d\r\n%b\r\nEND\r\n" % (len(value), value)
    async with serving(example.Server().serve) as server:
        with await RawPeer.connect(server.port) as client:
            for byte in set_command("k", value) + b"get k\r\n":
                await client.send(bytes([byte]))
            assert await client.recv_exactly(8 + len(stored)) == b"STORED\r\n" + stored
        with await RawPeer.connect(server.port) as client:
            await client.send(
                set_command("a", b"1", rest=" noreply")
                + set_command("empty", b"")
                + b"get a missing k empty\r\ndelete a\r\ndelete a\r\nnonsense\r\nquit\r\n"
            )
            answers = b"STORED\r\nVALUE a 7 1\r\n1\r\n" + stored.removesuffix(b"END\r\n")
            answers += b"VALUE empty 7 0\r\n\r\nEND\r\nDELETED\r\nNOT_FOUND\r\nERROR\r\n"
            assert await client.recv_all_to_eof() == answers


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        (b"set k 0 0 -1\r\n", b"CLIENT_ERROR bad command line format\r\n"),
        (b"set k 0 0 99999999999\r\n", b"CLIENT_ERROR bad command line format\r\n"),
        (b"set k 0 0 2000000\r\n" + b"x" * 2_000_000, b"CLIENT_ERROR value too large\r\n"),
        (b"set " + b"k" * 251 + b" 0 0 1\r\n", b"CLIENT_ERROR key too long\r\n"),
        (b"set k 0 0 1\r\nabc", b"CLIENT_ERROR bad data chunk\r\n"),
        (b"k" * 10_000, b"CLIENT_ERROR line too long\r\n"),
        (b"set k 0 0 10\r\nabc", b""),
        (b"get", b"ERROR\r\n"),
    ],
)
async def test_who_breaks_the_protocol_is_told_and_cut_off(line: bytes, answer: bytes) -> None:
    """The answer arrives although input is left unread, and no handler fails."""
    async with serving(example.Server().serve) as server:
        with await RawPeer.connect(server.port) as client:
            async with trio.open_nursery() as nursery:

                @nursery.start_soon
                async def send() -> None:
                    await client.send(line)
                    client.fin()

                assert await client.recv_all_to_eof() == answer
        assert server.statistics().failed == 0


async def test_values_expire_and_their_number_is_limited(
    mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An expired one makes room once somebody has asked for it."""
    monkeypatch.setattr(example, "MOST_VALUES", 2)
    async with serving_in_memory(example.Server().serve) as client:

        async def ask(request: bytes) -> bytes:
            await client.send_all(request)
            await wait_all_tasks_blocked()
            return client.read_all()

        assert await ask(set_command("a", b"x", seconds=10)) == b"STORED\r\n"
        assert await ask(set_command("b", b"x")) == b"STORED\r\n"
        assert (await ask(set_command("c", b"x"))).startswith(b"SERVER_ERROR ")
        assert await ask(set_command("b", b"y")) == b"STORED\r\n"
        mock_clock.jump(9)
        assert await ask(b"get a\r\n") == b"VALUE a 7 1\r\nx\r\nEND\r\n"
        mock_clock.jump(1)
        assert await ask(b"get a b\r\n") == b"VALUE b 7 1\r\ny\r\nEND\r\n"
        assert await ask(set_command("c", b"x")) == b"STORED\r\n"


async def test_a_client_that_does_not_read_is_given_no_memory() -> None:
    """It may ask for gigabytes in a line; at most one value is ahead of what it takes."""
    async with serving(example.Server().serve) as server:
        with await RawPeer.connect(server.port, small=True) as client:
            await client.send(set_command("k", bytes(2**20)))
            await client.recv_exactly(len(b"STORED\r\n"))
            await client.send(b"get" + b" k" * 1000 + b"\r\n")
            await client.recv_exactly(3 * 2**20)
            [sock] = server.active_connections()
            assert sock.bytes_left_to_send <= 2**20 + 100


async def test_stops_without_waiting_for_idle_clients(caplog: pytest.LogCaptureFixture) -> None:
    """A value that is on its way is still taken, and nothing is logged above INFO."""
    async with serving(example.Server().serve) as server:
        with (
            await RawPeer.connect(server.port) as idle,
            await RawPeer.connect(server.port) as busy,
        ):
            await busy.send(b"set k 0 0 4\r\nab")
            while sum(sock.bytes_received for sock in server.active_connections()) < 15:
                await wait_all_tasks_blocked()
            await wait_all_tasks_blocked()  # the handler has taken the line, too
            async with trio.open_nursery() as nursery:
                nursery.start_soon(server.aclose)
                assert await idle.recv_all_to_eof() == b""
                await busy.send(b"cd\r\n")
                assert await busy.recv_all_to_eof() == b"STORED\r\n"
        assert server.statistics().failed == 0
    assert all(record.levelno <= logging.INFO for record in caplog.records)

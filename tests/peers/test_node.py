"""A program in JavaScript speaks the format of messages, from its documentation alone."""

from __future__ import annotations

import subprocess
from functools import partial
from pathlib import Path

import pytest
import trio

from tests.support.peers import LOOPBACK
from tests.support.programs import find_program
from trio_xsock import EasyTCPSocket

SPEAKER = Path(__file__).resolve().parents[2] / "examples" / "messages.mjs"

pytestmark = pytest.mark.peer


async def test_messages_to_and_from_node() -> None:
    """Empty, short, long, many at once; then our end is its end."""
    async with EasyTCPSocket(LOOPBACK) as sock, trio.open_nursery() as nursery:
        await sock.listen()
        command = [find_program("node"), str(SPEAKER), LOOPBACK, str(sock.port)]
        run = partial(trio.run_process, command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        process: trio.Process = await nursery.start(run)
        assert process.stdin is not None
        assert process.stdout is not None
        assert await sock.wait_for_connection()
        long = "ä" * 100_000
        await process.stdin.send_all(f"1 hello\n2147483647 grüße\n3 {long}\n4 \n".encode())
        assert await sock.receive() == (1, b"hello")
        assert await sock.wait_for_message(2147483647) == "grüße".encode()
        assert await sock.receive() == (3, long.encode())
        assert await sock.receive() == (4, b"")
        sock.send_message(5)
        sock.send_message(2**31 - 1, long)
        for number in range(500):
            sock.send_message(number, "x")
        expected = f"5 \n{2**31 - 1} {long}\n" + "".join(f"{n} x\n" for n in range(500))
        output = b""
        while len(output) < len(expected.encode()):
            output += await process.stdout.receive_some()
        assert output.decode() == expected
        await sock.aclose()
        await process.wait()
        assert process.returncode == 0

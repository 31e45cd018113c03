"""What had come before a reset is readable through TLS, whoever finds the reset first."""

from __future__ import annotations

import fcntl
import socket
import termios
import threading

import pytest
import trio.testing

from tests.support.tls import credentials
from trio_xsock import LossReason, LostConnectionError, SSLSocket


@pytest.mark.parametrize("limit", [700, 5000, 16384, 50000, 2**20])
async def test_all_that_came_before_a_reset_is_read(limit: int) -> None:
    """The writer finds the reset; a read of the limit's size may bring no whole record."""
    context = credentials().server_context()
    go = threading.Event()

    def peer() -> None:
        with context.wrap_socket(listener.accept()[0], server_side=True) as sock:
            go.wait(5)
            sock.sendall(bytes(50000))
            while any(fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4))):
                pass  # a reset destroys what is still on its way
            linger = b"\x01\0\0\0\0\0\0\0"
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=peer)
        thread.start()
        port = listener.getsockname()[1]
        async with SSLSocket(
            "localhost", port, ca_file=credentials().ca, receive_buffer_limit=limit
        ) as sock:
            await sock.connect()
            await trio.testing.wait_all_tasks_blocked()
            go.set()
            thread.join(5)  # the program is busy meanwhile
            sock.write(b"x")
            got = 0
            with pytest.raises(LostConnectionError) as caught:
                async for chunk in sock:
                    got += len(chunk)
            assert caught.value.reason is LossReason.RESET
            assert got == 50000

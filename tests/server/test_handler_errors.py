"""The log of a handler that has raised: a line for what the peer did, else a traceback."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio

from tests.support import until
from tests.support.serving import connect, serving
from trio_xsock import (
    ConnectError,
    DelimiterNotFoundError,
    EasyTCPSocket,
    IncompleteReadError,
    InvalidStateError,
    LossReason,
    LostConnectionError,
    SocketClosedError,
    TCPSocket,
    TLSError,
)
from trio_xsock._server.handler_errors import log_handler_error

RESET = LostConnectionError("gone", reason=LossReason.RESET)


@pytest.mark.parametrize(
    "error",
    [
        RESET,
        LostConnectionError("silent", reason=LossReason.TIMED_OUT),
        TLSError("cut off"),
        IncompleteReadError("cut off"),
        DelimiterNotFoundError("too long"),
        UnicodeDecodeError("utf-8", b"x", 0, 1, "no text"),
        trio.TooSlowError(),
        trio.EndOfChannel(),
        ExceptionGroup("both\nof them", [RESET, ExceptionGroup("inner", [trio.TooSlowError()])]),
    ],
)
def test_what_a_peer_does_is_one_line(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    """Without a traceback, however it was raised."""
    caplog.set_level(logging.DEBUG, "trio_xsock")
    log_handler_error("192.0.2.1:5", error)
    (record,) = caplog.records
    assert (record.levelname, record.exc_info) == ("INFO", None)
    assert record.getMessage().startswith("the connection from 192.0.2.1:5 ended: ")
    assert "\n" not in record.getMessage()


@pytest.mark.parametrize(
    "error",
    [
        ValueError("mistake"),
        ConnectError("another server"),
        InvalidStateError("mistake"),
        SocketClosedError("closed by the handler"),
        ExceptionGroup("both", [RESET, ValueError()]),
    ],
)
def test_what_the_program_does_has_a_traceback(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """At ERROR."""
    log_handler_error("192.0.2.1:5", error)
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert record.exc_info is not None
    assert record.exc_info[1] is error


async def read_lines(sock: TCPSocket) -> None:
    async for _ in sock.lines(max_bytes=10):
        pass


async def read_text(sock: TCPSocket) -> None:
    (await sock.receive_some()).decode()


async def read_messages(sock: EasyTCPSocket) -> None:
    while True:
        await sock.receive()


class TextReader:
    """A handler object that takes text."""

    def on_data_available(self, socket: TCPSocket) -> None:
        socket.read_all("utf-8")


@pytest.mark.parametrize(
    ("handler", "add_socket", "sent"),
    [
        (read_lines, TCPSocket, b"a line that is too long\n"),
        (read_lines, TCPSocket, b"\xff\n"),
        (read_text, TCPSocket, b"\xff"),
        (read_messages, EasyTCPSocket, b"GET / HTTP/1.1"),
        (read_messages, EasyTCPSocket, b""),
        (read_lines, lambda: TCPSocket(handler=TextReader()), b"\xff"),
    ],
)
async def test_no_peer_can_write_a_traceback(
    handler: Callable[[Any], Awaitable[object]],
    add_socket: Callable[[], Any],
    sent: bytes,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whatever it sends to a handler that takes no precautions."""
    caplog.set_level(logging.INFO, "trio_xsock")
    async with serving(handler, add_socket=add_socket) as server:
        with await connect(server) as peer:
            peer.send_nowait(sent)
            peer.fin()
            await until(lambda: server.statistics().failed)
    (record,) = caplog.records
    assert (record.levelname, record.exc_info) == ("INFO", None)

"""The table of SPEC 3.3 from end to end: every end, with and without a queue and unread input.

Each row says what is told to our side and in which order, what the peer sees, and what the calls
that come later say. What is the same for all rows is checked in ``check``: the books of the
batch, and what a socket keeps.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import trio

from tests.support import EventRecorder, check_grammar, check_merged, settle, until
from tests.support.pairs import linked, shrink_send_buffer
from tests.support.tls import TLSPeer, tls_linked
from trio_xsock import (
    Connected,
    DataAvailable,
    EasyTCPSocket,
    ErrorOccurred,
    LossReason,
    LostConnectionError,
    Message,
    ReceivedMessage,
    SendComplete,
    SendProgress,
    SocketClosedError,
    SocketState,
    TCPSocket,
    TLSError,
    encode_message,
)

BLOCKED = 200_000
"""More than a small connection's buffers take, by far."""
UNREAD = b"unread"

KINDS = ("TCPSocket", "SSLSocket", "EasyTCPSocket")


@dataclass
class Case:
    """A connection, what was done before its end, and how to look at it."""

    kind: str
    sock: Any
    peer: Any
    recorder: EventRecorder | None
    channel: Any
    queued: int = 0
    unread: bool = False
    seen: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])

    @property
    def takes_messages(self) -> bool:
        """Messages are events, which somebody takes from a channel."""
        return self.kind == "EasyTCPSocket" and self.recorder is None

    async def let_unread_arrive(self) -> None:
        """Something of the peer's waits in our buffer, announced."""
        self.unread = True
        data = encode_message(1, UNREAD) if self.kind == "EasyTCPSocket" else UNREAD
        await self.peer.send(data)
        await until(lambda: self.sock.bytes_available)
        await settle()

    def queue(self) -> None:
        """More is queued than goes."""
        data = bytes(BLOCKED)
        if self.kind == "EasyTCPSocket":
            self.sock.send_message(1, data)
            data = encode_message(1, data)
        else:
            self.sock.write(data)
        self.queued = len(data)
        assert self.sock.bytes_left_to_send

    async def watch(self) -> None:
        """Read to the end, as the peer; note what that was."""
        raw = getattr(self.peer, "raw", self.peer)
        try:
            count, how = await self.peer.count_to_eof(), "FIN"
        except ConnectionResetError:
            count, how = raw.received, "RST"
        except (ssl.SSLEOFError, BrokenPipeError):  # the latter when it wants to complain
            count, how = -1, "CUT"  # FIN without close_notify
        self.seen.append((count, how))

    async def end_peer(self) -> None:
        """The peer ends its direction in good order."""
        if isinstance(self.peer, TLSPeer):
            await self.peer.end()
        getattr(self.peer, "raw", self.peer).fin()

    async def told(self) -> None:
        """Wait until the loss is known, and was delivered."""
        await until(lambda: self.sock.last_error is not None)
        await settle()

    def events(self) -> tuple[list[Any], bool]:
        """All that was delivered, and whether iteration over the channel has ended."""
        if self.recorder is not None:
            return list(self.recorder.events), False
        found: list[Any] = []
        while True:
            try:
                found.append(self.channel.receive_nowait())
            except trio.EndOfChannel:
                return found, True
            except trio.WouldBlock:
                return found, False

    async def send(self) -> None:
        """A later call that sends."""
        if self.kind == "EasyTCPSocket":
            await self.sock.send(Message(1, b"x"))
        else:
            await self.sock.send_all(b"x")

    async def receive(self) -> object:
        """A later call that receives; ``b""`` for the clean end."""
        if self.kind != "EasyTCPSocket":
            return await self.sock.receive_some()
        try:
            return (await self.sock.receive()).data
        except trio.EndOfChannel:
            return b""


Act = Callable[[Case], Awaitable[None]]


@contextlib.asynccontextmanager
async def watched(case: Case) -> AsyncIterator[None]:
    """The peer reads meanwhile, to the end."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(case.watch)
        yield


async def close(case: Case) -> None:
    case.sock.close()
    await settle()
    await case.watch()


async def aclose(case: Case) -> None:
    async with watched(case):
        await case.sock.aclose()


async def aclose_in_no_time(case: Case) -> None:
    await case.sock.aclose(0)
    await case.watch()


async def cancelled_aclose(case: Case) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await case.sock.aclose()
    await settle()
    await case.watch()


async def disconnect(case: Case) -> None:
    async with watched(case):
        await case.sock.disconnect()


async def disconnect_in_no_time(case: Case) -> None:
    await case.sock.disconnect(0)
    await case.watch()


async def remote_fin_and_ours(case: Case) -> None:
    await case.end_peer()
    await case.told()
    async with watched(case):
        await until(lambda: case.sock.state is SocketState.CLOSED)
    await settle()


async def remote_fin(case: Case) -> None:
    await case.end_peer()
    await case.told()
    await case.peer.recv_exactly(case.queued)
    await settle()


async def reset(case: Case) -> None:
    getattr(case.peer, "raw", case.peer).reset()
    await case.told()


async def time_out(case: Case) -> None:
    case.sock.idle_timeout = 0.01
    await case.told()
    await case.watch()


async def truncate(case: Case) -> None:
    case.peer.raw.fin()
    await case.told()
    await case.watch()
    await settle()


async def abort(case: Case) -> None:
    case.sock.abort_send()
    await settle()


async def send_eof(case: Case) -> None:
    async with watched(case):
        await case.sock.send_eof()


async def send_eof_then_remote_fin(case: Case) -> None:
    await send_eof(case)
    await case.end_peer()
    await case.told()


async def remote_fin_then_send_eof(case: Case) -> None:
    await case.end_peer()
    await case.told()
    await send_eof(case)


WORKS = "the call works"
TOLD = "the very error that was told"


@dataclass(frozen=True)
class Row:
    """One end.

    Attributes:
        act: what happens.
        error: the reason of the one ``ErrorOccurred``; ``None`` for none.
        aborted: what is queued is dropped.
        late: the queue empties after the error was told.
        seen: how the peer's input ends; ``None`` where the row does not look.
        state: afterwards.
        sending: what later calls that send raise, or ``WORKS``, or ``TOLD``.
        receiving: the same of those that receive; or ``b""``.
        options: of the socket.
        kinds: of which sockets.
    """

    act: Act
    error: LossReason | type[TLSError] | None = None
    aborted: bool = False
    late: bool = False
    seen: str | None = "FIN"
    state: SocketState = SocketState.CLOSED
    sending: object = SocketClosedError
    receiving: object = SocketClosedError
    options: dict[str, Any] = field(default_factory=dict[str, Any])
    kinds: tuple[str, ...] = KINDS


OPEN, CLOSED = SocketState.CONNECTED, SocketState.CLOSED
BYTES = ("TCPSocket", "SSLSocket")
TLS = ("SSLSocket",)
STAY: dict[str, Any] = {"allow_half_close": True}
GO: dict[str, Any] = {"allow_half_close": False}
LENIENT = {"https_compatible": True, **GO}
LOCAL, REMOTE = LossReason.LOCAL, LossReason.REMOTE_CLOSED

ROWS = {
    "close": Row(close, aborted=True),
    "aclose": Row(aclose),
    "aclose(0)": Row(aclose_in_no_time, aborted=True),
    "cancelled": Row(cancelled_aclose, aborted=True),
    "disconnect": Row(disconnect, LOCAL),
    "disconnect(0)": Row(disconnect_in_no_time, LOCAL, aborted=True),
    "FIN+close": Row(
        remote_fin_and_ours, REMOTE, late=True, sending=TOLD, receiving=b"", options=GO
    ),
    "FIN": Row(remote_fin, REMOTE, False, True, None, OPEN, WORKS, b"", STAY),
    "reset": Row(reset, LossReason.RESET, True, False, None, sending=TOLD, receiving=TOLD),
    "time-out": Row(time_out, LossReason.TIMED_OUT, True, sending=TOLD, receiving=TOLD),
    "truncated": Row(truncate, TLSError, True, sending=TOLD, receiving=TOLD, kinds=TLS),
    "lenient": Row(truncate, REMOTE, False, True, "FIN", CLOSED, TOLD, b"", LENIENT, TLS),
    "abort": Row(abort, None, True, False, None, OPEN, WORKS, WORKS, kinds=BYTES),
    "EOF": Row(send_eof, None, state=OPEN, receiving=WORKS, kinds=BYTES),
    "EOF+FIN": Row(send_eof_then_remote_fin, REMOTE, receiving=b"", kinds=BYTES),
    "FIN+EOF": Row(
        remote_fin_then_send_eof, REMOTE, late=True, receiving=b"", options=STAY, kinds=BYTES
    ),
}


@contextlib.asynccontextmanager
async def connected(kind: str, style: str, options: dict[str, Any]) -> AsyncIterator[Case]:
    """A connection of a kind, with somebody who listens."""
    recorder = EventRecorder() if style == "handler" else None
    options = {"handler": recorder, "receive_buffer_limit": 4 * len(UNREAD) + 100, **options}
    if kind == "SSLSocket":
        pair: Any = tls_linked(small=True, **options)
    else:
        socket_class: Any = EasyTCPSocket if kind == "EasyTCPSocket" else TCPSocket
        pair = linked(small=True, socket_class=socket_class, **options)
    async with pair as (sock, peer):
        shrink_send_buffer(sock)
        yield Case(kind, sock, peer, recorder, None if recorder else sock.events)


def expected(row: Row, case: Case) -> list[type]:
    """The events, less progress."""
    kinds: list[type] = [Connected]
    if case.unread and case.kind != "EasyTCPSocket":
        kinds.append(DataAvailable)
    elif case.unread and case.takes_messages:
        kinds.append(ReceivedMessage)  # it is taken only now
    tail: list[type] = [SendComplete] if case.queued else []
    error: list[type] = [ErrorOccurred] if row.error is not None else []
    return kinds + (error + tail if row.late else tail + error)


def check_told(row: Row, case: Case) -> Any:
    """What was delivered, and the books of the batch; returns the error."""
    events, over = case.events()
    mine = [event for event in events if not isinstance(event, SendProgress)]
    assert [type(event) for event in mine] == expected(row, case)
    if case.recorder is not None:
        check_grammar(events)
        assert case.recorder.depth <= 1
    else:
        check_merged(events, queued=case.queued)
        assert over == (row.error is not None or row.state is SocketState.CLOSED)
    for event in mine:
        if isinstance(event, SendComplete):
            assert event.user_aborted is row.aborted
            assert event.bytes_sent == case.sock.bytes_sent
            assert row.aborted or event.bytes_sent == case.queued
    errors = [event.error for event in mine if isinstance(event, ErrorOccurred)]
    if isinstance(row.error, LossReason):
        assert isinstance(errors[0], LostConnectionError)
        assert (errors[0].reason, errors[0].error_number) == (row.error, 102)
    elif row.error is not None:
        assert isinstance(errors[0], TLSError)
        assert errors[0].error_number == 303
    assert case.sock.last_error is (errors[0] if errors else None)
    return errors[0] if errors else None


def check_seen(row: Row, case: Case) -> None:
    """What the peer has seen: every byte that counts as sent, and how it ended."""
    if row.seen is None:
        return
    ((count, how),) = case.seen
    lost = row.error not in (None, LOCAL) or case.queued
    if case.kind == "SSLSocket" and row.aborted and lost:
        assert how == "CUT"  # close_notify would say that nothing is missing
        return
    assert (count, how) == (case.sock.bytes_sent, row.seen)


async def check_later(row: Row, case: Case, error: object, kept: tuple[object, ...]) -> None:
    """What a socket keeps, and what later calls say."""
    sock = case.sock
    assert (sock.address, sock.remote_address) == kept[:2]
    assert sock.state is row.state
    assert sock.bytes_left_to_send == 0
    assert sock.is_connected is (row.sending is WORKS)
    if row.state is SocketState.CLOSED:
        assert (sock.handle, sock.port) == (-1, kept[2])
    if case.unread and case.kind == "EasyTCPSocket":
        assert sock.messages_available == (not case.takes_messages)
        if sock.messages_available and row.receiving is not SocketClosedError:
            assert await case.receive() == UNREAD
    elif case.unread:
        assert sock.read(2) + sock.lookahead() == UNREAD
        sock.purge()
    if row.sending is not WORKS:
        await says(case.send, row.sending, error)
    if row.receiving is not WORKS:
        await says(case.receive, row.receiving, error)
    else:
        with trio.move_on_after(0) as scope:
            await case.receive()
        assert scope.cancelled_caught
    if row.sending is WORKS:
        async with watched(case):
            await case.send()
            await sock.aclose()
        assert [how for _, how in case.seen] == ["FIN"]


async def says(call: Callable[[], Awaitable[object]], what: object, error: object) -> None:
    """A call gives or raises what it should, however often it is made."""
    for _ in range(2):
        try:
            outcome: object = await call()
        except Exception as exc:
            outcome = exc
        if what == b"":
            assert outcome == b""
        elif what is TOLD:
            assert outcome is error
        else:
            assert type(outcome) is what


@pytest.mark.parametrize("style", ["handler", "channel"])
@pytest.mark.parametrize("unread", [False, True], ids=["", "unread"])
@pytest.mark.parametrize("queue", [False, True], ids=["", "queue"])
@pytest.mark.parametrize(
    ("name", "kind"), [(name, kind) for name, row in ROWS.items() for kind in row.kinds]
)
async def test_ends(name: str, kind: str, queue: bool, unread: bool, style: str) -> None:
    """See the rows."""
    row = ROWS[name]
    async with connected(kind, style, row.options) as case:
        sock = case.sock
        kept = (sock.address, sock.remote_address, getattr(case.peer, "raw", case.peer).port)
        await settle()
        if unread:
            await case.let_unread_arrive()
        if queue:
            case.queue()
        await row.act(case)
        error = check_told(row, case)
        check_seen(row, case)
        await check_later(row, case, error, kept)


@pytest.mark.parametrize(
    ("act", "how"),
    [
        (close, "RST"),
        (aclose, "FIN"),
        (disconnect, "FIN"),
    ],
)
async def test_input_that_the_os_still_holds(act: Act, how: str) -> None:
    """Only a graceful close keeps it from turning our FIN into a reset."""
    async with connected("TCPSocket", "channel", {"receive_buffer_limit": 2}) as case:
        await case.let_unread_arrive()
        assert case.sock.bytes_available == 2
        case.sock.write(b"reply")
        await act(case)
        assert [how for _, how in case.seen] == [how]
        if how == "FIN":
            assert case.seen[0][0] == 5
        assert case.sock.read_all() == UNREAD[:2]

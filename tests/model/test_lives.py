"""Random lives of two ends that send, read, pause, cancel, abort, and end in every way.

``test_socket_machine`` compares each step of byte streams with a model. Here nothing comes to rest
between steps, messages and TLS are there as well, and connections are reset. Three things hold:

* reading never depends on writing: an end that reads gets all, though its own sends are stuck;
* an end has one cause and one error: the same object is raised and posted, and it is the true one;
* the counts are whole: each byte that a call accepted was either sent or reported as unsent.
"""

from __future__ import annotations

import random
import socket
import ssl
import struct
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support import check_merged, until
from tests.support.pairs import descriptor_of, shrink_send_buffer
from tests.support.tls import credentials
from trio_xsock import (
    EasyTCPSocket,
    Event,
    LossReason,
    LostConnectionError,
    Message,
    SendComplete,
    SocketClosedError,
    SocketError,
    SocketState,
    SSLSocket,
    TCPSocket,
    TLSError,
    encode_message,
)

PATIENCE = 5.0
EXAMPLES = 40
MUCH = 400_000
"""Bytes that a peer which does not read leaves in the queue, at least in part."""
LARGE = 16_000_000
"""More than the kernel holds."""


class Step(NamedTuple):
    """What the plan of a life consists of."""

    what: str
    end: int
    size: int = 0


ends = st.integers(0, 1)
sizes = st.sampled_from([1, 100, 5000, 40_000])
steps = st.one_of(
    st.builds(Step, st.sampled_from(["write", "send"]), ends, sizes),
    st.builds(Step, st.sampled_from(["read", "pause", "cancel", "abort"]), ends),
    st.builds(Step, st.just("turns"), ends, st.integers(1, 20)),
)
plans = st.lists(steps, max_size=25)
styles = st.tuples(st.sampled_from(["handler", "callers"]), st.sampled_from(["handler", "callers"]))
limits = st.sampled_from([1000, 65_536])


class Handler:
    """A handler with every method, which takes what comes."""

    def __init__(self, end: End) -> None:
        self._end = end

    def on_connected(self, sock: Any) -> None: ...

    def on_data_available(self, sock: Any) -> None:
        self._end.received += len(sock.read_all())

    def on_received_message(self, sock: Any, command: int, data: bytes) -> None:
        self._end.received += len(encode_message(command, data))

    def on_send_progress(self, sock: Any, bytes_sent: int, bytes_left: int) -> None: ...

    def on_send_complete(self, sock: Any, user_aborted: bool) -> None: ...

    def on_error(self, sock: Any, error: Exception) -> None:
        self._end.raised.append(error)


class End:
    """One end: its socket, what it has accepted and received, and what its calls raised."""

    def __init__(self, style: str) -> None:
        self.handler = Handler(self) if style == "handler" else None
        self.received = 0
        self.accepted = 0
        self.raised: list[Exception] = []
        self.sends: set[trio.CancelScope] = set()
        self.reading = trio.Event()
        self.sock: Any = None

    def open(self, sock: Any) -> None:
        self.sock = sock
        self.channel = sock.subscribe()

    @property
    def left(self) -> int:
        return int(self.sock.bytes_left_to_send)

    def frame(self, size: int) -> bytes:
        return encode_message(1, bytes(size)) if isinstance(self.sock, EasyTCPSocket) else b""

    def write(self, size: int) -> None:
        easy = isinstance(self.sock, EasyTCPSocket)
        try:
            if easy:
                self.sock.send_message(1, bytes(size))
            else:
                self.sock.write(bytes(size))
        except SocketError as exc:
            self.raised.append(exc)
        else:
            self.accepted += len(self.frame(size)) or size

    async def send(self, size: int) -> None:
        easy = isinstance(self.sock, EasyTCPSocket)
        if not easy and self.sends:
            return  # only one may
        scope = trio.CancelScope()
        self.sends.add(scope)
        if self.sock.is_connected:
            self.accepted += len(self.frame(size)) or size
        try:
            with scope:
                if easy:
                    await self.sock.send(Message(1, bytes(size)))
                else:
                    await self.sock.send_all(bytes(size))
        except SocketError as exc:
            if "aborted" not in str(exc):
                self.raised.append(exc)
        finally:
            self.sends.discard(scope)

    async def read(self) -> None:
        """For callers; a handler reads by itself."""
        try:
            while self.handler is None:
                await self.reading.wait()
                if isinstance(self.sock, EasyTCPSocket):
                    self.received += len(self.frame(len((await self.sock.receive()).data)))
                elif data := await self.sock.receive_some():
                    self.received += len(data)
                else:
                    break
        except (trio.EndOfChannel, trio.ClosedResourceError):
            pass
        except SocketError as exc:
            self.raised.append(exc)

    def pause(self) -> None:
        if self.reading.is_set():
            self.reading = trio.Event()

    def losses(self) -> list[LostConnectionError]:
        return [each for each in self.raised if isinstance(each, LostConnectionError)]


async def connect(stack: AsyncExitStack, kind: str, pair: list[End], limit: int) -> None:
    """Connect two ends over loopback, with little room between them."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        raws = [socket.create_connection(listener.getsockname()), listener.accept()[0]]
    cls: Any = {"tcp": TCPSocket, "easy": EasyTCPSocket, "tls": SSLSocket}[kind]
    how: list[dict[str, Any]] = [{}, {}]
    if kind == "tls":
        how = [
            {"ca_file": credentials().ca, "server_hostname": "localhost"},
            {"certificate_file": credentials().server},
        ]
    for end, raw, options in zip(pair, raws, how, strict=True):
        sock = cls.from_socket(raw, handler=end.handler, receive_buffer_limit=limit, **options)
        end.open(await stack.enter_async_context(sock))
    for end in pair:
        await until(lambda end=end: end.sock.is_connected)
        shrink_send_buffer(end.sock)


async def follow(plan: list[Step], pair: list[End], nursery: trio.Nursery) -> None:
    """Do what the plan says, without waiting for anything to come to rest."""
    for step in plan:
        end = pair[step.end]
        if step.what == "write":
            end.write(step.size)
        elif step.what == "send":
            nursery.start_soon(end.send, step.size)
        elif step.what == "read":
            end.reading.set()
        elif step.what == "pause":
            end.pause()
        elif step.what == "cancel":
            for scope in list(end.sends)[:1]:
                scope.cancel()
        elif step.what == "abort":
            end.sock.abort_send()
        else:
            for _ in range(step.size):
                await trio.lowlevel.checkpoint()


async def within_time(condition: Any, what: str) -> None:
    with trio.move_on_after(PATIENCE):
        await until(condition)
    assert condition(), what


def check_counts(end: End) -> None:
    """Each byte that was accepted was sent, or reported as unsent."""
    check_merged(told(end), queued=end.accepted)


def told(end: End) -> list[Event]:
    """The events that wait in the end's channel."""
    events: list[Event] = []
    try:
        while True:
            events.append(end.channel.receive_nowait())
    except (trio.EndOfChannel, trio.WouldBlock):
        return events


async def live(kind: str, styles: tuple[str, str], limit: int, plan: list[Step], last: Any) -> None:
    """One life; ``last`` is what happens after the plan."""
    pair = [End(style) for style in styles]
    async with AsyncExitStack() as stack:
        await connect(stack, kind, pair, limit)
        async with trio.open_nursery() as nursery:
            for end in pair:
                nursery.start_soon(end.read)
            await follow(plan, pair, nursery)
            await last(pair, nursery)
            for end in pair:
                end.sock.close()
                end.reading.set()
            await within_time(
                lambda: all(end.sock.state is SocketState.CLOSED for end in pair), "does not close"
            )
        for end in pair:
            check_counts(end)
            assert not end.left


# How lives end


async def all_arrives(pair: list[End], nursery: trio.Nursery) -> None:
    """One end reads while its own sends are stuck; then the other reads as well."""
    reader, other = random.Random(len(pair[0].raised)).sample(pair, 2)
    other.pause()
    reader.write(MUCH)
    other.write(5000)
    reader.reading.set()

    def reader_has_all() -> bool:
        return not other.left and reader.received == other.sock.bytes_sent

    def other_has_all() -> bool:
        return not reader.left and other.received == reader.sock.bytes_sent

    await within_time(reader_has_all, "reading depends on writing")
    other.reading.set()
    await within_time(lambda: reader_has_all() and other_has_all(), "stands still")
    assert not pair[0].losses()
    assert not pair[1].losses()


async def is_reset(pair: list[End], nursery: trio.Nursery) -> None:
    """The first end resets the connection; the other one learns of that in one way."""
    ours, theirs = pair
    possible = {LossReason.RESET}
    if isinstance(ours.sock, SSLSocket):  # its close_notify may be read before the reset is seen
        possible.add(LossReason.REMOTE_CLOSED)
    with descriptor_of(ours.sock) as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    ours.sock.close()
    theirs.write(100)
    theirs.reading.set()
    await within_time(lambda: theirs.sock.state is SocketState.CLOSED, "does not see the reset")
    await within_time(lambda: not theirs.sends, "a send waits on")
    theirs.write(100)
    error = theirs.sock.last_error
    assert isinstance(error, LostConnectionError)
    assert error.reason in possible, repr(error)
    assert theirs.losses()
    check_causes(theirs)


def check_causes(end: End, *, may_be_cut: bool = False) -> None:
    """What calls raise is the error that was posted.

    But after the peer's end ours stays open, and may be reset: then calls that send say that. With
    TLS a peer that closes at once may find no room for its close_notify: the stream is cut off.
    """
    posted = end.sock.last_error
    others = {id(each): each for each in end.losses() if each is not posted}
    if may_be_cut and isinstance(posted, TLSError):
        assert isinstance(posted.__cause__, ssl.SSLEOFError)
        assert not others
        return
    assert isinstance(posted, LostConnectionError)
    if posted.reason is LossReason.REMOTE_CLOSED:
        assert [each.reason for each in others.values()] in ([], [LossReason.RESET]), others
    else:
        assert not others


async def is_closed(pair: list[End], nursery: trio.Nursery) -> None:
    """The first end closes, at once or gracefully; what the other learns is one error."""
    ours, theirs = pair
    theirs.reading.set()
    sent = ours.accepted % 2
    if sent:
        ours.sock.close()
    else:
        await ours.sock.aclose()
    await within_time(lambda: theirs.sock.last_error is not None, "does not see the end")
    for each in ours.raised:
        assert isinstance(each, SocketClosedError), repr(each)
    if not sent:
        await within_time(lambda: theirs.received == ours.sock.bytes_sent, "not all has come")
    check_causes(theirs, may_be_cut=bool(sent))


@pytest.mark.slow
@pytest.mark.timeout(60)  # four seconds, but for machines that are slow and busy as well
@pytest.mark.parametrize("last", [all_arrives, is_reset, is_closed])
@pytest.mark.parametrize("kind", ["tcp", "easy", "tls"])
def test_random_lives(kind: str, last: Any) -> None:
    """Whatever comes before the end, and whatever that is."""

    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
    @given(styles=styles, limit=limits, plan=plans)
    def lives(styles: tuple[str, str], limit: int, plan: list[Step]) -> None:
        trio.run(live, kind, styles, limit, plan, last)

    lives()


# A reset from another thread, which may come while the kernel sends


async def sent_until_reset(path: Path, style: str, how: str, read: int, delay: float) -> None:
    """A peer in a thread reads some and resets; the counts are whole, and there is one error."""
    end = End(style)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        # Else the kernel may take all that the peer does not read, and nothing fails.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1_000_000)
        raw = socket.create_connection(listener.getsockname())
        peer = listener.accept()[0]

    def take_some_and_reset() -> None:
        left = read
        while left > 0:
            left -= len(peer.recv(65_536))
        time.sleep(delay)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()

    async with TCPSocket.from_socket(raw, handler=end.handler) as sock:
        end.open(sock)
        end.reading.set()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(end.read)
            nursery.start_soon(trio.to_thread.run_sync, take_some_and_reset)
            with pytest.raises(LostConnectionError) as caught:
                await (sock.send_all(bytes(LARGE)) if how == "send" else sock.send_file(path))
        await within_time(lambda: sock.last_error is not None, "the loss is not posted")
        error = sock.last_error
        assert isinstance(error, LostConnectionError)
        assert error.reason is LossReason.RESET, repr(error)
        assert {id(caught.value), id(error), *map(id, end.losses())} == {id(error)}
    events = told(end)
    accepted = any(isinstance(event, SendComplete) for event in events)
    assert accepted or not sock.bytes_sent  # the reset may come before the file is open
    check_merged(events, queued=LARGE if accepted else 0)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["send", "file"])
def test_a_reset_at_any_instant(tmp_path: Path, how: str) -> None:
    """A send that went in part may have taken the OS's error; it is the reset all the same."""
    path = tmp_path / "large"
    path.write_bytes(bytes(LARGE))

    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        style=st.sampled_from(["handler", "callers"]),
        read=st.integers(0, LARGE // 2),
        delay=st.sampled_from([0, 0.0001, 0.0005, 0.001]),
    )
    def lives(style: str, read: int, delay: float) -> None:
        trio.run(sent_until_reset, path, style, how, read, delay)

    lives()

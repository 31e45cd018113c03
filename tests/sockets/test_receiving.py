"""The receive calls that wait."""

from __future__ import annotations

import hashlib
import random
import tracemalloc
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import RawPeer, until
from tests.support.pairs import linked
from trio_xsock import (
    DataAvailable,
    DelimiterNotFoundError,
    ErrorCode,
    IncompleteReadError,
    InvalidStateError,
    LossReason,
    LostConnectionError,
    SocketClosedError,
    TCPSocket,
)
from trio_xsock._engine.reading import hand_on

KIB16 = 2**14

# Every call, as (name, call). All of them take b"a\n" or b"b\n" from what is buffered.
CALLS: dict[str, Callable[[TCPSocket], Awaitable[Any]]] = {
    "receive_some": lambda sock: sock.receive_some(2),
    "receive_exactly": lambda sock: sock.receive_exactly(2),
    "receive_until": lambda sock: sock.receive_until(b"\n"),
    "lines": lambda sock: anext(sock.lines()),
    "anext": lambda sock: anext(sock),
}
every_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())


async def arrived(sock: TCPSocket, peer: RawPeer, data: bytes) -> None:
    """Send from the peer, and wait until the socket has it all."""
    size = sock.bytes_available + len(data)
    peer.send_nowait(data)
    await until(lambda: sock.bytes_available == size)


# receive_some


async def test_receive_some_gives_what_is_there() -> None:
    """All of it, or max_bytes of it; and waits when there is nothing."""
    async with linked() as (sock, peer):
        await arrived(sock, peer, b"abcdef")
        assert await sock.receive_some(2) == b"ab"
        assert await sock.receive_some() == b"cdef"
        async with trio.open_nursery() as nursery:
            got = []

            async def receive() -> None:
                got.append(await sock.receive_some())

            nursery.start_soon(receive)
            await trio.testing.wait_all_tasks_blocked()
            assert got == []
            peer.send_nowait(b"gh")
        assert got == [b"gh"]


async def test_receive_some_gives_an_empty_piece_at_the_end_again_and_again() -> None:
    """The peer's FIN is b"", on every call, and does not hinder sending."""
    async with linked() as (sock, peer):
        await arrived(sock, peer, b"abc")
        peer.fin()
        assert await sock.receive_some() == b"abc"
        for _ in range(3):
            assert await sock.receive_some() == b""
        await sock.send_all(b"still here")
        assert await peer.recv_exactly(10) == b"still here"


def _arrive(sock: TCPSocket, data: bytes) -> None:
    """Let ``data`` have come in a step that was not in between."""
    sock._inbox.buffer.append(data)
    hand_on(sock._connection)


@pytest.mark.parametrize(
    ("value", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError), (b"", TypeError)]
)
async def test_receive_some_refuses_sizes_that_make_no_sense(
    value: Any, error: type[Exception]
) -> None:
    """As Trio's own; before anything else, and nothing is taken."""
    async with linked() as (sock, peer):
        await arrived(sock, peer, b"abc")
        with pytest.raises(error, match="max_bytes must be"):
            await sock.receive_some(value)
        assert sock.bytes_available == 3


# receive_exactly


async def test_receive_exactly_gives_so_many_bytes() -> None:
    """However many pieces they come in; the rest stays."""
    async with linked() as (sock, peer), trio.open_nursery() as nursery:
        got = []

        async def receive() -> None:
            got.append(await sock.receive_exactly(5))

        nursery.start_soon(receive)
        for piece in (b"a", b"bc", b"defg"):
            assert got == []
            peer.send_nowait(piece)
            await trio.testing.wait_all_tasks_blocked()
        await until(lambda: got)
        assert got == [b"abcde"]
        assert await sock.receive_exactly(2) == b"fg"
        assert await sock.receive_exactly(0) == b""


async def test_receive_exactly_lifts_the_limit_for_its_duration() -> None:
    """A limit below what is waited for is no deadlock; afterwards it holds again."""
    async with linked(receive_buffer_limit=4) as (sock, peer):
        peer.send_nowait(bytes(30))
        assert await sock.receive_exactly(20) == bytes(20)
        await until(lambda: sock.statistics().read_pauses or sock.bytes_available)
        await trio.testing.wait_all_tasks_blocked()
        assert sock.bytes_available <= 10
        assert await sock.receive_exactly(10) == bytes(10)


async def test_receive_exactly_at_the_end_raises_and_keeps_the_bytes() -> None:
    """The error has a copy and what was expected; the bytes stay in the buffer."""
    async with linked() as (sock, peer):
        await arrived(sock, peer, b"abc")
        peer.fin()
        for _ in range(2):
            with pytest.raises(IncompleteReadError, match="after 3 of 5 bytes") as caught:
                await sock.receive_exactly(5)
            assert caught.value.partial == b"abc"
            assert caught.value.expected == 5
            assert caught.value.__cause__ is None
            assert isinstance(caught.value, EOFError)
            assert caught.value.error_number is None
        assert await sock.receive_exactly(3) == b"abc"
        assert await sock.receive_exactly(0) == b""
        with pytest.raises(IncompleteReadError) as caught:
            await sock.receive_exactly(1)
        assert caught.value.partial == b""


async def test_receive_exactly_allocates_nothing_up_front() -> None:
    """A length that some peer made up costs what really comes (F29)."""
    async with linked() as (sock, peer):
        peer.send_nowait(b"0123456789")
        peer.fin()
        tracemalloc.start()
        try:
            with pytest.raises(IncompleteReadError) as caught:
                await sock.receive_exactly(2**40)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 2**20
        assert caught.value.partial == b"0123456789"
        assert caught.value.expected == 2**40


@pytest.mark.parametrize(("value", "error"), [(-1, ValueError), (2.0, TypeError), ("2", TypeError)])
async def test_receive_exactly_refuses_counts_that_make_no_sense(
    value: Any, error: type[Exception]
) -> None:
    """Negative is a ValueError, anything but an int a TypeError; nothing is taken."""
    async with linked() as (sock, peer):
        await arrived(sock, peer, b"abc")
        with pytest.raises(error, match="n must be"):
            await sock.receive_exactly(value)
        assert sock.bytes_available == 3


# receive_until


async def test_receive_until_gives_what_is_before_the_separator() -> None:
    """The separator is consumed; what follows stays. Any buffer may be one."""
    async with linked() as (sock, peer):
        await arrived(sock, peer, b"one\r\n\r\ntwo::three")
        assert await sock.receive_until(b"\r\n") == b"one"
        assert await sock.receive_until(bytearray(b"\r\n")) == b""
        assert await sock.receive_until(memoryview(b"::")) == b"two"
        assert sock.read_all() == b"three"


async def test_a_separator_may_come_in_pieces() -> None:
    """It is found although no read contains it whole (F31)."""
    async with linked() as (sock, peer), trio.open_nursery() as nursery:
        got = []

        async def receive() -> None:
            got.append(await sock.receive_until(b"<end>"))

        nursery.start_soon(receive)
        for byte in b"some<en<end>x":
            peer.send_nowait(bytes([byte]))
            await trio.testing.wait_all_tasks_blocked()
        await until(lambda: got)
        assert got == [b"some<en"]
        assert sock.read_all() == b"x"


@pytest.mark.parametrize("size", [0, 1, 10])
async def test_receive_until_takes_exactly_max_bytes(size: int) -> None:
    """max_bytes counts what comes before the separator, to the byte."""
    async with linked(receive_buffer_limit=1) as (sock, peer):
        peer.send_nowait(b"x" * size + b"\r\n" + b"x" * (size + 1) + b"\r\n")
        assert await sock.receive_until(b"\r\n", size) == b"x" * size
        for _ in range(2):
            with pytest.raises(DelimiterNotFoundError, match=rf"max_bytes={size}\b") as caught:
                await sock.receive_until(b"\r\n", size)
            assert caught.value.max_bytes == size
            assert caught.value.error_number is None
        assert await sock.receive_until(b"\r\n", size + 1) == b"x" * (size + 1)


async def test_receive_until_fails_as_soon_as_it_can_only_fail() -> None:
    """It does not wait for more than max_bytes and a separator; nothing is lost (F31)."""
    async with linked() as (sock, peer):
        peer.send_nowait(b"x" * 11)
        with trio.move_on_after(0):
            await sock.receive_until(b"\r\n", 10)
        await until(lambda: sock.bytes_available == 11)
        await trio.testing.wait_all_tasks_blocked()
        peer.send_nowait(b"\r")
        with pytest.raises(DelimiterNotFoundError):
            await sock.receive_until(b"\r\n", 10)
        assert sock.read_all() == b"x" * 11 + b"\r"


async def test_receive_until_at_the_end_raises_and_keeps_the_bytes() -> None:
    """As receive_exactly, but nobody knows how many bytes were expected."""
    async with linked() as (sock, peer):
        await arrived(sock, peer, b"abc")
        peer.fin()
        with pytest.raises(IncompleteReadError, match=r"before b'\\n' came") as caught:
            await sock.receive_until(b"\n")
        assert caught.value.partial == b"abc"
        assert caught.value.expected is None
        assert sock.read_all() == b"abc"
        with pytest.raises(IncompleteReadError) as caught:
            await sock.receive_until(b"\n")
        assert caught.value.partial == b""


async def test_a_separator_may_come_after_16_kib_of_single_bytes() -> None:
    """One byte per arrival up to max_bytes; then the error, and nothing is lost (F31)."""
    async with linked() as (sock, _), trio.open_nursery() as nursery:
        got: list[object] = []

        async def receive() -> None:
            try:
                await sock.receive_until(b"\r\n", KIB16)
            except DelimiterNotFoundError as exc:
                got.append(exc.max_bytes)
            got.append(await sock.receive_until(b"\r\n", KIB16 + 2))

        nursery.start_soon(receive)
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(KIB16 + 2):
            _arrive(sock, b"x")
        await until(lambda: got)
        _arrive(sock, b"\r")
        _arrive(sock, b"\n")
        await until(lambda: len(got) == 2)
        assert got == [KIB16, b"x" * (KIB16 + 2)]


@pytest.mark.parametrize(
    ("separator", "max_bytes", "error"),
    [
        (b"", 10, ValueError),
        ("\n", 10, TypeError),
        (10, 10, TypeError),
        (b"\n", -1, ValueError),
        (b"\n", 1.0, TypeError),
    ],
)
async def test_receive_until_refuses_arguments_that_make_no_sense(
    separator: Any, max_bytes: Any, error: type[Exception]
) -> None:
    """Before anything is taken."""
    async with linked() as (sock, peer):
        await arrived(sock, peer, b"a\nb")
        with pytest.raises(error):
            await sock.receive_until(separator, max_bytes)
        assert sock.bytes_available == 3


# lines


async def test_lines_end_with_lf_or_crlf_or_the_stream() -> None:
    """Line ends are not part of the lines; the last line may have none."""
    async with linked() as (sock, peer):
        peer.send_nowait("one\ntwo\r\n\n\r\nthr\ree\r\r\nfünf".encode())
        peer.fin()
        expected = ["one", "two", "", "", "thr\ree\r", "fünf"]
        assert [line async for line in sock.lines()] == expected
        assert [line async for line in sock.lines()] == []


async def test_lines_keep_a_last_carriage_return() -> None:
    """A CR is part of a line end only before LF."""
    async with linked() as (sock, peer):
        peer.send_nowait(b"one\ntwo\r")
        peer.fin()
        assert [line async for line in sock.lines()] == ["one", "two\r"]


async def test_lines_may_come_as_bytes_or_in_another_encoding() -> None:
    """encoding=None gives bytes, untouched."""
    async with linked() as (sock, peer):
        peer.send_nowait(b"\xe4\n\xff\r\n\xe4\n")
        peer.fin()
        assert await anext(sock.lines(None)) == b"\xe4"
        assert await anext(sock.lines(None)) == b"\xff"
        assert await anext(sock.lines("latin-1")) == "ä"
        lines = sock.lines(encoding=None, max_bytes=5)
        with pytest.raises(StopAsyncIteration):
            await anext(lines)


async def test_an_undecodable_line_raises_and_stays() -> None:
    """On every call, until somebody takes it as bytes; waiting for it makes no difference."""
    async with linked() as (sock, peer):
        lines = sock.lines()
        async with trio.open_nursery() as nursery:

            async def receive() -> None:
                with pytest.raises(UnicodeDecodeError):
                    await anext(lines)

            nursery.start_soon(receive)
            await trio.testing.wait_all_tasks_blocked()
            peer.send_nowait(b"\xff\nb\n")
        with pytest.raises(UnicodeDecodeError):
            await anext(lines)
        assert await anext(sock.lines(None)) == b"\xff"
        assert await anext(lines) == "b"


async def test_a_line_may_have_max_bytes_without_its_end() -> None:
    """The line end does not count, be it LF or CRLF."""
    async with linked(receive_buffer_limit=1) as (sock, peer):
        peer.send_nowait(b"12345\n12345\r\n1234\r\n12345")
        peer.fin()
        lines = [line async for line in sock.lines(max_bytes=5)]
        assert lines == ["12345", "12345", "1234", "12345"]


@pytest.mark.parametrize("tail", [b"\n", b"\r\n", b"", b"6", b"6\r\n", b"\r6"])
async def test_a_line_that_is_too_long_raises_and_loses_nothing(tail: bytes) -> None:
    """At once, even if the line has not ended yet; a longer limit then gets at it."""
    async with linked() as (sock, peer):
        peer.send_nowait(b"123456" + tail)
        for _ in range(2):
            with pytest.raises(DelimiterNotFoundError, match="max_bytes=5") as caught:
                await anext(sock.lines(max_bytes=5))
            assert caught.value.max_bytes == 5
        peer.fin()
        await until(lambda: sock.last_error)
        with pytest.raises(DelimiterNotFoundError):
            await anext(sock.lines(max_bytes=5))
        rest = [line async for line in sock.lines(None, max_bytes=100)]
        assert rest == (b"123456" + tail).replace(b"\r\n", b"\n").split(b"\n")[: len(rest)]


async def test_a_line_that_just_fits_waits_for_its_end() -> None:
    """max_bytes and a CR may still be followed by LF; and by something else."""
    async with linked() as (sock, peer):
        for end in (b"\n", b"x"):
            async with trio.open_nursery() as nursery:
                results: list[object] = []

                async def receive(results: list[object]) -> None:
                    try:
                        results.append(await anext(sock.lines(max_bytes=5)))
                    except DelimiterNotFoundError as exc:
                        results.append(exc.max_bytes)

                nursery.start_soon(receive, results)
                for piece in (b"12345", b"\r"):
                    peer.send_nowait(piece)
                    await trio.testing.wait_all_tasks_blocked()
                    assert results == []
                peer.send_nowait(end)
            assert results == ["12345" if end == b"\n" else 5]


async def test_a_last_line_that_was_cut_by_a_reset_comes_before_the_error() -> None:
    """Bytes first, then the loss: the iteration does not end as if all were well."""
    async with linked() as (sock, peer):
        await arrived(sock, peer, b"one\ntw")
        peer.reset()
        await until(lambda: sock.last_error)
        lines = sock.lines()
        assert [await anext(lines), await anext(lines)] == ["one", "tw"]
        with pytest.raises(LostConnectionError):
            await anext(lines)


async def test_lines_checks_its_arguments_when_it_is_called() -> None:
    """Not only when the first line is asked for."""
    sock = TCPSocket()
    with pytest.raises(ValueError, match="max_bytes must be"):
        sock.lines(max_bytes=-1)
    with pytest.raises(TypeError, match="max_bytes must be"):
        sock.lines(max_bytes=1.0)  # type: ignore[call-overload]
    with pytest.raises(LookupError):
        sock.lines("no-such-encoding")
    with pytest.raises(TypeError):
        sock.lines(5)  # type: ignore[call-overload]
    lines = sock.lines()
    assert aiter(lines) is lines


# async for


async def test_iteration_gives_chunks_until_the_end() -> None:
    """The socket is its own iterator over what arrives."""
    async with linked() as (sock, peer), trio.open_nursery() as nursery:

        async def feed() -> None:
            for piece in (b"abc", b"defg", bytes(200000)):
                await peer.send(piece)
            peer.fin()

        nursery.start_soon(feed)
        chunks = [chunk async for chunk in sock]
        assert all(chunks)
        assert b"".join(chunks) == b"abcdefg" + bytes(200000)
        assert [chunk async for chunk in sock] == []
        with pytest.raises(StopAsyncIteration):
            await anext(sock)


async def test_iteration_beside_a_channel_ends_while_it_waits() -> None:
    """The step that sees the end wakes the task, with the end."""
    async with linked() as (sock, peer), trio.open_nursery() as nursery:
        chunks: list[bytes] = []
        channel = sock.events

        async def collect() -> None:
            chunks.append(await anext(sock))
            with pytest.raises(StopAsyncIteration):
                await anext(sock)

        nursery.start_soon(collect)
        await trio.testing.wait_all_tasks_blocked()
        await peer.send(b"abc")
        await until(lambda: chunks == [b"abc"])
        await trio.testing.wait_all_tasks_blocked()
        peer.fin()
        async for event in channel:
            assert not isinstance(event, DataAvailable)
    assert chunks == [b"abc"]


# Whatever the call


@every_call
async def test_every_call_is_a_checkpoint_when_the_bytes_are_there(call: Any) -> None:
    """Also on the fast path; and cancellation is seen before anything is taken."""
    async with linked() as (sock, peer):
        await arrived(sock, peer, b"a\n")
        with trio.CancelScope() as scope:
            scope.cancel()
            await call(sock)
        assert scope.cancelled_caught
        assert sock.bytes_available == 2
        with trio.testing.assert_checkpoints():
            assert await call(sock) in (b"a\n", b"a", "a")
        assert sock.bytes_available == 0


async def test_the_ends_and_nothings_are_checkpoints_too() -> None:
    """b"" at the end, and zero bytes."""
    async with linked() as (sock, peer):
        with trio.testing.assert_checkpoints():
            assert await sock.receive_exactly(0) == b""
        peer.fin()
        await until(lambda: sock.at_eof)
        with trio.testing.assert_checkpoints():
            assert await sock.receive_some() == b""
        with trio.testing.assert_checkpoints():
            assert await sock.receive_exactly(0) == b""


@every_call
async def test_a_second_receiver_is_refused(call: Any) -> None:
    """BusyResourceError for the second; the first goes on undisturbed."""
    async with linked() as (sock, peer), trio.open_nursery() as nursery:
        got = []

        async def receive() -> None:
            got.append(await call(sock))

        nursery.start_soon(receive)
        await trio.testing.wait_all_tasks_blocked()
        for other in CALLS.values():
            with pytest.raises(trio.BusyResourceError, match="another task is receiving"):
                await other(sock)
        peer.send_nowait(b"a\n")
        await until(lambda: got)
        peer.send_nowait(b"b\n")
        await call(sock)


@every_call
async def test_closing_wakes_a_waiting_receiver(call: Any) -> None:
    """close() raises SocketClosedError there, also when some bytes have come."""
    async with linked() as (sock, peer), trio.open_nursery() as nursery:

        async def receive() -> None:
            with pytest.raises(SocketClosedError):
                await call(sock)

        nursery.start_soon(receive)
        await trio.testing.wait_all_tasks_blocked()
        if call not in (CALLS["receive_some"], CALLS["anext"]):
            await arrived(sock, peer, b"a")
        sock.close()


@every_call
async def test_receiving_before_and_after_the_connection_is_refused(call: Any) -> None:
    """InvalidStateError before, SocketClosedError after our own close, whatever is buffered."""
    with pytest.raises(InvalidStateError, match="never connected") as caught:
        await call(TCPSocket())
    assert caught.value.error_number is ErrorCode.INVALID_STATE_ERROR
    assert not isinstance(caught.value, SocketClosedError)
    async with linked() as (sock, peer):
        await arrived(sock, peer, b"a\nb\n")
        sock.close()
        with pytest.raises(SocketClosedError) as closed:
            await call(sock)
        assert isinstance(closed.value, trio.ClosedResourceError)
        assert sock.read_all() == b"a\nb\n"
    with pytest.raises(SocketClosedError):
        await call(sock)


async def test_zero_bytes_of_nothing_are_refused_as_well() -> None:
    """receive_exactly(0) tells of a connection that is not there, as any other call."""
    with pytest.raises(InvalidStateError):
        await TCPSocket().receive_exactly(0)
    async with linked() as (sock, peer):
        peer.reset()
        await until(lambda: sock.last_error)
        with pytest.raises(LostConnectionError):
            await sock.receive_exactly(0)


async def test_receiving_while_connecting_is_refused() -> None:
    """There is nothing to be received from yet."""
    async with TCPSocket("127.0.0.1", 9) as sock, trio.open_nursery() as nursery:

        async def connect() -> None:
            with pytest.raises(SocketClosedError):
                await sock.connect()

        resolving = trio.Event()

        class Resolver(trio.abc.HostnameResolver):
            async def getaddrinfo(self, *args: Any) -> Any:
                resolving.set()
                await trio.sleep_forever()

            async def getnameinfo(self, *args: Any) -> Any:
                raise NotImplementedError

        trio.socket.set_custom_hostname_resolver(Resolver())
        sock.address = "a.name.to.look.up"
        nursery.start_soon(connect)
        await resolving.wait()
        with pytest.raises(InvalidStateError):
            await sock.receive_some()
        assert not sock.at_eof
        sock.close()


@every_call
async def test_a_loss_comes_after_the_bytes_and_stays(call: Any) -> None:
    """The same LostConnectionError on every call, once the buffer is empty."""
    async with linked() as (sock, peer):
        await arrived(sock, peer, b"a\n")
        peer.reset()
        await until(lambda: sock.last_error)
        assert await call(sock) in (b"a\n", b"a", "a")
        errors = []
        for _ in range(2):
            with pytest.raises(LostConnectionError) as caught:
                await call(sock)
            errors.append(caught.value)
        assert errors == [sock.last_error] * 2
        assert errors[0].reason is LossReason.RESET


@every_call
async def test_a_cancelled_receiver_takes_nothing(call: Any) -> None:
    """What had arrived is still there, and the next receiver gets it."""
    async with linked() as (sock, peer):
        waits = call not in (CALLS["receive_some"], CALLS["anext"])
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(call, sock)
                await trio.testing.wait_all_tasks_blocked()
                if waits:
                    await arrived(sock, peer, b"a")
                scope.cancel()
        assert scope.cancelled_caught
        peer.send_nowait(b"\n" if waits else b"a\n")
        assert await call(sock) in (b"a\n", b"a", "a")


async def test_a_receiver_that_was_served_is_not_cancelled_any_more() -> None:
    """Bytes that were handed over are returned, even if a cancellation comes in between."""
    async with linked() as (sock, peer):
        scope = trio.CancelScope()
        got = []

        async def receive() -> None:
            with scope:
                got.append(await sock.receive_exactly(2))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            await trio.testing.wait_all_tasks_blocked()
            _arrive(sock, b"ab")
            scope.cancel()
        assert got == [b"ab"]
        assert not scope.cancelled_caught
        peer.send_nowait(b"c")
        assert await sock.receive_some() == b"c"


async def read_somehow(sock: TCPSocket, rng: random.Random) -> bytes:
    """One read of a random kind; the rest of the stream if it ends meanwhile."""
    size = rng.randrange(1, 200)
    try:
        match rng.randrange(3):
            case 0:
                return await sock.receive_some(size)
            case 1:
                return await sock.receive_exactly(size)
            case _:
                return await sock.receive_until(b"\n") + b"\n"
    except IncompleteReadError:
        return sock.read_all()


async def test_cancelled_readers_lose_nothing() -> None:
    """200 readers of all kinds, cancelled at random: the hash of what was read is right (F32)."""
    rng = random.Random(32)
    sent, received = hashlib.sha256(), hashlib.sha256()
    cancelled = 0
    async with linked(receive_buffer_limit=100) as (sock, peer):
        while cancelled < 200:
            piece = bytes(rng.choices(b"abc\n", k=rng.randrange(50)))
            sent.update(piece)
            await peer.send(piece)
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:

                    async def cancel(scope: trio.CancelScope) -> None:
                        for _ in range(rng.randrange(6)):
                            await trio.lowlevel.checkpoint()
                        scope.cancel()

                    nursery.start_soon(cancel, scope)
                    received.update(await read_somehow(sock, rng))
                    nursery.cancel_scope.cancel()
            cancelled += scope.cancelled_caught
        peer.fin()
        while not sock.at_eof:
            received.update(await read_somehow(sock, rng))
    assert received.digest() == sent.digest()


async def test_a_receiver_may_be_used_again_in_a_new_connection() -> None:
    """A reader that was parked when the connection ended does not block the next one."""
    async with linked() as (sock, peer):
        await arrived(sock, peer, b"old")
        sock.close()
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(trio.serve_tcp, _greet, 0)
            sock.port = listeners[0].socket.getsockname()[1]
            await sock.connect()
            assert await sock.receive_exactly(5) == b"hello"
            assert await sock.receive_some() == b""
            nursery.cancel_scope.cancel()


async def _greet(stream: trio.SocketStream) -> None:
    await stream.send_all(b"hello")


# Against a model: what every call gives follows from the bytes alone

operations = st.one_of(
    st.tuples(st.just("send"), st.text("ab\r\n", min_size=1, max_size=9).map(str.encode)),
    st.tuples(st.just("some"), st.integers(1, 8)),
    st.tuples(st.just("exactly"), st.integers(0, 8)),
    st.tuples(st.just("until"), st.sampled_from([b"\n", b"\r\n", b"ab"]), st.integers(0, 6)),
    st.tuples(st.just("line"), st.integers(0, 6)),
    st.tuples(st.just("read"), st.integers(0, 8)),
    st.tuples(st.just("purge")),
    st.tuples(st.just("end")),
)


class Model:
    """A stream as one bytearray. A call that would have to wait answers ``WAITS``."""

    WAITS = "waits"

    def __init__(self) -> None:
        self.data = bytearray()
        self.ended = False

    def take(self, count: int, skip: int = 0) -> bytes:
        taken = bytes(self.data[:count])
        del self.data[: count + skip]
        return taken

    def answer(self, name: str, *arguments: Any) -> object:
        data, ended = self.data, self.ended
        match name, *arguments:
            case ["some", count]:
                return self.take(count) if data or ended else self.WAITS
            case ["exactly", count]:
                if len(data) >= count:
                    return self.take(count)
                return IncompleteReadError if ended else self.WAITS
            case ["until", separator, limit]:
                found = data.find(separator)
                if 0 <= found <= limit:
                    return self.take(found, len(separator))
                if found >= 0 or len(data) >= limit + len(separator):
                    return DelimiterNotFoundError
                return IncompleteReadError if ended else self.WAITS
            case ["line", limit]:
                return self._line(limit)
            case ["read", count]:
                return self.take(count)
        raise AssertionError(name)

    def _line(self, limit: int) -> object:
        data, end = self.data, self.data.find(b"\n")
        if end < 0 and not self.ended:
            may_fit = len(data) <= limit or (len(data) == limit + 1 and data.endswith(b"\r"))
            return self.WAITS if may_fit else DelimiterNotFoundError
        if end < 0 and not data:
            return StopAsyncIteration
        line = data[:end].removesuffix(b"\r") if end >= 0 else data
        if len(line) > limit:
            return DelimiterNotFoundError
        line = bytes(line)
        self.take(end + 1 if end >= 0 else len(data))
        return line.decode()


async def ask(sock: TCPSocket, name: str, *arguments: Any) -> object:
    """Do it to the socket; cancelled if it waits."""
    match name, *arguments:
        case ["some", count]:
            call: Any = sock.receive_some(count)
        case ["exactly", count]:
            call = sock.receive_exactly(count)
        case ["until", separator, limit]:
            call = sock.receive_until(separator, limit)
        case ["line", limit]:
            call = anext(sock.lines(max_bytes=limit))
        case _:
            return sock.read(*arguments)
    answer: object = Model.WAITS
    async with trio.open_nursery() as nursery:

        async def run() -> None:
            nonlocal answer
            try:
                answer = await call
            except (IncompleteReadError, DelimiterNotFoundError, StopAsyncIteration) as exc:
                answer = type(exc)
            nursery.cancel_scope.cancel()

        nursery.start_soon(run)
        for _ in range(3):
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    return answer


@settings(max_examples=60, deadline=None)
@given(program=st.lists(operations, max_size=25))
async def test_every_call_answers_as_the_bytes_say(program: list[tuple[Any, ...]]) -> None:
    """Any program of arrivals and calls gives what one bytearray would give."""
    model = Model()
    async with linked() as (sock, peer):
        for name, *arguments in program:
            if name == "send":
                if not model.ended:
                    model.data += arguments[0]
                    await arrived(sock, peer, arguments[0])
            elif name == "end":
                if not model.ended:
                    model.ended = True
                    peer.fin()
                    await until(lambda: sock.last_error)
            elif name == "purge":
                sock.purge()
                model.data.clear()
            else:
                expected = model.answer(name, *arguments)
                assert await ask(sock, name, *arguments) == expected
            assert sock.lookahead() == model.data
            assert sock.at_eof == (model.ended and not model.data)

"""What is different on a connection that is encrypted: ends, slices, and input nobody calls for."""

from __future__ import annotations

import contextlib
import random
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.support import EventRecorder, accept, check_grammar, raw_listener, until
from tests.support.pairs import clog, shrink_send_buffer
from tests.support.tls import TLSPeer, credentials, tls_linked
from trio_xsock import (
    Connected,
    DataAvailable,
    ErrorOccurred,
    IncompleteReadError,
    LossReason,
    LostConnectionError,
    SendComplete,
    SendProgress,
    SocketClosedError,
    SocketError,
    SocketState,
    SSLSocket,
    TLSError,
)
from trio_xsock.testing import cut, delay, ssl_socket_pair, stall

MIB = bytes(2**20)


@contextlib.contextmanager
def cpu_at_rest() -> Iterator[None]:
    """The process hardly uses the processor meanwhile."""
    began = time.process_time()
    yield
    assert time.process_time() - began < 0.1


# Bytes


async def test_bytes_go_both_ways() -> None:
    data = random.Random(1).randbytes(300_000)
    async with tls_linked() as (sock, peer):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sock.send_all, data)
            assert await peer.recv_exactly(len(data)) == data
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.send, data)
            assert await sock.receive_exactly(len(data)) == data
        assert sock.statistics().bytes_in == sock.statistics().bytes_out == len(data)


async def test_many_tiny_writes_are_few_records() -> None:
    """They are joined, and an empty one is none."""
    async with tls_linked() as (sock, peer):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.recv_exactly, 100_000)
            for _ in range(100_000):
                sock.write(b"x")
            sock.write(b"")
            await sock.send_all(b"")
            await sock.flush()
        sock.write(b"y")
        assert await peer.recv_some() == b"y"


@pytest.mark.parametrize("limit", [1, 100, 16_384, 20_000])
async def test_the_receive_limit_is_kept_to_the_record(limit: int) -> None:
    """And what is over is there as soon as somebody reads, although the OS has nothing more."""
    data = random.Random(2).randbytes(200_000 if limit > 1 else 5_000)
    async with tls_linked(receive_buffer_limit=limit) as (sock, peer):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.send, data)
            received = b""
            while len(received) < len(data):
                assert sock.bytes_available <= limit + 16_384
                received += await sock.receive_some()
        assert received == data


async def test_a_handler_gets_all_of_it_too() -> None:
    """One that reads little at a time."""
    data = random.Random(3).randbytes(100_000)
    received: list[bytes] = []

    class Handler:
        def on_data_available(self, sock: SSLSocket) -> None:
            received.append(sock.read(50_000))

    async with tls_linked(receive_buffer_limit=1000, handler=Handler()) as (_, peer):
        await peer.send(data)
        await until(lambda: sum(map(len, received)) == len(data))
    assert b"".join(received) == data


async def test_files_are_read_and_encrypted(tmp_path: Path) -> None:
    """The kernel cannot do it."""
    path = tmp_path / "file"
    path.write_bytes(random.Random(4).randbytes(500_000))
    async with tls_linked() as (sock, peer):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sock.send_file, path)
            assert await peer.recv_exactly(500_000) == path.read_bytes()


# The peer's end


@pytest.mark.parametrize("fin", [False, True])
async def test_the_peer_s_end(fin: bool) -> None:
    """Seen at once, whether or not the connection below ends as well; data comes first."""
    recorder = EventRecorder()
    async with tls_linked(handler=recorder, allow_half_close=True) as (sock, peer):
        peer.tls.write(b"last")
        await peer.end()
        if fin:
            peer.raw.fin()
        await recorder.wait_for(ErrorOccurred)
        assert sock.read_all() == b"last"
        assert sock.at_eof
        assert await sock.receive_some() == b""
        assert isinstance(sock.last_error, LostConnectionError)
        assert sock.last_error.reason is LossReason.REMOTE_CLOSED
        await sock.send_all(b"still here")
        assert await peer.raw.recv_some()
        await sock.aclose()
    check_grammar(recorder.events)


async def test_the_peer_s_end_behind_a_full_buffer() -> None:
    """It is there when there is room for it, although the OS has nothing more to tell."""
    async with tls_linked(receive_buffer_limit=4) as (sock, peer):
        peer.tls.write(b"eight by")
        await peer.end()
        await until(lambda: sock.bytes_available == 4)
        await wait_all_tasks_blocked()
        assert not sock.at_eof
        assert sock.read_all() == b"eigh"
        assert await sock.receive_exactly(4) == b"t by"
        assert await sock.receive_some() == b""


async def test_polling_sees_it() -> None:
    """Without waiting for the OS, which has nothing more to tell."""
    async with tls_linked(receive_buffer_limit=4) as (sock, peer):
        peer.tls.write(b"eight by")
        await peer.end()
        received = b""
        while not sock.at_eof:
            await sock.poll()
            received += sock.read_all()
        assert received == b"eight by"


async def test_a_stream_that_is_cut_off() -> None:
    """An end of the connection that is none of the stream: an attacker's, as a rule."""
    recorder = EventRecorder()
    async with tls_linked(handler=recorder) as (sock, peer):
        await peer.send(b"half a mess")
        peer.raw.fin()
        await recorder.wait_for(ErrorOccurred)
        assert isinstance(sock.last_error, TLSError)
        assert sock.last_error.reason == "UNEXPECTED_EOF_WHILE_READING"
        assert sock.state is SocketState.CLOSED
        assert await sock.receive_some() == b"half a mess"
        for _ in range(2):
            with pytest.raises(TLSError, match="without saying so in TLS") as caught:
                await sock.receive_some()
            assert caught.value is sock.last_error
        with pytest.raises(TLSError):
            sock.write(b"x")
    assert [type(each) for each in recorder.events] == [Connected, DataAvailable, ErrorOccurred]


async def test_some_protocols_do_not_mind() -> None:
    async with tls_linked(https_compatible=True) as (sock, peer):
        await peer.send(b"all of it")
        peer.raw.fin()
        assert await sock.receive_exactly(9) == b"all of it"
        assert await sock.receive_some() == b""
        assert isinstance(sock.last_error, LostConnectionError)


async def test_a_reset_is_a_reset() -> None:
    async with tls_linked() as (sock, peer):
        peer.raw.reset()
        with pytest.raises(LostConnectionError) as caught:
            await sock.receive_some()
        assert caught.value.reason is LossReason.RESET


async def test_what_was_tampered_with() -> None:
    """What came before it is good; the peer gets an alert."""
    async with tls_linked() as (sock, peer):
        peer.tls.write(b"good")
        good = peer.outgoing.read()
        peer.tls.write(b"bad!")
        bad = bytearray(peer.outgoing.read())
        bad[-1] ^= 1
        await peer.raw.send(good + bad)
        assert await sock.receive_some() == b"good"
        with pytest.raises(TLSError) as caught:
            await sock.receive_some()
        reasons = {"DECRYPTION_FAILED_OR_BAD_RECORD_MAC", "RECORD_LAYER_FAILURE"}  # OpenSSL 3.6
        assert caught.value.reason in reasons
        with pytest.raises(OSError, match="ALERT_BAD_RECORD_MAC"):
            await peer.recv_some()


async def test_junk_after_the_end() -> None:
    """Is nobody's: the end is seen once, and it costs nothing."""
    recorder = EventRecorder()
    async with tls_linked(handler=recorder, allow_half_close=True) as (sock, peer):
        await peer.end()
        await recorder.wait_for(ErrorOccurred)
        began = time.process_time()
        peer.raw.stuff()
        with trio.move_on_after(0.1):
            await trio.sleep_forever()
        assert time.process_time() - began < 0.08
        assert sock.bytes_available == 0
        assert len(recorder.of(ErrorOccurred)) == 1
        sock.close()


async def test_a_send_that_finds_the_connection_reset() -> None:
    """What had arrived is read before that is told, as on a plain connection."""
    data = random.Random(2).randbytes(40_000)
    async with tls_linked() as (sock, peer):
        with socket.fromfd(sock.handle, sock.socket.family, socket.SOCK_STREAM) as same:
            await peer.send(data)  # asking for the handle takes in what has arrived
            same.settimeout(5)
            while len(same.recv(10**5, socket.MSG_PEEK)) < len(data):
                pass  # a reset destroys what is still on its way
        peer.raw.reset()
        with contextlib.suppress(LostConnectionError):
            while True:
                sock.write(b"x")
        assert sock.bytes_available == len(data)
        assert await sock.receive_exactly(len(data)) == data
        with pytest.raises(LostConnectionError):
            await sock.receive_some()


async def test_a_reset_while_reading_has_paused() -> None:
    """Nobody is called for what cannot be sent any more."""
    async with tls_linked(small=True, receive_buffer_limit=1000) as (sock, peer):
        shrink_send_buffer(sock)
        await peer.send(bytes(10_000))
        await until(lambda: sock.bytes_available == 1000)
        await sock.send_all(bytes(60_000))
        transport = sock._connection.transport
        assert transport is not None
        assert transport.unsent
        peer.raw.reset()
        await until(lambda: not sock._connection.transport or not transport.unsent)
        with cpu_at_rest():
            await trio.sleep(0.2)
        with pytest.raises(IncompleteReadError) as caught:
            await sock.receive_exactly(100_000)
        assert len(caught.value.partial) == 10_000


# Our end


async def test_send_eof() -> None:
    """The peer sees an end of the stream, and what it says is still read."""
    async with tls_linked() as (sock, peer):
        await sock.send_all(b"all")
        await sock.send_eof()
        assert not sock.is_connected
        assert await peer.recv_all_to_eof() == b"all"
        await peer.send(b"answer")
        assert await sock.receive_exactly(6) == b"answer"
        with pytest.raises(SocketClosedError, match="send_eof"):
            sock.write(b"x")
        await peer.end()
        assert await sock.receive_some() == b""
        await until(lambda: sock.state is SocketState.CLOSED)


async def test_send_eof_does_not_mistake_input_for_the_peer_s_end() -> None:
    """Input that has been fed in, and not been asked for yet."""
    async with tls_linked(receive_buffer_limit=4) as (sock, peer):
        await peer.send(b"unread" * 1000)
        await until(lambda: sock.bytes_available == 4)
        await sock.send_eof()
        assert await peer.recv_some() == b""
        assert await sock.receive_exactly(6000) == b"unread" * 1000


async def test_send_eof_waits_for_the_os() -> None:
    """As does flush: what is encrypted has gone, too, when they return."""
    async with tls_linked(small=True) as (sock, peer):
        shrink_send_buffer(sock)
        await sock.send_all(bytes(60_000))  # one slice: the engine has it
        assert sock.bytes_left_to_send == 0
        assert sock._connection.transport is not None
        assert sock._connection.transport.unsent
        flushed: list[str] = []

        async def note(name: str) -> None:
            await (sock.flush() if name == "flush" else sock.send_eof())
            flushed.append(name)

        with trio.move_on_after(0) as scope:
            await sock.flush()
        assert scope.cancelled_caught
        async with trio.open_nursery() as nursery:
            nursery.start_soon(note, "flush")
            nursery.start_soon(note, "end")
            await wait_all_tasks_blocked()
            assert not flushed
            assert await peer.count_to_eof() == 60_000
        assert len(flushed) == 2


@pytest.mark.parametrize("way", ["flush", "end", "aclose"])
async def test_whoever_brings_the_rest_to_the_os(way: str) -> None:
    """Who waits for that goes on: here it is what answers the peer's input, not the write step."""
    async with tls_linked(small=True) as (sock, peer):
        shrink_send_buffer(sock)
        await sock.send_all(bytes(60_000))
        secured, watch = sock._connection.transport, sock._connection.intake.watch
        assert secured is not None
        assert watch is not None
        assert secured.unsent
        done: list[str] = []

        async def wait() -> None:
            call = {"flush": sock.flush, "end": sock.send_eof, "aclose": sock.aclose}[way]
            await call()
            done.append(way)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await wait_all_tasks_blocked()
            assert not done
            while secured.unsent:  # with no checkpoint: the write step is not called
                with contextlib.suppress(BlockingIOError):
                    peer.incoming.write(peer.raw.sock.recv(100_000))
                secured.flush()  # as on the way of an answer
            if way == "flush":
                await until(lambda: done)
                sock.close()
            assert await peer.count_to_eof() == 60_000
        assert done == [way]


async def test_flush_learns_of_a_loss() -> None:
    async with tls_linked(small=True) as (sock, peer):
        shrink_send_buffer(sock)
        await sock.send_all(bytes(60_000))
        async with trio.open_nursery() as nursery:

            async def flush() -> None:
                with pytest.raises(LostConnectionError):
                    await sock.flush()

            nursery.start_soon(flush)
            await wait_all_tasks_blocked()
            peer.raw.reset()


async def test_closing_in_good_order_sends_the_queue() -> None:
    """And says that this was all, however long the peer takes."""
    async with tls_linked(small=True) as (sock, peer):
        shrink_send_buffer(sock)
        sock.write(MIB)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sock.aclose)
            await wait_all_tasks_blocked()
            assert sock.state is SocketState.CLOSING
            assert await peer.count_to_eof() == 2**20
        assert sock.state is SocketState.CLOSED


async def test_closing_in_good_order_with_unread_input() -> None:
    """What was sent arrives whole: the input is discarded, and cannot reset the connection."""
    async with tls_linked() as (sock, peer):
        await peer.send(b"never read" * 1000)
        await until(lambda: sock.bytes_available)
        sock.write(MIB)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sock.aclose)
            assert await peer.count_to_eof() == 2**20
            peer.raw.close()


async def test_closing_before_the_peer_has_said_hello() -> None:
    """Tickets that a server sends later than we close cannot destroy what was sent."""
    with raw_listener() as listener:
        issued = credentials()
        port = listener.getsockname()[1]
        async with SSLSocket("localhost", port, ca_file=issued.ca) as sock:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(sock.connect)
                with await accept(listener) as raw:
                    peer = TLSPeer(raw, issued.server_context())
                    peer.incoming.write(await raw.recv_some())
                    with pytest.raises(ssl.SSLWantReadError):
                        peer.tls.do_handshake()
                    await peer.flush()
                    await until(lambda: sock.is_connected)
                    sock.write(bytes(600_000))  # more than the peer's OS takes, and ours has it
                    nursery.start_soon(sock.aclose, 10)
                    await wait_all_tasks_blocked()
                    await peer.handshake()  # with the tickets at its end
                    assert await peer.count_to_eof() == 600_000
                    raw.close()


async def test_closing_at_once_with_nothing_left() -> None:
    """Nothing is lost, and the peer may know that."""
    async with tls_linked() as (sock, peer):
        await sock.send_all(b"all")
        sock.close()
        assert await peer.recv_all_to_eof() == b"all"


async def test_closing_at_once_cuts_off_what_is_queued() -> None:
    """So the peer learns that it has not got all."""
    async with tls_linked(small=True) as (sock, peer):
        sock.write(bytes(2**23))
        sock.close()
        with pytest.raises(OSError, match=r"EOF|reset"):  # a reset, if it had not read the tickets
            await peer.recv_all_to_eof()


async def test_the_peer_ends_and_so_do_we() -> None:
    """Where our direction is not to stay open; what is queued goes first."""
    recorder = EventRecorder()
    async with tls_linked(handler=recorder, small=True) as (sock, peer):
        shrink_send_buffer(sock)
        sock.write(MIB)
        await peer.end()
        assert await peer.count_to_eof() == 2**20
        await until(lambda: sock.state is SocketState.CLOSED)
    check_grammar(recorder.events)


async def test_a_dead_connection_at_our_end() -> None:
    """Found by the very close_notify."""
    async with tls_linked() as (sock, peer):
        peer.raw.reset()
        with pytest.raises(LostConnectionError):
            await sock.send_eof()
        assert sock.state is SocketState.CLOSED


async def test_a_dead_connection_at_a_plain_close() -> None:
    async with tls_linked() as (sock, peer):
        peer.raw.reset()
        sock.close()
        assert sock.state is SocketState.CLOSED


# Cancellation and aborts


async def test_cancelling_on_a_clogged_connection() -> None:
    """The caller returns at once; once the peer reads the count is exact, and all goes on."""
    async with tls_linked(small=True) as (sock, peer):
        shrink_send_buffer(sock)
        with trio.move_on_after(0.05) as scope:
            await sock.send_all(bytes(2**26))
        assert scope.cancelled_caught
        sent = sock.bytes_sent
        assert 0 < sent < 2**24
        assert sock.is_connected
        assert len(await peer.recv_exactly(sent)) == sent
        await peer.send(b"reply")
        assert await sock.receive_exactly(5) == b"reply"
        await sock.send_all(b"more")
        assert await peer.recv_exactly(4) == b"more"


@pytest.mark.slow
async def test_a_hundred_random_cancellations() -> None:
    """Python's own TLS has exactly what was counted, in order, whenever they came."""
    dice = random.Random(5)
    data = dice.randbytes(2**21)
    async with tls_linked(small=True) as (sock, peer):
        shrink_send_buffer(sock)
        expected = bytearray()
        received = bytearray()

        async def read() -> None:
            while piece := await peer.recv_some(dice.randrange(1, 50_000)):
                received.extend(piece)
                if dice.random() < 0.02:
                    await trio.sleep(0.002)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            cancelled = 0
            for _ in range(100):
                start = dice.randrange(2**20)
                piece = memoryview(data)[start : start + dice.randrange(1, 2**20)]
                before = sock.bytes_sent
                with trio.move_on_after(dice.random() * 0.008) as scope:
                    await sock.send_all(piece)
                sent = sock.bytes_sent - before
                assert scope.cancelled_caught is (sent < len(piece))
                cancelled += scope.cancelled_caught
                expected += piece[:sent]
            assert cancelled > 20
            await peer.send(b"done?")
            assert await sock.receive_exactly(5) == b"done?"
            await sock.send_eof()
        assert received == expected


async def test_a_handler_aborts() -> None:
    """What is encrypted is sent, what is not is dropped; the books say how much each was."""

    class Aborter(EventRecorder):
        def on_send_progress(self, sock: SSLSocket, bytes_sent: int, bytes_left: int) -> bool:
            super().on_send_progress(sock, bytes_sent, bytes_left)
            return True

    recorder = Aborter()
    async with tls_linked(handler=recorder) as (sock, peer):
        with pytest.raises(SocketError, match="send aborted after 65536"):
            await sock.send_all(MIB)
        assert sock.bytes_sent == 65536
        await sock.aclose()
        assert await peer.count_to_eof() == 65536
    (complete,) = recorder.of(SendComplete)
    assert complete.user_aborted
    check_grammar(recorder.events)


async def test_a_handler_that_aborts_is_asked_before_more_goes() -> None:
    """However large its steps are, and what one record holds."""
    recorder = EventRecorder(abort_after=1)
    async with tls_linked(handler=recorder, progress_interval=10**6) as (sock, peer):
        sock.write(bytes(500_000))
        await recorder.wait_for(SendComplete)
        assert sock.bytes_sent == 65536
        await sock.aclose()
        assert await peer.count_to_eof() == 65536
    assert recorder.names.count("on_send_progress") == 1
    check_grammar(recorder.events)


async def test_progress_comes_in_steps() -> None:
    """No larger than they should be, whatever the slices are."""
    recorder = EventRecorder()
    async with tls_linked(handler=recorder, progress_interval=10_000) as (sock, peer):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.recv_exactly, 95_000)
            await sock.send_all(bytes(95_000))
        steps = [event.bytes_sent for event in recorder.of(SendProgress)]
        assert sum(steps) == 95_000
        assert max(steps) == 10_000


async def test_waiting_until_a_send_might_not_block() -> None:
    """While ciphertext waits for the OS it would."""
    async with tls_linked(small=True) as (sock, peer):
        shrink_send_buffer(sock)
        await clog(sock)
        with trio.move_on_after(0.02) as scope:
            await sock.wait_send_all_might_not_block()
        assert scope.cancelled_caught
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sock.wait_send_all_might_not_block)
            await wait_all_tasks_blocked()
            await peer.recv_exactly(sock.bytes_sent)


# Beside other things


async def test_faults_are_those_of_any_connection() -> None:
    """Those of the testing module, which stand between the socket and what encrypts."""
    async with ssl_socket_pair() as (client, server):
        with delay(server, 0.01):
            await client.send_all(b"late")
            assert await server.receive_exactly(4) == b"late"
        with stall(server):
            await client.send_all(b"later")
            with trio.move_on_after(0.01):
                await server.receive_some()
            assert not server.bytes_available
        assert await server.receive_exactly(5) == b"later"
        with delay(server, 0.001):
            await client.send_all(b"end")
            await client.send_eof()
            assert await server.receive_exactly(3) == b"end"
            assert await server.receive_some() == b""
        with cut(server):
            with pytest.raises(SocketError):
                await server.send_all(b"x")


async def test_keepalive_and_statistics_reach_through() -> None:
    async with tls_linked(keepalive=(10, 11, 12), unacknowledged_timeout=5) as (sock, peer):
        assert sock._connection.transport is not None
        with socket.socket(fileno=socket.dup(sock.handle)) as below:
            assert below.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 11
        assert sock.local_port == peer.raw.sock.getpeername()[1]
        await sock.send_all(b"x")
        assert await peer.recv_some() == b"x"


async def test_idle_connections_time_out() -> None:
    async with tls_linked(idle_timeout=0.02) as (sock, _):
        with pytest.raises(LostConnectionError) as caught:
            await sock.receive_some()
        assert caught.value.reason is LossReason.TIMED_OUT

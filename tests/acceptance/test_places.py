"""Whatever comes and goes, and however the limits change: never too many, no place lost."""

from __future__ import annotations

import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import RawPeer, until
from tests.support.serving import connect
from trio_xsock import ServerSocket, SocketError, SocketHandler, TCPSocket

MOST_PEERS = 12

steps = st.one_of(
    st.tuples(st.just("connect"), st.integers(1, 3)),
    st.tuples(st.sampled_from(["reset", "end", "close", "aclose"]), st.integers(0, MOST_PEERS)),
    st.tuples(st.sampled_from(["maximum", "minimum"]), st.integers(1, 5)),
    st.tuples(st.just("let go on"), st.integers(1, 6)),
)


class Ledger:
    """The handler object of the server: counts who comes and goes."""

    def __init__(self) -> None:
        self.opened = self.closed = 0

    def on_connections_changed(
        self, server: ServerSocket[TCPSocket], opened: int, closed: int, live: int
    ) -> None:
        self.opened += opened
        self.closed += closed
        assert live == self.opened - self.closed


async def play(script: list[tuple[str, int]], use_handlers: bool) -> None:
    """Do what the script says, then see that everybody who waits is served."""
    ledger = Ledger()
    peers: list[RawPeer] = []

    def add_socket() -> TCPSocket:
        return (
            TCPSocket(handler=SocketHandler(), allow_half_close=False)
            if use_handlers
            else TCPSocket()
        )

    async def echo(sock: TCPSocket) -> None:
        try:
            async for chunk in sock:
                await sock.send_all(chunk)
        except SocketError:  # reset, or closed by the script
            return

    async with (
        ServerSocket(
            address="127.0.0.1",
            maximum_sockets_connected=3,
            handler=ledger,
            add_socket=add_socket,
        ) as server,
        trio.open_nursery() as nursery,
    ):
        await nursery.start(server.serve, echo)
        for action, number in script:
            before = server.statistics().live
            match action:
                case "connect":
                    room = MOST_PEERS - len(peers)
                    peers += [await connect(server) for _ in range(min(number, room))]
                case "reset" | "end" if peers:
                    peer = peers.pop(number % len(peers))
                    (peer.reset if action == "reset" else peer.close)()
                case "close" | "aclose" if server.active_connections():
                    sockets = server.active_connections()
                    sock = sockets[number % len(sockets)]
                    sock.close() if action == "close" else await sock.aclose()
                    sock.close()
                case "maximum":
                    server.maximum_sockets_connected = number
                case "minimum":
                    server.minimum_sockets_available = number
                case "let go on":
                    for _ in range(number):
                        await trio.lowlevel.checkpoint()
            assert server.maximum_sockets_connected is not None
            # Lowering the maximum ends nobody; but then nobody comes in until enough have gone.
            assert server.statistics().live <= max(server.maximum_sockets_connected, before)
        for peer in peers:
            peer.close()
        with await connect(server) as last:
            await until(
                lambda: [sock.remote_port for sock in server.active_connections()] == [last.port]
            )
        accepted = server.statistics().accepted
        await until(lambda: ledger.opened == ledger.closed == accepted)
        assert server.active_connections() == []
        nursery.cancel_scope.cancel()


@settings(max_examples=60, deadline=None)
@given(st.lists(steps, max_size=40), st.booleans())
def test_places_are_freed_exactly_once(script: list[tuple[str, int]], use_handlers: bool) -> None:
    """Live is at most the maximum at each change, and in the end there is room for the next."""
    trio.run(play, script, use_handlers)

"""Connecting: from an address to a connection that the steps can work on."""

from __future__ import annotations

import math
import socket as stdlib_socket
from collections.abc import Callable
from typing import Any

import trio

from trio_xsock._machines.endpoint import address_text, check_port
from trio_xsock._machines.state import Move, SocketState, next_state
from trio_xsock._network.dial import dial
from trio_xsock._runtime.guard import protect_from_ki
from trio_xsock._runtime.keeper import Keeper
from trio_xsock._runtime.readiness import watch_socket
from trio_xsock._values.errors import InvalidStateError, LostConnectionError, SocketError
from trio_xsock._values.events import Connected, ErrorOccurred
from trio_xsock._values.typing import Address

from .ending import Ending
from .link import Owner


@protect_from_ki
class Connection(Ending, trio.abc.AsyncResource):
    """One TCP connection at a time; the base of ``TCPSocket`` and ``EasyTCPSocket``."""

    __slots__ = ("_reached",)

    async def connect(self) -> None:
        """Connect to ``address`` and ``port``; returns when connected. Xojo: ``Connect``.

        All addresses of the host are tried, IPv6 and IPv4 in turns, a quarter of a second
        apart (RFC 8305).

        Raises:
            InvalidPortError: the port is 0.
            InvalidStateError: not closed, outside the block, or made by a server.
            NameResolutionError: the host has no address, or its name is empty or malformed.
            ConnectError: no address could be reached; ``errors`` has each attempt.
            SocketClosedError: ``close()`` was called meanwhile.
            OpenDriverError, OutOfMemoryError: the OS gave no socket.

        Cancellation: nothing is left over; the socket is closed and may connect again.
        Events: ``Connected``, or ``ErrorOccurred`` for what is raised after the first two.
        """
        self._after(Move.CONNECT)
        check_port(self._port, allow_zero=False, host=self._address)
        self._begin(Move.CONNECT)
        self._reset()
        self._closed_by_us = False
        scope = self._connect_scope = trio.CancelScope()
        up = False
        try:
            with scope:
                await trio.lowlevel.checkpoint_if_cancelled()
                sock = await self._dial()
                self._pumping = True  # the handler is told below, not by a task
                try:
                    up = self._establish(sock, scope)
                finally:
                    self._pumping = False
        except SocketError as error:
            if self._connect_scope is scope:
                self._connect_failed(error)
                await self._delivered()  # noqa: ASYNC120 - cancelled only if a handler failed
                raise
        finally:
            if self._connect_scope is scope:  # cancelled
                self._connect_scope = None
                self._state = next_state(self._state, Move.FAIL)
        if not up:
            await trio.lowlevel.checkpoint_if_cancelled()  # by the failure that closed the socket
            raise self._closed_error("closed while it was connecting")
        await self._delivered()

    async def _dial(self) -> stdlib_socket.socket:
        """A connection to ``address`` and ``port``, ready for use."""
        return await dial(
            self._address,
            self._port,
            interface=self._network_interface,
            reached=self._note_reached,
        )

    def _note_reached(self, address: Address) -> None:
        self._reached: Address = address

    def _establish(self, sock: stdlib_socket.socket, scope: trio.CancelScope) -> bool:
        """Make a connected descriptor ours; False if ``close()`` was called meanwhile."""
        if self._connect_scope is not scope:
            sock.close()
            return False
        try:
            peer = sock.getpeername()
        except OSError:  # reset since: what came before can be read, and then the reset is seen
            peer = self._reached
        self._connect_scope = None
        self._adopt(sock, peer)
        self._announce_connected()
        return True

    def _open_accepted(
        self,
        owner: Owner,
        keeper: Keeper,
        sock: stdlib_socket.socket,
        peer: tuple[Any, ...],
    ) -> None:
        """Take over a connection that a server accepted; its scope is in the server's.

        The server calls ``_announce_connected`` next: at once, or when the handshake is done
        and there is a place.
        """
        self._keeper = keeper.child(self)
        self._state = next_state(self._state, Move.LISTEN)
        self._hub.begin()
        self._owner = owner
        self._adopt(sock, peer)

    def _check_service(self) -> None:
        """Raise what would keep this socket from taking a connection that was accepted.

        Raises:
            SocketError: an option names a file that does not do.
        """

    @property
    def _has_handshake(self) -> bool:
        """Whether ``_begin_handshake`` has to be called before the connection is announced."""
        return False

    def _begin_handshake(self, over: Callable[[BaseException | None], None]) -> float:
        """Begin to come to terms with the peer; for derived classes, such as those that do TLS.

        A server calls it, where ``_has_handshake`` says so, after ``_open_accepted``. It calls
        ``_announce_connected`` some time after it was told that all went well, when there is a
        place for the connection. Until then the socket is ``LISTENING``, has a descriptor and
        its watch, reads nothing unless the handshake does, and should post no events.

        Args:
            over: to be called once, from a step: with ``None``, or with what went wrong; of that
                nobody else is told, and the server closes the socket. It does that, too, if the
                handshake takes longer than its ``handshake_timeout``, or when it stops.

        Returns:
            How many seconds the socket itself allows; ``math.inf`` for no limit.

        Raises:
            SocketError: it cannot begin.
        """
        over(None)
        return math.inf

    def _after(self, move: Move) -> SocketState:
        if self._owner is not None:
            # Its tasks live in the server's block, which waits for those it knows of.
            raise InvalidStateError(
                f"{self!r}: {move.value} is not possible: the socket was made by a server for "
                "one connection; make a new one"
            )
        return super()._after(move)

    def _handle_failure(self) -> None:
        super()._handle_failure()
        if self._owner is not None and self._block is None:
            self._owner._connection_failed(self)

    def _contain(self, error: Exception) -> bool:
        """See ``Kept``: of a connection that a server accepted, the server is told."""
        if self._owner is None:
            return False
        self._owner._peer_failed(self, error)
        return True

    def _break(self, error: Exception) -> None:
        """The library's own work for this connection raised: it is lost, and all are told."""
        if self._transport is None:
            return
        text = f"{self._endpoint()}: connection lost: internal error: {error!r}"
        loss = LostConnectionError(text)
        loss.__cause__ = error.with_traceback(None)  # its frames hold the socket
        self._lose(loss)
        self._pump()

    def _connect_failed(self, error: SocketError) -> None:
        self._connect_scope = None
        self._state = next_state(self._state, Move.FAIL)
        self._last_error = error
        self._loss_announced = True
        self._post_if_active(ErrorOccurred, error)
        self._hub.end()

    def _adopt(self, sock: stdlib_socket.socket, peer: tuple[Any, ...]) -> None:
        assert self._keeper is not None
        self._transport = sock
        self._remote_address = address_text(peer)
        self._remote_port = peer[1]
        if self._owner is None:  # else it is new
            self.purge()
        self._watch = watch_socket(self._keeper, sock, self._on_readable, self._on_writable)

    def _replace_transport(self, transport: stdlib_socket.socket) -> None:
        """The same connection goes on by way of another transport."""
        assert self._keeper is not None
        assert self._watch is not None
        self._watch.close()
        self._transport = transport
        watch = watch_socket(self._keeper, transport, self._on_readable, self._on_writable)
        watch.reading(self._reading and not self._input_ended)
        watch.writing(self._blocked)
        self._watch = watch

    def _announce_connected(self) -> None:
        self._state = next_state(self._state, Move.ESTABLISH)
        self._post_if_active(Connected)
        self._resume_reading()

    def _take_stock(self) -> None:
        if self._transport is not None and self._reading and not self._input_ended:
            self._on_readable()
        if self._transport is not None and self._blocked:
            self._on_writable()
        self._pump()

    async def poll(self) -> bool:
        """One step by hand: take in, send, deliver. Xojo: ``Poll``.

        Returns:
            Whether anything happened.

        Cancellation: seen before anything is done.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        self._check_thread()
        due = bool(self._hub.calls)
        read = self._read_step()
        before = self._bytes_out
        if self._ledger.left:
            self._write_step()
        due = due or bool(self._hub.calls)
        await self._delivered()
        await trio.lowlevel.cancel_shielded_checkpoint()
        return read or due or self._bytes_out != before

"""Connecting: from an address to a connection that the steps can work on."""

from __future__ import annotations

import socket as stdlib_socket
from typing import Any

import trio

from ._dial import dial
from ._endpoint import address_text, check_port, format_endpoint
from ._ending import Ending
from ._errors import ConnectError, SocketClosedError, SocketError
from ._events import Connected, ErrorOccurred
from ._guard import protect_from_ki
from ._keeper import Keeper
from ._link import Owner
from ._readiness import watch_socket
from ._state import Move, SocketState, next_state


@protect_from_ki
class Connection(Ending):
    """One TCP connection at a time; the base of ``TCPSocket`` and ``EasyTCPSocket``."""

    __slots__ = ()

    async def connect(self) -> None:
        """Connect to ``address`` and ``port``; returns when connected. Xojo: ``Connect``.

        All addresses of the host are tried, IPv6 and IPv4 in turns, a quarter of a second
        apart (RFC 8305).

        Raises:
            InvalidPortError: the port is 0.
            InvalidStateError: not closed, or outside the block.
            NameResolutionError: the host has no address, or its name is empty or malformed.
            ConnectError: no address could be reached; ``errors`` has each attempt.
            SocketClosedError: ``close()`` was called meanwhile.
            OpenDriverError, OutOfMemoryError: the OS gave no socket.

        Cancellation: nothing is left over; the socket is closed and may connect again.
        Events: ``Connected``, or ``ErrorOccurred`` for what is raised after the first two.
        """
        next_state(self._state, Move.CONNECT)
        check_port(self._port, allow_zero=False)
        self._begin(Move.CONNECT)
        self._reset()
        self._closed_by_us = False
        scope = self._connect_scope = trio.CancelScope()
        try:
            with scope:
                sock = await dial(self._address, self._port, interface=self._network_interface)
                await self._establish(sock)
        except SocketError as error:
            self._connect_failed(error)
            await self._delivered()
            raise
        finally:
            ended, self._connect_scope = self._connect_scope is not scope, None
            if self._state is SocketState.CONNECTING:
                self._state = next_state(self._state, Move.FAIL)
        if ended:
            raise SocketClosedError(f"{self!r}: closed while it was connecting")
        await self._delivered()

    async def _establish(self, sock: stdlib_socket.socket) -> None:
        """Make a connected descriptor ours; the connection is up when this returns."""
        await trio.lowlevel.cancel_shielded_checkpoint()
        if self._state is not SocketState.CONNECTING:  # close() was called
            sock.close()
            return
        try:
            peer = sock.getpeername()
        except OSError as exc:  # the peer has reset the connection already
            sock.close()
            where = format_endpoint(self._address, self._port)
            raise ConnectError(f"{where}: reset at once", errors=(exc,)) from exc
        self._adopt(sock, peer)
        self._announce_connected()

    def _open_accepted(
        self,
        owner: Owner,
        nursery: trio.Nursery,
        sock: stdlib_socket.socket,
        peer: tuple[Any, ...],
    ) -> None:
        """Take over a connection that a server accepted; its scope is in the server's."""
        self._owner = owner
        self._keeper = Keeper(nursery, self._work, self._handle_failure)
        self._begin(Move.LISTEN)
        self._adopt(sock, peer)
        self._announce_connected()

    def _handle_failure(self) -> None:
        super()._handle_failure()
        if self._owner is not None and self._block is None:
            self._owner.connection_failed(self)

    def _connect_failed(self, error: SocketError) -> None:
        if self._state is not SocketState.CONNECTING:
            return
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
        self.purge()
        self._watch = watch_socket(self._keeper, sock, self._on_readable, self._on_writable)

    def _announce_connected(self) -> None:
        self._state = next_state(self._state, Move.ESTABLISH)
        self._post_if_active(Connected)
        self._resume_reading()

    async def poll(self) -> bool:
        """One step by hand: take in, send, deliver. Xojo: ``Poll``.

        Returns:
            Whether anything happened.

        Cancellation: seen before anything is done.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        due = bool(self._hub.calls)
        read = self._read_step()
        before = self._bytes_out
        if self._ledger.left:
            self._write_step()
        due = due or bool(self._hub.calls)
        await self._delivered()
        await trio.lowlevel.cancel_shielded_checkpoint()
        return read or due or self._bytes_out != before

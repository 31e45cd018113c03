"""A connection that may go through TLS: where that makes a difference to its steps.

The steps work on a ``TLSTransport`` as on a descriptor. There are three differences. The engine
may have input although the OS has none, so somebody has to look. It may have output although
nothing is queued: our direction ends only when the OS has that, too. And it takes slices.
"""

from __future__ import annotations

import socket as stdlib_socket
from typing import Any, cast

from trio_xsock._machines.state import SocketState
from trio_xsock._machines.tls import SLICE
from trio_xsock._network.kernel import has_unread_input
from trio_xsock._network.tls_transport import TLSTransport
from trio_xsock._runtime.faults import give_back
from trio_xsock._runtime.guard import Parking, protect_from_ki

from .listening import ListeningCalls


@protect_from_ki
class Secured(ListeningCalls):
    """A connection whose transport may encrypt; mixed into sockets, hence without slots."""

    __slots__ = ()

    _secured: TLSTransport | None = None
    """The transport that encrypts, once its handshake is done and while it is open."""

    _ssl_connecting: bool = False
    """Its handshake is going on; nobody else may read or write."""

    _drained: bool = False
    """The OS has taken what it had refused, and somebody waits for that."""

    def _reset(self) -> None:
        super()._reset()
        self._drainers: list[Parking[None]] = []  # who waits until the OS has all

    def _adopt(self, sock: stdlib_socket.socket, peer: tuple[Any, ...]) -> None:
        transport: object = sock
        self._use(transport if isinstance(transport, TLSTransport) else None)
        super()._adopt(sock, peer)

    def _use(self, transport: TLSTransport | None) -> None:
        self._secured = transport
        if transport is not None:
            transport.wake = self._look_again
            transport.drained = self._note_drained
            transport.stirred = self._note_stir

    def _replace_transport(self, transport: stdlib_socket.socket) -> None:
        super()._replace_transport(transport)
        self._look_again()

    def _release(self) -> None:
        secured = self._secured
        if secured is not None:
            # Who closes with nothing left to send may say so. If something is dropped, the peer
            # shall see that the stream was cut off.
            if self._closed_by_us and self._loss is None and not self._ledger.open:
                give_back(secured.end)
            self._secured = None
        self._ssl_connecting = False
        super()._release()
        while self._drainers:
            self._drainers.pop().fail(self._why_not_sending())

    # Input

    def _read_step(self) -> bool:
        return not self._ssl_connecting and super()._read_step()

    def _resume_reading(self) -> None:
        super()._resume_reading()
        if self._secured is not None and self._secured.engine.ready:
            self._look_again()

    def _begin_closing(self, grace: float) -> None:
        super()._begin_closing(grace)
        self._look_again()

    def _look_again(self) -> None:
        """If the engine has input: nobody else will call, the keeper task has to."""
        if self._has_input():
            self._wake_keeper()

    def _has_input(self) -> bool:
        secured = self._secured
        return secured is not None and self._reads(secured) and secured.engine.ready

    def _has_unread_input(self) -> bool:
        secured = self._secured
        if secured is None or not self._reads(secured):
            return False
        # What a read brings may be no whole record: then it had nothing, but the OS may.
        return secured.engine.ready or has_unread_input(secured.inner)

    def _reads(self, secured: TLSTransport) -> bool:
        transport = cast("object", self._transport)
        return (
            not self._ssl_connecting
            and self._reading
            and not self._input_ended
            and transport is secured  # else it is for who stands between
        )

    def _next_deadline(self) -> float:
        if self._drained:
            self._drained = False
            self._sent_on()
            self._pump()
        if self._has_input():
            self._on_readable()
            self._pump()
        return super()._next_deadline()

    def _note_stir(self) -> None:
        """Bytes moved that are part of what nobody has asked for, or cannot have yet."""
        if self._notes_activity:
            self._note_activity()

    # Output

    def _chunk_size(self) -> int:
        size = super()._chunk_size()
        return size if self._secured is None else min(size, SLICE)

    def _on_writable(self) -> None:
        secured = self._secured
        if secured is None or not secured.unsent or self._send_on(secured):
            super()._on_writable()

    def _send_on(self, secured: TLSTransport) -> bool:
        """Send what the OS had not taken; whether it has all now."""
        try:
            return secured.flush()
        except OSError as exc:
            self._output_failed(exc)
            self._schedule_pump()
            return False

    def _note_drained(self) -> None:
        """The OS has all that was encrypted, whoever brought it there.

        What waits for that goes on in the keeper task: this may be the midst of another step.
        """
        if self._drainers or self._output_ended:
            self._drained = True
            self._wake_keeper()

    def _sent_on(self) -> None:
        """Go on with what waited for the OS to have all, if it still has."""
        if self._secured is None or self._secured.unsent:
            return
        while self._drainers:
            self._drainers.pop().unpark()
        if self._output_ended and not self._ledger.open:
            self._after_queue()

    def _has_to_linger(self, transport: stdlib_socket.socket) -> bool:
        if super()._has_to_linger(transport):
            return True
        # A ticket that arrives when we have closed makes the OS send a reset, too.
        secured = self._secured
        return (
            secured is not None and secured.may_be_greeted and bool(secured.unacknowledged_bytes())
        )

    def _send_fin(self) -> None:
        secured = self._secured
        if secured is not None and not self._eof_sent:
            try:
                if not secured.end():
                    return  # _sent_on comes back to it
            except OSError as exc:
                self._eof_sent = True
                self._output_failed(exc)
                return
        super()._send_fin()

    # Facts

    @property
    def ssl_connected(self) -> bool:
        """The connection is up and encrypted. Xojo: ``SSLConnected``."""
        return self._secured is not None and self._state in (
            SocketState.CONNECTED,
            SocketState.CLOSING,
        )

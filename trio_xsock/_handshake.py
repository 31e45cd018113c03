"""The handshake of TLS: done eagerly, under a deadline, before anybody may read or write.

Left to the first reader or writer, a failed one would reach only one of them. It is a matter of
its own, done when a connection is there and not yet anybody's: who starts it owns the transport,
and gets it back ready for use, or closed, with a reason.
"""

from __future__ import annotations

import socket as stdlib_socket
import ssl
from collections.abc import Callable
from typing import Any, NamedTuple

import trio

from ._errors import TLSError, translate_tls
from ._guard import Parking, protect_from_ki
from ._keeper import Keeper
from ._kernel import unacknowledged_bytes
from ._rejection import is_rejected
from ._tls import TLSEngine
from ._tls_transport import TLSTransport

_READ = 4096
"""Bytes to take in at once: few, for what follows the handshake is to be taken in by and by."""

_FAREWELL = 1.0
"""Seconds for a refused peer to take the alert that says why."""

_FIRST_LOOK = 0.001
_LAST_LOOK = 0.05


class TLSSetup(NamedTuple):
    """What one handshake needs to know."""

    context: ssl.SSLContext
    server_side: bool = False
    server_hostname: str | None = None
    rejected: frozenset[bytes] = frozenset()
    timeout: float = 30.0
    https_compatible: bool = False


def wrap(inner: Any, setup: TLSSetup, endpoint: str) -> TLSTransport:
    """A transport that is to encrypt what goes through another, and has not begun to.

    Args:
        inner: the other; it is closed if this raises.
        setup: how.
        endpoint: the peer, for messages.

    Raises:
        TLSError: context, side and name do not go together.
    """
    try:
        engine = TLSEngine(
            setup.context, server_side=setup.server_side, server_hostname=setup.server_hostname
        )
    except (ssl.SSLError, ValueError) as exc:
        inner.close()
        if isinstance(exc, ssl.SSLError):
            error = translate_tls(exc, f"{endpoint}: cannot begin TLS")
        else:  # check_hostname without a name
            text = f"{endpoint}: cannot begin TLS: {exc}; set server_hostname"
            error = TLSError(text, reason="NO_SERVER_HOSTNAME")
        raise error from exc
    return TLSTransport(inner, engine, https_compatible=setup.https_compatible)


async def shake_hands(
    keeper: Keeper, transport: TLSTransport, setup: TLSSetup, endpoint: str
) -> None:
    """Have the handshake; afterwards the transport may be used, and the peer is verified.

    Args:
        keeper: of the socket it is for.
        transport: from ``wrap``; it is closed if this raises.
        setup: as for ``wrap``.
        endpoint: as for ``wrap``.

    Raises:
        TLSError: the handshake failed, or took too long; the peer has got an alert.

    Cancellation: the transport is closed at once.
    """
    handshake = _Handshake(keeper, transport)
    try:
        with trio.move_on_after(setup.timeout) as scope:
            await handshake.run(setup, endpoint)
        if scope.cancelled_caught:
            text = f"{endpoint}: the TLS handshake took more than {setup.timeout:g} seconds"
            raise TLSError(text, reason="HANDSHAKE_TIMED_OUT")
    except BaseException:
        transport.close()
        raise
    finally:
        handshake.close()


@protect_from_ki
class _Handshake:
    """Moves the bytes of one handshake."""

    def __init__(self, keeper: Keeper, transport: TLSTransport) -> None:
        self._transport = transport
        self._parking: Parking[None] = Parking()
        self._watch = transport.make_watch(keeper, self._on_ready, self._on_ready)
        self._want: Callable[[bool], None] = self._watch.reading

    def close(self) -> None:
        self._watch.close()

    async def run(  # noqa: ASYNC910 - what calls it has checkpoints of its own
        self, setup: TLSSetup, endpoint: str
    ) -> None:
        transport = self._transport
        error: TLSError | None = None
        try:
            if setup.server_side:
                await self._take_in()  # there is nothing to say before the client has spoken
            while not transport.engine.handshake():
                await self._flush()
                await self._take_in()
        except OSError as exc:
            error = translate_tls(exc, f"{endpoint}: the TLS handshake failed")
        if error is not None:
            await self._refuse()
            raise error
        if setup.rejected and is_rejected(transport.engine.peer_chain(), setup.rejected):
            transport.engine.refuse()
            await self._refuse()
            text = f"{endpoint}: the peer's certificate is in the certificate_rejection_file"
            raise TLSError(text, reason="CERTIFICATE_REJECTED")
        self._send_last_flight(setup)

    def _send_last_flight(self, setup: TLSSetup) -> None:
        if setup.server_side and self._transport.engine.version == "TLSv1.3":
            # What there is are tickets; they go with what is sent first. A client that closed
            # without having read them would reset the connection, and destroy what it had sent.
            self._transport.defer()
            return
        try:
            self._transport.flush()  # what the OS does not take now need not hold up anybody
        except OSError:  # the first read will tell
            pass

    async def _flush(self) -> None:  # noqa: ASYNC910 - see run
        while not self._transport.flush():
            await self._ready(self._watch.writing)

    async def _take_in(self) -> None:  # noqa: ASYNC910 - see run
        engine = self._transport.engine
        while True:
            try:
                data = self._transport.inner.recv(_READ)
            except (BlockingIOError, InterruptedError):
                await self._ready(self._watch.reading)
                continue
            if data:
                engine.feed(data)
            else:
                engine.feed_end()
            return  # noqa: ASYNC910

    async def _refuse(self) -> None:  # noqa: ASYNC910 - see run
        """Let the peer have the alert.

        To close with unread input would make the OS send a reset, which destroys what was
        sent; so that is discarded for as long as it takes until the peer has it.
        """
        inner = self._transport.inner
        look = _FIRST_LOOK
        with trio.move_on_after(_FAREWELL):
            try:
                await self._flush()
                inner.shutdown(stdlib_socket.SHUT_WR)
                while unacknowledged_bytes(inner) != 0:
                    with trio.move_on_after(look):
                        await self._discard()
                        return
                    look = min(look * 2, _LAST_LOOK)
            except OSError:
                pass

    async def _discard(self) -> None:  # noqa: ASYNC910 - see run
        """Drop input until its end."""
        while True:
            try:
                if not self._transport.inner.recv(_READ):
                    return  # noqa: ASYNC910
            except (BlockingIOError, InterruptedError):
                await self._ready(self._watch.reading)

    async def _ready(self, want: Callable[[bool], None]) -> None:
        self._parking = Parking()
        self._want = want
        want(True)
        try:
            await self._parking.park()
        finally:
            want(False)

    def _on_ready(self) -> None:
        # At once: until the task runs the hub would find the same thing ready again and again.
        self._want(False)
        self._parking.unpark()

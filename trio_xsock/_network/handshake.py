"""The TLS handshake: done eagerly, with a deadline, before the connection can be used.

If the first read or write did it, a failure would reach only that call. The caller owns the
transport, and gets it back ready for use, or closed and an error.
"""

from __future__ import annotations

import socket as stdlib_socket
import ssl
from collections.abc import Callable
from typing import NamedTuple

import trio

from trio_xsock._machines.time_limit import TimeLimit
from trio_xsock._machines.tls import TLSEngine
from trio_xsock._runtime.clock import runs_by_itself
from trio_xsock._runtime.guard import Parking, protect_from_ki
from trio_xsock._runtime.keeper import Keeper
from trio_xsock._runtime.steps import StepPair
from trio_xsock._values.errors import TLSError, translate_tls

from .rejection import is_rejected
from .tls_transport import TLSTransport
from .transport import Transport

_READ = 4096
"""Bytes to read at once: few, because application data may follow the handshake."""

_FAREWELL = 1.0
"""Seconds for a refused peer to receive the alert that says why."""

_FIRST_LOOK = 0.001
_LAST_LOOK = 0.05


class TLSSetup(NamedTuple):
    """The parameters of one handshake."""

    context: ssl.SSLContext
    server_side: bool = False
    server_hostname: str | None = None
    rejected: frozenset[bytes] = frozenset()
    timeout: float = 30.0
    https_compatible: bool = False


def wrap(inner: Transport, setup: TLSSetup, endpoint: str) -> TLSTransport:
    """A TLS transport over another one, before its handshake.

    Args:
        inner: the other transport; it is closed if this raises.
        setup: the parameters.
        endpoint: the peer, for messages.

    Raises:
        TLSError: context, side and name do not fit together.
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
    """Do the handshake; afterwards the transport may be used, and the peer is verified.

    Args:
        keeper: that of the socket.
        transport: from ``wrap``; it is closed if this raises.
        setup: as for ``wrap``.
        endpoint: as for ``wrap``.

    Raises:
        TLSError: the handshake failed, or took too long; the peer has got an alert.

    Cancellation: the transport is closed at once.
    """
    parking: Parking[BaseException | None] = Parking()
    handshake = Handshake(keeper, transport, setup, endpoint, parking.unpark)
    limit = TimeLimit(trio.current_time(), setup.timeout)
    try:
        handshake.begin()
        error = await _park_until_over(parking, handshake, limit)
        if error is not None:
            with trio.move_on_at(limit.deadline):
                await handshake.refuse()
            raise error
        if not parking.done:
            text = f"{endpoint}: the TLS handshake took more than {setup.timeout:g} seconds"
            raise TLSError(text, reason="HANDSHAKE_TIMED_OUT")
    except BaseException:
        transport.close()
        raise
    finally:
        handshake.close()


async def _park_until_over(  # noqa: ASYNC910 - parking is a checkpoint
    parking: Parking[BaseException | None], handshake: Handshake, limit: TimeLimit
) -> BaseException | None:
    """Wait for the last step; at the deadline the socket is read once more first."""
    while True:
        with trio.move_on_at(limit.deadline):
            return await parking.wait()
        handshake.look()
        if parking.done:
            return await parking.park()
        if limit.is_over(trio.current_time(), counts_lateness=runs_by_itself()):
            return None


@protect_from_ki
class Handshake:
    """One handshake, by steps, which are plain functions that never wait.

    Args:
        keeper: that of the socket.
        transport: from ``wrap``; it stays the caller's.
        setup: as for ``wrap``.
        endpoint: as for ``wrap``.
        over: called once, in the last step: with ``None`` when the transport may be used and the
            peer is verified, else with the error. Then ``refuse`` may be awaited.

    Attributes:
        transport: as above.
    """

    __slots__ = (
        "_endpoint",
        "_open",
        "_over",
        "_parking",
        "_setup",
        "_want",
        "_watch",
        "transport",
    )

    def __init__(
        self,
        keeper: Keeper,
        transport: TLSTransport,
        setup: TLSSetup,
        endpoint: str,
        over: Callable[[BaseException | None], None],
    ) -> None:
        self.transport = transport
        self._setup = setup
        self._endpoint = endpoint
        self._over: Callable[[BaseException | None], None] | None = over
        self._open = True
        self._parking: Parking[None] | None = None
        self._watch = transport.make_watch(keeper, StepPair(self._on_ready, self._on_ready))
        self._want: Callable[[bool], None] = self._watch.reading

    def look(self) -> None:
        """Read and answer what has arrived; call it before a deadline is judged."""
        if self._over is not None:
            self._on_ready()

    def begin(self) -> None:
        """Send the first flight, if this is the client; further steps follow on readiness."""
        self._want(True)
        if not self._setup.server_side:
            self._step(self._go_on)

    def close(self) -> None:
        """Take no more steps; a task that waits in ``refuse`` returns. Idempotent."""
        self._open = False
        self._over = None
        self._watch.close()
        if self._parking is not None:
            self._parking.unpark(None)

    def _goes_on(self) -> bool:
        """Whether ``close`` was not called; check it again after each wait."""
        return self._open

    # Steps

    def _on_ready(self) -> None:
        if self._parking is None:
            self._step(self._take_in)
            return
        # At once: until the task runs the hub would find the descriptor ready again and again.
        self._want(False)
        self._parking.unpark(None)

    def _step(self, step: Callable[[], bool]) -> None:
        """Take a step, and call ``over`` if it was the last."""
        error: BaseException | None = None
        try:
            if not step():
                return
        except OSError as exc:
            error = translate_tls(exc, f"{self._endpoint}: the TLS handshake failed")
        except BaseException as exc:  # noqa: ASYNC103 - no peer causes these; they are passed on
            error = exc
        self._want(False)
        assert self._over is not None
        try:
            self._over(error)
        finally:
            del error  # its traceback may refer to this frame

    def _take_in(self) -> bool:
        """Read input; return whether the handshake is over."""
        transport = self.transport
        if transport.unsent:
            return self._speak()
        try:
            data = transport.inner.recv(_READ)
        except (BlockingIOError, InterruptedError):
            return False
        if data:
            transport.moved += len(data)
            transport.engine.feed(data)
        else:
            transport.engine.feed_end()
        return self._go_on()

    def _go_on(self) -> bool:
        if not self.transport.engine.handshake():
            return self._speak()
        self._check_peer()
        self._send_last_flight()
        return True

    def _speak(self) -> bool:
        """Send the engine's output, and watch for the answer; never the last step."""
        want = self._watch.reading if self.transport.flush() else self._watch.writing
        if want != self._want:
            self._want(False)
            self._want = want
            want(True)
        return False

    def _check_peer(self) -> None:
        engine, rejected = self.transport.engine, self._setup.rejected
        if rejected and is_rejected(engine.peer_chain(), rejected):
            engine.refuse()
            text = f"{self._endpoint}: the peer's certificate is in the certificate_rejection_file"
            raise TLSError(text, reason="CERTIFICATE_REJECTED")

    def _send_last_flight(self) -> None:
        if self._setup.server_side and self.transport.engine.version == "TLSv1.3":
            # The output are tickets; they are sent with the first data. A client that closed
            # without having read them would reset the connection, and lose what it had sent.
            self.transport.defer()
            return
        try:
            self.transport.flush()  # the rest, if any, is sent later
        except OSError:  # the first read raises the error
            pass

    # The end of one that failed

    async def refuse(self) -> None:  # noqa: ASYNC910 - there may be nothing to wait for
        """Send the alert, and wait until the peer has it.

        Closing with unread input would make the OS send a reset, and the alert would be lost;
        so input is discarded until the peer has the alert, or until ``close`` is called.

        Cancellation: the peer may not get it.
        """
        inner = self.transport.inner
        look = _FIRST_LOOK
        with trio.move_on_after(_FAREWELL):
            try:
                while self._goes_on() and not self.transport.flush():
                    await self._ready(self._watch.writing)
                if not self._goes_on():
                    return  # noqa: ASYNC910
                inner.shutdown(stdlib_socket.SHUT_WR)
                while self._goes_on() and inner.unacknowledged_bytes() != 0:
                    with trio.move_on_after(look):
                        await self._discard()
                        return
                    look = min(look * 2, _LAST_LOOK)
            except OSError:
                pass

    async def _discard(self) -> None:  # noqa: ASYNC910 - see refuse
        """Drop input until its end."""
        while self._goes_on():
            try:
                if not self.transport.inner.recv(_READ):
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

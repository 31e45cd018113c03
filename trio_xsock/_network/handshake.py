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

from trio_xsock._machines.time_limit import TimeLimit
from trio_xsock._machines.tls import TLSEngine
from trio_xsock._runtime.clock import runs_by_itself
from trio_xsock._runtime.guard import Parking, protect_from_ki
from trio_xsock._runtime.keeper import Keeper
from trio_xsock._values.errors import TLSError, translate_tls

from .kernel import unacknowledged_bytes
from .rejection import is_rejected
from .tls_transport import TLSTransport

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
    parking: Parking[BaseException] = Parking()
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
    parking: Parking[BaseException], handshake: Handshake, limit: TimeLimit
) -> BaseException | None:
    """Wait for the last step; the socket is looked at before the time is up."""
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
    """Moves the bytes of one handshake, by steps, which are plain functions; nobody has to wait.

    Args:
        keeper: of the socket it is for.
        transport: from ``wrap``; the caller goes on owning it.
        setup: as for ``wrap``.
        endpoint: as for ``wrap``.
        over: called once, in the last step: with ``None`` when the transport may be used and the
            peer is verified, else with what went wrong. Then ``refuse`` may be awaited.

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
        self._watch = transport.make_watch(keeper, self._on_ready, self._on_ready)
        self._want: Callable[[bool], None] = self._watch.reading

    def look(self) -> None:
        """Take in what has come, and answer it; to be called before its time is up."""
        if self._over is not None:
            self._on_ready()

    def begin(self) -> None:
        """Say what there is to say, if it is ours to begin; the rest follows by itself."""
        self._want(True)
        if not self._setup.server_side:
            self._step(self._go_on)

    def close(self) -> None:
        """Take no more steps; who waits in ``refuse`` goes on. Idempotent."""
        self._open = False
        self._over = None
        self._watch.close()
        if self._parking is not None:
            self._parking.unpark()

    def _goes_on(self) -> bool:
        """Whether nobody has called ``close``; to be asked again after each wait."""
        return self._open

    # Steps

    def _on_ready(self) -> None:
        if self._parking is None:
            self._step(self._take_in)
            return
        # At once: until the task runs the hub would find the same thing ready again and again.
        self._want(False)
        self._parking.unpark()

    def _step(self, step: Callable[[], bool]) -> None:
        """Take a step, and tell when it was the last."""
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
        """Take in what the peer has said; whether it is all over."""
        transport = self.transport
        if transport.unsent:
            return self._speak()
        try:
            data = transport.inner.recv(_READ)
        except (BlockingIOError, InterruptedError):
            return False
        if data:
            transport.note_stir()
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
        """Send what the engine has to say, and wait for the answer; never the last step."""
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
            # What there is are tickets; they go with what is sent first. A client that closed
            # without having read them would reset the connection, and destroy what it had sent.
            self.transport.defer()
            return
        try:
            self.transport.flush()  # what the OS does not take now need not hold up anybody
        except OSError:  # the first read will tell
            pass

    # The end of one that failed

    async def refuse(self) -> None:  # noqa: ASYNC910 - there may be nothing to wait for
        """Let the peer have the alert.

        To close with unread input would make the OS send a reset, which destroys what was
        sent; so that is discarded for as long as it takes until the peer has it, or until
        ``close`` is called.

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
                while self._goes_on() and unacknowledged_bytes(inner) != 0:
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

"""``start_tls``: a connection that has begun in plaintext goes on encrypted."""

from __future__ import annotations

import trio

from trio_xsock._engine.securing import Securing
from trio_xsock._runtime.guard import Parking, protect_from_ki
from trio_xsock._values.errors import InvalidStateError, SocketError
from trio_xsock._values.typing import Buffer

from .tcp import TCPSocket


@protect_from_ki
class StartTLS(Securing, TCPSocket):
    """A ``TCPSocket`` that can be upgraded, and whose calls wait for what is encrypted."""

    __slots__ = ()

    async def start_tls(self, *, announce: Buffer = b"", server_side: bool | None = None) -> None:
        """Encrypt this connection from here on. Xojo: ``SSLEnabled`` set while connected.

        With no checkpoint between, input is looked for, reading of plaintext stops, and
        ``announce`` is queued; every later byte of the peer's is taken for TLS. So nothing that
        somebody slipped in before the handshake is ever taken for what came after it.

        Args:
            announce: what to send as the last thing in plaintext, such as the reply to STARTTLS.
            server_side: which side of the handshake is ours; ``None`` for the server's if the
                connection was accepted.

        Raises:
            InvalidStateError: input is buffered, which would have come before TLS but be read
                after it; not connected; TLS is up already.
            TLSError: the handshake failed, or the options do not do; the connection has ended.
            LostConnectionError: the connection was lost meanwhile.
            SocketClosedError: we closed it, before or meanwhile.
            trio.BusyResourceError: another task is sending.

        Cancellation: seen at the start it changes nothing; later the connection is closed.
        Events: ``ErrorOccurred`` if it fails; no second ``Connected``.
        Source: RFC 3207 (STARTTLS), 6.
        """
        data = bytes(memoryview(announce))
        with self._send_conflict:
            await trio.lowlevel.checkpoint_if_cancelled()
            self._check_sending()
            self._check_upgrade()
            self._stop_plaintext()
            try:
                await self._upgrade(data, self._accepted if server_side is None else server_side)
            except SocketError as error:
                if self._transport is not None:
                    self._lose(error)
                await self._delivered()  # noqa: ASYNC120 - cancelled only if a handler failed
                raise
            except BaseException:  # cancelled: half of a handshake is good for nothing
                self.close()
                raise
        await self._delivered()

    def _check_upgrade(self) -> None:
        if self._secured is not None:
            raise InvalidStateError(f"{self!r}: TLS is up already")
        if self._buffer.size:
            raise InvalidStateError(
                f"{self!r}: {self._buffer.size} bytes came before TLS and would be read after it; "
                "read them first, and end the connection if they should not be there"
            )

    def _stop_plaintext(self) -> None:
        """From now on nobody reads, and nobody but us writes."""
        self._ssl_connecting = True
        self._output_ended = True
        self._reading = True  # so that nobody resumes it
        assert self._watch is not None
        self._watch.reading(False)

    async def _upgrade(self, announce: bytes, server_side: bool) -> None:
        setup = self._make_setup(server_side=server_side)
        if announce:
            self._ledger.queue(announce)
        if self._ledger.open:
            self._send_now()
            await self._wait_until_flushed()
        await self._secure(setup)
        self._output_ended = False
        self._resume_reading()

    # Meanwhile

    def _why_not_sending(self) -> SocketError:
        if self._ssl_connecting and self._loss is None and not self._closed_by_us:
            return InvalidStateError(f"{self!r}: TLS is about to begin; wait for start_tls()")
        return super()._why_not_sending()

    def _send_fin(self) -> None:
        if not self._ssl_connecting:
            super()._send_fin()

    def _begin_closing(self, grace: float) -> None:
        if not self._ssl_connecting:  # else there is nothing to be graceful about
            super()._begin_closing(grace)

    # Afterwards

    async def _wait_until_flushed(self) -> None:
        await super()._wait_until_flushed()
        if self._secured is not None and self._secured.unsent:
            parking: Parking[None] = Parking()
            self._drainers.append(parking)
            await self._parked(parking, lambda: self._drainers.remove(parking))

"""``TLSTransport``: encrypts what goes through another transport.

Ciphertext that the OS did not take is kept and sent later, even if the caller was cancelled;
otherwise a record would stay incomplete, and corrupt the stream. Until then ``send`` takes no more.
"""

from __future__ import annotations

import errno as errnos
import os
import ssl
from collections.abc import Callable
from typing import Any, Final

from trio_xsock._machines.dead_peers import Sample
from trio_xsock._machines.tls import RECORD, SLICE, TLSEngine
from trio_xsock._platform.sockets import NO_SIGNAL
from trio_xsock._runtime.faults import give_back
from trio_xsock._runtime.guard import protect_from_ki
from trio_xsock._runtime.keeper import Keeper
from trio_xsock._runtime.readiness import Watch
from trio_xsock._runtime.steps import Steps

from .transport import Transport

_MOST_ANSWERS: Final = SLICE
"""The most bytes of answers to keep for a peer that sends requests and does not read."""


@protect_from_ki
class TLSTransport:
    """Plaintext on this side, ciphertext on the other.

    Args:
        inner: the transport of the ciphertext.
        engine: encrypts and decrypts.
        https_compatible: an end without close_notify counts as a clean one.

    Attributes:
        inner: as above.
        engine: as above.
        moved: see ``Transport``.
        heard: anything was received from the peer since the handshake.
    """

    __slots__ = (
        "_deferred",
        "_ended",
        "_failure",
        "_lenient",
        "_shut",
        "_unsent",
        "_watch",
        "_wake",
        "engine",
        "heard",
        "inner",
        "moved",
    )

    most: int = SLICE
    takes_files: bool = False
    closes_silently: bool = False

    def __init__(
        self, inner: Transport, engine: TLSEngine, *, https_compatible: bool = False
    ) -> None:
        self.inner: Transport = inner
        self.engine = engine
        self._wake: Callable[[], None] | None = None
        self.moved: int = 0
        self.heard = False
        self._lenient = https_compatible
        self._unsent: bytes | memoryview = b""
        self._deferred = b""  # sent together with the next data
        self._ended = False  # we have sent our close_notify
        self._shut = False  # our direction of the connection below has ended
        self._failure: OSError | None = None  # of sending the engine's own output
        self._watch: TLSWatch | None = None

    def on_wake(self, wake: Callable[[], None], /) -> None:
        """See ``Transport``."""
        self._wake = wake

    # Input

    @property
    def encryption(self) -> TLSEngine:
        """See ``Transport``."""
        return self.engine

    @property
    def ready(self) -> bool:
        """See ``Transport``: the engine may have plaintext."""
        return self.engine.ready

    def recv(self, count: int, flags: int = 0, /) -> bytes:
        """Up to ``count`` bytes, or a record more; ``b""`` at the end.

        Raises:
            BlockingIOError: there is nothing now.
            ssl.SSLError: the input is invalid, or ended without close_notify.
            OSError: the connection is dead.
        """
        if flags:  # MSG_PEEK: is there unread input in the OS?
            return self.inner.recv(count, flags)
        engine = self.engine
        if not engine.ready:
            data = self.inner.recv(max(RECORD, count))
            if not data:
                return self._end_of_input()
            self.heard = True
            self.moved += len(data)
            engine.feed(data)
        try:
            plain = engine.decrypt(count + RECORD if count > RECORD else count)
        finally:
            if engine.has_output:
                self._answer()
        if engine.ready and self._wake is not None:
            self._wake()
        if plain or engine.ended:
            return plain
        raise BlockingIOError(errnos.EAGAIN, os.strerror(errnos.EAGAIN))

    def _end_of_input(self) -> bytes:
        if self._failure is not None:
            raise self._failure
        if not self._shut and self.inner.was_reset():  # a send got the error of the OS
            raise ConnectionResetError(errnos.ECONNRESET, os.strerror(errnos.ECONNRESET))
        if self._lenient:
            return b""
        text = "the peer ended the connection without close_notify"
        error = ssl.SSLEOFError(ssl.SSLErrorNumber.SSL_ERROR_EOF, text)
        error.reason = "UNEXPECTED_EOF_WHILE_READING"
        raise error

    def _answer(self) -> None:
        """Send the engine's own output: alerts, tickets, new keys."""
        try:
            self.flush()
        except OSError as exc:  # raised to the reader after all earlier input was read
            self._failure = exc
        if self.engine.has_output > _MOST_ANSWERS:
            error = ssl.SSLError(ssl.SSLErrorNumber.SSL_ERROR_SSL, "the peer reads no answers")
            error.reason = "PEER_READS_NO_ANSWERS"
            raise error

    # Output

    @property
    def unsent(self) -> bool:
        """Whether there is ciphertext that the OS has refused so far."""
        return bool(self._unsent)

    def send(self, data: bytes | memoryview, _flags: int = 0, /) -> int:
        """Encrypt and send a slice; returns how many bytes of ``data`` were taken.

        Raises:
            BlockingIOError: the OS has not taken all of the slice before.
            OSError: the connection is dead.
        """
        if self._unsent and not self.flush():
            raise BlockingIOError(errnos.EAGAIN, os.strerror(errnos.EAGAIN))
        size = len(data)
        if size > SLICE:
            data, size = memoryview(data)[:SLICE], SLICE
        ciphertext = self.engine.encrypt(data)
        if self._deferred:
            ciphertext, self._deferred = self._deferred + ciphertext, b""
        try:
            sent = self.inner.send(ciphertext, NO_SIGNAL)
        except (BlockingIOError, InterruptedError):
            sent = 0
        if sent < len(ciphertext):
            self._keep(memoryview(ciphertext)[sent:])
        return size

    def _keep(self, unsent: memoryview) -> None:
        self._unsent = unsent
        self._update_watch()

    def flush(self) -> bool:
        """Send pending ciphertext; return whether the OS took all of it.

        Raises:
            OSError: the connection is dead.
        """
        waited = bool(self._unsent)
        while data := self._unsent or self._output():
            try:
                sent = self.inner.send(data, NO_SIGNAL)
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError:
                self._unsent = b""
                self._update_watch()
                raise
            self._unsent = memoryview(data)[sent:] if sent < len(data) else b""
            self.moved += sent
            if self._unsent:
                break
        self._update_watch()
        if waited and not self._unsent and self._wake is not None:
            self._wake()
        return not self._unsent

    def _update_watch(self) -> None:
        if self._watch is not None:
            self._watch.update()

    def _output(self) -> bytes:
        data = self.engine.output()
        if data and self._deferred:
            data, self._deferred = self._deferred + data, b""
        return data

    def defer(self) -> None:
        """Send the engine's output together with the next data, not at once."""
        self._deferred += self.engine.output()

    def end(self) -> bool:
        """Send close_notify; return whether the OS took it, and everything before it.

        Raises:
            OSError: the connection is dead.
        """
        if not self._ended:
            self._ended = True
            self.engine.end()
        return self.flush()

    def shutdown(self, how: int, /) -> None:
        """End our direction of the inner transport."""
        self._shut = True
        self.inner.shutdown(how)

    def close(self) -> None:
        """Close, and drop unsent ciphertext. Idempotent."""
        watch, self._watch = self._watch, None
        self._wake = None
        if watch is not None:
            give_back(watch.close)
        self.inner.close()

    # Readiness

    def make_watch(self, keeper: Keeper, steps: Steps, /) -> Watch:
        """See ``Transport``."""
        self._watch = TLSWatch(self, self.inner.make_watch(keeper, steps))
        self._watch.update()
        return self._watch

    # Passed on to the inner transport

    def fileno(self) -> int:
        """The descriptor below."""
        return self.inner.fileno()

    def getsockname(self) -> Any:
        """Our address."""
        return self.inner.getsockname()

    def getpeername(self) -> Any:
        """The peer's address."""
        return self.inner.getpeername()

    def getsockopt(self, level: int, option: int, size: int = 0, /) -> Any:
        """Of the descriptor below."""
        return self.inner.getsockopt(level, option, size)

    def setsockopt(self, level: int, option: int, /, *value: Any) -> None:
        """Of the descriptor below."""
        self.inner.setsockopt(level, option, *value)

    @property
    def family(self) -> int:
        """Of the descriptor below."""
        return self.inner.family

    def was_reset(self) -> bool:
        """See ``Transport``: ``recv`` raises then."""
        return False

    def unacknowledged_bytes(self) -> int | None:
        """The pending ciphertext, and what the OS has; 0 when closed."""
        if self.inner.fileno() < 0:
            return 0
        held = len(self._unsent) + self.engine.has_output
        return held or self.inner.unacknowledged_bytes()

    def holds_input(self) -> bool:
        """See ``Transport``."""
        return self.engine.ready or self.inner.holds_input()

    def has_unread_input(self) -> bool:
        """See ``Transport``; a ticket that arrives after we closed causes a reset, too."""
        if self.inner.has_unread_input():
            return True
        # A server of TLS 1.3 sends tickets right after the handshake.
        may_be_greeted = not self.heard and self.engine.expects_tickets
        return may_be_greeted and self.unacknowledged_bytes() != 0  # None: nobody knows

    def take_sample(self) -> Sample | None:
        """See ``Transport``."""
        return self.inner.take_sample()


@protect_from_ki
class TLSWatch:
    """A watch that also watches for what the transport itself needs."""

    __slots__ = ("_inner", "_transport", "_unsent", "_wanted")

    hung_up = True  # the transport asks by itself

    def __init__(self, transport: TLSTransport, inner: Watch) -> None:
        self._inner = inner
        self._transport = transport
        self._wanted = False
        self._unsent = False

    def reading(self, wanted: bool, /) -> None:
        """See ``Watch.reading``."""
        self._inner.reading(wanted)

    def writing(self, wanted: bool, /) -> None:
        """See ``Watch.writing``."""
        self._wanted = wanted
        self._inner.writing(wanted or self._unsent)

    def report_hang_up(self) -> bool:
        """See ``Watch.report_hang_up``."""
        return self._inner.report_hang_up()

    def update(self) -> None:
        """The transport has begun to have pending ciphertext, or has none any more."""
        unsent = self._transport.unsent
        if unsent is not self._unsent:
            self._unsent = unsent
            self._inner.writing(self._wanted or unsent)

    def close(self) -> None:
        """See ``Watch.close``."""
        self._unsent = False  # a later call that wants nothing ends the watch
        self._inner.close()

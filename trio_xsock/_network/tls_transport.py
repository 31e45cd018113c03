"""``TLSTransport``: encrypts what goes through another transport.

Ciphertext that the OS did not take is kept and sent when it does, whatever became of the caller;
else a record would stay incomplete, and the stream be corrupt. Until then it takes no more.
"""

from __future__ import annotations

import errno as errnos
import os
import ssl
from collections.abc import Callable
from typing import Any, Final

from trio_xsock._machines.dead_peers import Sample
from trio_xsock._machines.tls import RECORD, SLICE, TLSEngine
from trio_xsock._runtime.faults import give_back
from trio_xsock._runtime.guard import protect_from_ki
from trio_xsock._runtime.keeper import Keeper
from trio_xsock._runtime.readiness import Step, Watch

from .transport import NO_SIGNAL, Transport

_MOST_ANSWERS: Final = SLICE
"""Bytes of ciphertext that the peer may have us keep for it, by asking and not reading."""


@protect_from_ki
class TLSTransport:
    """Plaintext on this side, ciphertext on the other.

    Args:
        inner: what moves the ciphertext: a socket, or another transport.
        engine: encrypts and decrypts.
        https_compatible: an end without close_notify is none to worry about.

    Attributes:
        inner: as above.
        engine: as above.
        moved: see ``Transport``.
        heard: anything came from the peer since its handshake.
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
        self._deferred = b""  # goes with the next that is sent
        self._ended = False  # we have sent our close_notify
        self._shut = False  # our direction of the connection below has ended
        self._failure: OSError | None = None  # of sending what the engine had to say
        self._watch: TLSWatch | None = None

    def on_wake(self, wake: Callable[[], None] | None, /) -> None:
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
            ssl.SSLError: what came is not in order, or ended without close_notify.
            OSError: the connection is dead.
        """
        if flags:  # MSG_PEEK: does the OS hold anything?
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
        if not self._shut and self.inner.was_reset():  # a send took the OS's error
            raise ConnectionResetError(errnos.ECONNRESET, os.strerror(errnos.ECONNRESET))
        if self._lenient:
            return b""
        text = "the peer ended the connection without close_notify"
        error = ssl.SSLEOFError(ssl.SSLErrorNumber.SSL_ERROR_EOF, text)
        error.reason = "UNEXPECTED_EOF_WHILE_READING"
        raise error

    def _answer(self) -> None:
        """Send what the engine has to say to the peer by itself: alerts, tickets, new keys."""
        try:
            self.flush()
        except OSError as exc:  # the reader learns of it when it has read what came before
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
        """Encrypt and send a slice; returns how many bytes of ``data`` it had.

        Raises:
            BlockingIOError: the OS has not taken all of the one before.
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
        """Give the OS ciphertext; whether it took all there is.

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
        """What there is to send has time until something else is sent."""
        self._deferred += self.engine.output()

    def end(self) -> bool:
        """Send close_notify; whether the OS took it, with all that was before it.

        Raises:
            OSError: the connection is dead.
        """
        if not self._ended:
            self._ended = True
            self.engine.end()
        return self.flush()

    def shutdown(self, how: int, /) -> None:
        """End our direction of the connection that carries us."""
        self._shut = True
        self.inner.shutdown(how)

    def close(self) -> None:
        """Close, with what there is unsent. Idempotent."""
        watch, self._watch = self._watch, None
        self._wake = None
        if watch is not None:
            give_back(watch.close)
        self.inner.close()

    # Readiness

    def make_watch(self, keeper: Keeper, read_step: Step, write_step: Step, /) -> Watch:
        """See ``Transport``."""
        self._watch = TLSWatch(self, self.inner.make_watch(keeper, read_step, write_step))
        self._watch.update()
        return self._watch

    # What is the same

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
        """What we hold, and what the OS holds; 0 when closed."""
        if self.inner.fileno() < 0:
            return 0
        held = len(self._unsent) + self.engine.has_output
        return held or self.inner.unacknowledged_bytes()

    def holds_input(self) -> bool:
        """See ``Transport``."""
        return self.engine.ready or self.inner.holds_input()

    def has_unread_input(self) -> bool:
        """See ``Transport``; a ticket that comes after we closed makes the OS reset, too."""
        if self.inner.has_unread_input():
            return True
        return self._may_be_greeted and bool(self.unacknowledged_bytes())

    @property
    def _may_be_greeted(self) -> bool:
        """The peer may have something to say by itself that has not come yet.

        A server of TLS 1.3 sends tickets after the handshake; it does so at once.
        """
        return not self.heard and self.engine.expects_tickets

    def take_sample(self) -> Sample | None:
        """What the kernel says."""
        return self.inner.take_sample()


@protect_from_ki
class TLSWatch:
    """A watch that asks to be called for the transport's own needs as well."""

    __slots__ = ("_inner", "_transport", "_unsent", "_wanted")

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

    def update(self) -> None:
        """The transport may have begun, or ceased, to hold ciphertext."""
        unsent = self._transport.unsent
        if unsent is not self._unsent:
            self._unsent = unsent
            self._inner.writing(self._wanted or unsent)

    def close(self) -> None:
        """See ``Watch.close``."""
        self._unsent = False  # whoever says afterwards that nothing is wanted means it
        self._inner.close()

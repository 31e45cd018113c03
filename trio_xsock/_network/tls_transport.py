"""A transport that encrypts: what a socket takes for its descriptor when it speaks TLS.

It has the manners of a non-blocking ``socket.socket``, so that all the steps of a connection
work on it as they are. What they cannot know of, it does by itself: ciphertext that the OS did
not take is sent on when it does, whatever has become of who sent it; else a record would stay
cut off, and the stream be corrupt. Until then it takes no more.
"""

from __future__ import annotations

import errno as errnos
import os
import socket as stdlib_socket
import ssl
from collections.abc import Callable
from typing import Any, Final

from trio_xsock._machines.dead_peers import Sample
from trio_xsock._machines.tls import RECORD, SLICE, TLSEngine
from trio_xsock._runtime.faults import give_back
from trio_xsock._runtime.guard import protect_from_ki
from trio_xsock._runtime.keeper import Keeper
from trio_xsock._runtime.readiness import Step, Watch, watch_socket

from .kernel import unacknowledged_bytes, was_reset
from .tcp_info import take_sample

_MOST_ANSWERS: Final = SLICE
"""Bytes of ciphertext that the peer may have us keep for it, by asking and not reading."""

_NO_SIGNAL: Final[int] = getattr(stdlib_socket, "MSG_NOSIGNAL", 0)


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
        wake: called when ``recv`` should be called again, although the OS has nothing.
        drained: called when the OS has taken all that it had refused before.
        stirred: called when ciphertext has moved of which ``recv`` and ``send`` do not tell.
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
        "drained",
        "engine",
        "heard",
        "inner",
        "stirred",
        "wake",
    )

    def __init__(self, inner: Any, engine: TLSEngine, *, https_compatible: bool = False) -> None:
        self.inner: Any = inner
        self.engine = engine
        self.wake: Callable[[], None] | None = None
        self.drained: Callable[[], None] | None = None
        self.stirred: Callable[[], None] | None = None
        self.heard = False
        self._lenient = https_compatible
        self._unsent: bytes | memoryview = b""
        self._deferred = b""  # goes with the next that is sent
        self._ended = False  # we have sent our close_notify
        self._shut = False  # our direction of the connection below has ended
        self._failure: OSError | None = None  # of sending what the engine had to say
        self._watch: TLSWatch | None = None

    # Input

    def recv(self, count: int, flags: int = 0) -> bytes:
        """Up to ``count`` bytes, or a record more; ``b""`` at the end.

        Raises:
            BlockingIOError: there is nothing now.
            ssl.SSLError: what came is not in order, or ended without close_notify.
            OSError: the connection is dead.
        """
        if flags:  # MSG_PEEK: does the OS hold anything?
            data: bytes = self.inner.recv(count, flags)
            return data
        engine = self.engine
        if not engine.ready:
            data = self.inner.recv(max(RECORD, count))
            if not data:
                return self._end_of_input()
            self.heard = True
            engine.feed(data)
        try:
            plain = engine.decrypt(count + RECORD if count > RECORD else count)
        finally:
            if engine.has_output:
                self._answer()
        if engine.ready and self.wake is not None:
            self.wake()
        if plain or engine.ended:
            return plain
        self.note_stir()
        raise BlockingIOError(errnos.EAGAIN, os.strerror(errnos.EAGAIN))

    def note_stir(self) -> None:
        """Ciphertext has moved."""
        if self.stirred is not None:
            self.stirred()

    def _end_of_input(self) -> bytes:
        if self._failure is not None:
            raise self._failure
        if not self._shut and was_reset(self.inner):  # a send took the OS's error
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

    def send(self, data: bytes | memoryview, _flags: int = 0) -> int:
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
            sent = self.inner.send(ciphertext, _NO_SIGNAL)
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
                sent: int = self.inner.send(data, _NO_SIGNAL)
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError:
                self._unsent = b""
                self._update_watch()
                raise
            self._unsent = memoryview(data)[sent:] if sent < len(data) else b""
            if sent:
                self.note_stir()
            if self._unsent:
                break
        self._update_watch()
        if waited and not self._unsent and self.drained is not None:
            self.drained()
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

    def shutdown(self, how: int) -> None:
        """End our direction of the connection that carries us."""
        self._shut = True
        self.inner.shutdown(how)

    def close(self) -> None:
        """Close, with what there is unsent. Idempotent."""
        watch, self._watch = self._watch, None
        self.wake = self.drained = self.stirred = None
        if watch is not None:
            give_back(watch.close)
        self.inner.close()

    # Readiness

    def make_watch(self, keeper: Keeper, read_step: Step, write_step: Step, /) -> Watch:
        """See ``SelfWatching``."""
        self._watch = TLSWatch(self, watch_socket(keeper, self.inner, read_step, write_step))
        self._watch.update()
        return self._watch

    # What is the same

    def fileno(self) -> int:
        """The descriptor below."""
        return int(self.inner.fileno())

    def getsockname(self) -> Any:
        """Our address."""
        return self.inner.getsockname()

    def getpeername(self) -> Any:
        """The peer's address."""
        return self.inner.getpeername()

    def setsockopt(self, level: int, option: int, value: int | bytes) -> None:
        """Of the descriptor below."""
        self.inner.setsockopt(level, option, value)

    def unacknowledged_bytes(self) -> int | None:
        """What we hold, and what the OS holds; 0 when closed."""
        if self.inner.fileno() < 0:
            return 0
        held = len(self._unsent) + self.engine.has_output
        return held or unacknowledged_bytes(self.inner)

    @property
    def may_be_greeted(self) -> bool:
        """The peer may have something to say by itself that has not come yet.

        A server of TLS 1.3 sends tickets after the handshake; it does so at once.
        """
        return not self.heard and self.engine.expects_tickets

    def take_sample(self) -> Sample | None:
        """What the kernel says."""
        return take_sample(self.inner)


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

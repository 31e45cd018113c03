"""A transport between a socket and its own, which can be told to misbehave.

It is put in place for the first fault of a connection, and taken out again when the last one is
over and nothing is on its way any more.
"""

from __future__ import annotations

import errno as errnos
import socket as stdlib_socket
from collections.abc import Callable
from typing import Any

import trio

from trio_xsock._machines.dead_peers import Sample
from trio_xsock._machines.tls import TLSEngine
from trio_xsock._network.transport import Transport
from trio_xsock._platform import sockets as platform
from trio_xsock._runtime.guard import protect_from_ki
from trio_xsock._runtime.keeper import Keeper
from trio_xsock._runtime.readiness import Watch
from trio_xsock._runtime.steps import Steps
from trio_xsock._values.typing import Address

from ._arrivals import Arrivals
from ._memory import MemoryTransport, os_error
from ._watch import NEVER, NOW, LayeredWatch
from ._weather import MOST, Cut, Fault, Weather

_SEND_BUFFER = 2**16


@protect_from_ki
class FaultyTransport:
    """A transport that passes on to another what the faults let through.

    Args:
        inner: the other.
        remove: called with ``inner`` when there is nothing left to do here.

    Attributes:
        faults: what is wrong at present; call ``update`` after a change.
    """

    def __init__(self, inner: Transport, remove: Callable[[Transport], None]) -> None:
        self.faults: list[Fault] = []
        self._weather = Weather()
        self._inner = inner
        self._remove: Callable[[Transport], None] | None = remove
        self._name: Address = inner.getsockname()
        self._peer_name: Address = inner.getpeername()
        self._arrivals = Arrivals(inner)
        self._reset = self._closed = False
        self._end_is_due = self._fin_is_due = False
        self._dropped = 0
        self._dropping_since = 0.0
        self._watch: LayeredWatch | None = None

    most: int = MOST
    takes_files: bool = False
    closes_silently: bool = False
    ready: bool = False

    @property
    def encryption(self) -> TLSEngine | None:
        """See ``Transport``: that of the inner transport."""
        return self._inner.encryption

    @property
    def moved(self) -> int:
        """See ``Transport``; of the inner transport."""
        return self._inner.moved

    @property
    def unsent(self) -> bool:
        """See ``Transport``: what the inner transport holds."""
        return self._inner.unsent

    def on_wake(self, wake: Callable[[], None], /) -> None:
        """See ``Transport``; of the inner transport."""
        self._inner.on_wake(wake)

    def flush(self) -> bool:
        """See ``Transport``; of the inner transport."""
        return self._reset or self._inner.flush()

    def end(self) -> bool:
        """See ``Transport``; of the inner transport."""
        if self._reset or self._weather.lets_out:
            return self._reset or self._inner.end()
        self._end_is_due = True
        return True

    # Faults

    def update(self) -> None:
        """The faults have changed, or bytes have moved."""
        weather = self._weather = Weather.of(self.faults)
        self._arrivals.change(weather)
        if not weather.dropping:
            self._dropped = 0
        if weather.lets_out:
            self._let_ends_out()
        if not weather.passable and not self._reset:
            self._break()
        if not self._closed:
            self._arrivals.take_kept()
        if self._watch is not None:
            self._watch.refresh()
            self._remove_if_idle()

    def _let_ends_out(self) -> None:
        if self._end_is_due and not self._reset:
            self._end_is_due = False
            try:
                self._inner.end()
            except OSError as exc:
                self._arrivals.note_end(exc)
        if self._closed:
            self._close_inner(reset=self._arrivals.has_unread())
        elif self._fin_is_due:
            self._fin_is_due = False
            try:
                self._inner.shutdown(stdlib_socket.SHUT_WR)
            except OSError as exc:
                self._arrivals.note_end(exc)

    def _break(self) -> None:
        """Reset the connection: both sides learn of it at once."""
        self._reset = True
        self._arrivals.break_off()
        if self._watch is not None:
            self._watch.close_inner()
        self._close_inner(reset=True)

    def _remove_if_idle(self) -> None:
        remove = self._remove
        if remove is None or self.faults or self._arrivals or self._fin_is_due:
            return
        self._remove = None
        remove(self._inner)

    def _count(self, moved: int) -> None:
        cuts = [fault for fault in self.faults if isinstance(fault, Cut)]
        for cut in cuts:
            cut.left -= moved
        if cuts:
            self.update()

    # Arriving

    def wants_input(self) -> bool:
        """Whether the inner transport should be read."""
        return not self._closed and self._arrivals.may_take()

    def take_in(self) -> None:
        """Something has arrived at the inner transport."""
        if self.wants_input():
            self._arrivals.take_piece()
            self.update()

    def recv(self, count: int, flags: int = 0, /) -> bytes:
        """Up to ``count`` bytes that have arrived; ``b""`` at the end."""
        peek = bool(flags & stdlib_socket.MSG_PEEK)
        data = self._arrivals.read(count, peek=peek)
        if not peek:
            self._count(len(data))
            self.update()
        return data

    # Sending

    def send(self, data: bytes | memoryview, flags: int = 0, /) -> int:
        """Take some of ``data``; returns how many bytes that was."""
        if self._weather.stalled:
            raise os_error(errnos.EAGAIN)
        if self._reset:
            self._arrivals.report_end()
            raise os_error(errnos.EPIPE)
        if self._weather.dropping:
            return self._drop(len(data))
        with memoryview(data) as view:
            sent = self._pass_on(view[: self._weather.passable], flags)
        self._count(sent)
        return sent

    def _drop(self, size: int) -> int:
        """Take bytes as an OS does whose packets get lost: until its send buffer is full."""
        taken = min(size, _SEND_BUFFER - self._dropped)
        if not taken:
            raise os_error(errnos.EAGAIN)
        if not self._dropped:
            self._dropping_since = trio.current_time()
        self._dropped += taken
        return taken

    def _pass_on(self, data: memoryview, flags: int) -> int:
        try:
            return self._inner.send(data, flags)
        except (BlockingIOError, InterruptedError):
            raise
        except OSError as exc:
            while self._arrivals.take_piece():  # what came before the reset can be read
                pass
            self._arrivals.note_end(exc)
            if self._arrivals.end_is_late():
                return len(data)  # the reset is late, too: we do not know of it yet
            self._arrivals.report_end()
            raise

    def shutdown(self, how: int, /) -> None:
        """End our direction, when the faults allow it."""
        if self._reset:
            raise os_error(errnos.ENOTCONN)
        if self._weather.lets_out:
            self._inner.shutdown(how)
        else:
            self._fin_is_due = True

    def close(self) -> None:
        """Close, when the faults allow it."""
        self._closed = True
        self._remove = self._watch = None
        if self._weather.lets_out:
            self._let_ends_out()

    def _close_inner(self, *, reset: bool) -> None:
        inner = self._inner
        if isinstance(inner, MemoryTransport):
            (inner.reset if reset else inner.close)()
            return
        if reset and inner.fileno() >= 0:
            inner.setsockopt(
                stdlib_socket.SOL_SOCKET, stdlib_socket.SO_LINGER, platform.RESET_ON_CLOSE
            )
        inner.close()

    # Facts

    def fileno(self) -> int:
        """The inner transport's descriptor, -1 when there is none."""
        return self._inner.fileno()

    def getsockname(self) -> Address:
        """What this end is called."""
        return self._name

    def getpeername(self) -> Address:
        """What the other end is called."""
        return self._peer_name

    def getsockopt(self, level: int, option: int, size: int = 0, /) -> object:
        """As the inner transport does."""
        return self._inner.getsockopt(level, option, size)

    def setsockopt(self, level: int, option: int, /, *value: Any) -> None:
        """As the inner transport does."""
        if not self._reset:
            self._inner.setsockopt(level, option, *value)

    @property
    def family(self) -> int:
        """That of the inner transport."""
        return self._inner.family

    def was_reset(self) -> bool:
        """See ``Transport``: ``recv`` raises then."""
        return False

    def holds_input(self) -> bool:
        """See ``Transport``; of what has arrived here."""
        return self._arrivals.has_unread()

    def has_unread_input(self) -> bool:
        """What has arrived here, or at the inner transport."""
        return self._arrivals.has_unread() or (not self._reset and self._inner.has_unread_input())

    def unacknowledged_bytes(self) -> int:
        """What was dropped, and what the inner transport knows of."""
        known = 0 if self._reset else self._inner.unacknowledged_bytes()
        return self._dropped + (known or 0)

    def take_sample(self) -> Sample | None:
        """A peer of whom nothing is heard, or what the inner transport says."""
        if self._dropped:
            silence = trio.current_time() - self._dropping_since
            return Sample(in_flight=True, unanswered=True, last_ack=silence)
        return None if self._reset else self._inner.take_sample()

    # Readiness

    def make_watch(self, keeper: Keeper, steps: Steps, /) -> Watch:
        """See ``Transport``."""
        self._watch = LayeredWatch(keeper, self, self._inner, steps)
        return self._watch

    def readable_at(self) -> float:
        """See ``Readiness``."""
        return self._arrivals.readable_at()

    def writable_at(self) -> float:
        """See ``Readiness``; of what does not depend on the inner transport."""
        if self._weather.stalled:
            return NEVER
        takes = self._weather.dropping and self._dropped < _SEND_BUFFER
        return NOW if self._reset or takes else NEVER

    def passes_on(self) -> bool:
        """Whether the inner transport decides if bytes can be sent."""
        return self._weather.lets_out and not self._reset

"""Writing to a descriptor without ever blocking the event loop.

A pipe that is not read, a stopped terminal or a slow disk may block a write for any time. So a
thread writes, and all other code only puts bytes into a queue. The thread also waits for
room if the descriptor is non-blocking, and notices a reader that has closed its end even while
there is nothing to write.

A full disk costs the lines that did not fit, not later ones; a sink whose reader has closed takes
nothing any more.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol, TextIO

import trio

from trio_xsock._platform import system as platform

LIMIT: Final = 2**20
"""The most bytes that wait; more are lost."""
_LOW: Final = 2**16
_SLICE: Final = 0.05
_GONE: Final = frozenset({errno.EPIPE, errno.ECONNRESET, errno.ESHUTDOWN})


class Sink(Protocol):
    """Where bytes go.

    Attributes:
        gone: the reader has closed its end; what is put is dropped.
        error: the error of the first failed write, other than that.
    """

    gone: bool
    error: OSError | None

    @property
    def waiting(self) -> int:
        """Bytes that were put and are not written yet."""
        ...

    def put(self, data: bytes) -> bool:
        """Write ``data`` soon; False if too much waits already. Never blocks."""
        ...

    async def until(self, reached: Callable[[], bool]) -> None:
        """Wait until ``reached()`` returns True; it is called after each write."""
        ...

    def drain(self, give_up: Callable[[], bool]) -> None:
        """Block until all is written, the reader has closed, or ``give_up()`` returns True."""
        ...

    def close(self) -> None:
        """Close the sink, not its descriptor; what is put afterwards is dropped. Idempotent."""
        ...


class DirectSink:
    """A sink over a Python stream that has no descriptor; writes at once."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.gone = False
        self.error: OSError | None = None

    @property
    def waiting(self) -> int:
        """See ``Sink``."""
        return 0

    def put(self, data: bytes) -> bool:
        """See ``Sink``."""
        if self.gone:
            return True
        try:
            self._stream.write(data.decode(self._stream.encoding or "utf-8", "backslashreplace"))
            self._stream.flush()
        except OSError as exc:
            if exc.errno in _GONE:
                self.gone = True
            else:
                self.error = self.error or exc
        return True

    async def until(self, reached: Callable[[], bool]) -> None:
        """See ``Sink``."""
        await trio.lowlevel.checkpoint()
        if not reached():
            await trio.sleep_forever()

    def drain(self, give_up: Callable[[], bool]) -> None:
        """See ``Sink``."""

    def close(self) -> None:
        """See ``Sink``; the stream belongs to the caller."""


class ThreadSink:
    """A sink over a descriptor, with a thread that writes.

    If no thread can be started it writes in the caller's.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._changed = threading.Condition()
        self._queue: deque[bytes] = deque()
        self._size = 0
        self._watchers: set[Callable[[], None]] = set()
        self._thread: threading.Thread | None = None
        self._wake: tuple[int, int] | None = None
        self._ending = False
        self._torn = False
        self.gone = False
        self.error: OSError | None = None

    @property
    def waiting(self) -> int:
        """See ``Sink``."""
        return self._size

    def put(self, data: bytes) -> bool:
        """See ``Sink``."""
        if self.gone or not data:
            return True
        with self._changed:
            if self._size > LIMIT:
                return False
            self._queue.append(data)
            self._size += len(data)
            self._changed.notify_all()
        self._poke()
        return True

    async def until(self, reached: Callable[[], bool]) -> None:
        """See ``Sink``."""
        await trio.lowlevel.checkpoint()
        if self._thread is None:
            self._poke()
        token = trio.lowlevel.current_trio_token()
        while not reached():
            event = trio.Event()
            watcher = functools.partial(_set_soon, token, event)
            with self._changed:
                self._watchers.add(watcher)
            try:
                if not reached():  # nothing has changed in between
                    await event.wait()
            finally:
                with self._changed:
                    self._watchers.discard(watcher)

    def drain(self, give_up: Callable[[], bool]) -> None:
        """See ``Sink``."""
        with self._changed:
            while self._size and not self.gone and not give_up():
                self._changed.wait(_SLICE)  # in slices: a signal is seen in between only

    def close(self) -> None:
        """See ``Sink``."""
        thread, self._thread = self._thread, None
        with self._changed:
            idle = self.gone or not self._size
            self.gone = self._ending = True
            self._changed.notify_all()
        if thread is None or not idle:
            return  # it may be blocked in a write: it is a daemon, and holds nothing needed
        if self._wake is not None:
            os.write(self._wake[1], b"x")
        thread.join()
        if self._wake is not None:
            for fd in self._wake:
                os.close(fd)
            self._wake = None

    # The thread

    def _poke(self) -> None:
        """Wake the thread; start it at the first call."""
        with self._changed:
            if self._thread is None:
                self._start()
            elif self._wake is not None:
                with contextlib.suppress(BlockingIOError):  # it has been woken already
                    os.write(self._wake[1], b"x")

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name="xsock output", daemon=True)
        if platform.has_poll():
            self._wake = os.pipe()
            for fd in self._wake:
                platform.set_blocking(fd, False)
        try:
            thread.start()
        except RuntimeError:  # the system starts no further thread
            if self._wake is not None:
                for fd in self._wake:
                    os.close(fd)
                self._wake = None
            while self._queue:
                self._write_next()
        else:
            self._thread = thread

    def _run(self) -> None:
        while self._await_work():
            self._write_next()

    def _await_work(self) -> bool:
        """Wait until there is something to write; False if there will be nothing more."""
        while not self._queue:
            if self._ending or self.gone:
                return False
            if self._wake is None:
                with self._changed:
                    if not self._queue and not self._ending:
                        self._changed.wait()
            else:
                self._await_wake(self._wake[0])
        return True

    def _await_wake(self, wake: int) -> None:
        """Wait to be woken, or until the reader closes its end."""
        poll = platform.make_poll()
        poll.register(wake, platform.POLLIN)
        poll.register(self._fd, 0)  # ERR, HUP and NVAL are reported in any case
        ready = dict(poll.poll())
        if wake in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(wake, 4096)
        state = ready.get(self._fd, 0)
        if state & platform.POLLNVAL:
            self._settle(error=OSError(errno.EBADF, os.strerror(errno.EBADF)))
        elif state & (platform.POLLERR | platform.POLLHUP) and not self._queue:
            self._settle(gone=True)

    def _write_next(self) -> None:
        data = self._queue[0]
        try:
            self._write(b"\n" + data if self._torn else data)
        except OSError as exc:
            gone = exc.errno in _GONE or (exc.errno == errno.EIO and os.isatty(self._fd))
            self._settle(gone=gone, error=None if gone else exc, written=len(data))
        else:
            self._torn = False
            self._settle(written=len(data))

    def _write(self, data: bytes) -> None:
        refused = 0
        with memoryview(data) as view:
            done = 0
            while done < len(data):
                try:
                    done += os.write(self._fd, view[done:])
                    refused = 0
                except BlockingIOError:  # another program has made it non-blocking
                    refused += 1
                    self._await_room(refused)
                except OSError:
                    self._torn = self._torn or done > 0
                    raise

    def _await_room(self, refused: int) -> None:
        if refused > 1 or not platform.has_poll():  # what it said of its room is not so
            time.sleep(_SLICE)
        else:
            poll = platform.make_poll()
            poll.register(self._fd, platform.POLLOUT)
            poll.poll()

    def _settle(
        self, *, gone: bool = False, error: OSError | None = None, written: int = 0
    ) -> None:
        """Record the result of a write, and wake the waiting tasks."""
        with self._changed:
            if written:
                self._queue.popleft()
                self._size -= written
            self.error = self.error or error
            if gone or (error is not None and error.errno == errno.EBADF):
                self.gone = True
                self._queue.clear()
                self._size = 0
            self._changed.notify_all()
            for watcher in self._watchers:
                watcher()


def _set_soon(token: trio.lowlevel.TrioToken, event: trio.Event) -> None:
    with contextlib.suppress(trio.RunFinishedError):
        token.run_sync_soon(event.set)


def open_sink(stream: TextIO) -> Sink:
    """A sink for the descriptor of a Python stream."""
    try:
        fd = stream.fileno()
        stream.flush()
    except (OSError, ValueError):  # io.UnsupportedOperation is both
        return DirectSink(stream)
    if platform.console_wants_text() and stream.isatty():
        return DirectSink(stream)
    return ThreadSink(fd)


def has_room(sink: Sink) -> bool:
    """Whether there is room to write without waiting."""
    return sink.gone or sink.error is not None or sink.waiting <= _LOW


def is_empty(sink: Sink) -> bool:
    """Whether all that was put is written, or dropped."""
    return sink.gone or not sink.waiting

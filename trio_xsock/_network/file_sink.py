"""Files as places for received bytes: opened and written in threads, and exact in every number."""

from __future__ import annotations

import errno as errnos
import io
import os
from typing import Any, Final

import trio

from trio_xsock._values.errors import OutOfMemoryError

from .file_source import FileArgument, check_binary
from .threads import run_in_thread

# A named pipe that nobody reads would be waited for; so opening it fails.
_FLAGS: Final[int] = os.O_WRONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)


class FileSink:
    """A file that bytes are written to, one piece after the other.

    Args:
        file: what to write to.
        ours: whether we have opened it.

    Attributes:
        written: bytes that it took.
    """

    __slots__ = ("_file", "_ours", "written")

    def __init__(self, file: Any, *, ours: bool) -> None:
        self._file = file
        self._ours = ours
        self.written = 0

    async def write(self, data: bytes) -> None:
        """Write a piece, in a thread.

        Raises:
            OSError: what writing said; ``written`` tells how much the file took before.
            OutOfMemoryError: no thread is left to write in; nothing was written.

        Cancellation: is not seen, for else nobody knew what was written.
        """
        with trio.CancelScope(shield=True):
            await run_in_thread("write the file", self._write, data)

    def _write(self, data: bytes) -> None:
        with memoryview(data) as view:
            done = 0
            while done < len(view):
                count = self._file.write(view[done:])
                if count is None:
                    text = f"nothing can be written now to {self._file!r}"
                    raise BlockingIOError(errnos.EAGAIN, text)
                done += count
                self.written += count

    async def finish(self) -> None:  # noqa: ASYNC910 - a thread is one, or none is left
        """Close what is ours, and have the user's own file hand on what it holds.

        Raises:
            OSError: what the file said.

        Cancellation: is not seen.
        """
        with trio.CancelScope(shield=True):
            try:
                await run_in_thread("close the file", self._finish)
            except OutOfMemoryError:
                self._finish()

    def _finish(self) -> None:
        if self._ours:
            self._file.close()
            return
        flush = getattr(self._file, "flush", None)
        if flush is not None:
            flush()


async def open_sink(file: FileArgument, *, overwrite: bool) -> FileSink:
    """Open a file to write to, if it is not open.

    Args:
        file: a path; or a file opened for binary writing, which stays open.
        overwrite: whether a path may be that of a file that is there.

    Raises:
        TypeError: neither a path nor a binary file.
        ValueError: a file that is closed, or not open for writing.
        OSError: what opening said (a ``FileExistsError``, a folder, no permission).
        OutOfMemoryError: no thread is left to open it in.

    Cancellation: seen at the start; then it is not opened.
    """
    if not isinstance(file, str | os.PathLike):
        await trio.lowlevel.checkpoint()
        return FileSink(file, ours=False)
    return FileSink(await run_in_thread(f"open {file!r}", _open, file, overwrite), ours=True)


def _open(path: str | os.PathLike[str], overwrite: bool) -> io.FileIO:
    flags = _FLAGS | os.O_CREAT | (os.O_TRUNC if overwrite else os.O_EXCL)
    try:
        fileno = os.open(path, flags, 0o666)
    except FileExistsError as exc:
        text = "there is such a file; overwrite=True replaces it"
        raise FileExistsError(errnos.EEXIST, text, os.fspath(path)) from exc
    try:
        if hasattr(os, "O_NONBLOCK"):
            os.set_blocking(fileno, True)
        return io.FileIO(fileno, "wb")
    except BaseException:
        os.close(fileno)
        raise


def check_sink(file: object) -> None:
    """Refuse what is neither a path nor a file that bytes can be written to.

    Raises:
        TypeError, ValueError: see ``open_sink``.
    """
    if isinstance(file, str | os.PathLike):
        return
    check_binary(file, "write", "writable", "writing")

"""Files for received bytes: opened and written in threads, with exact counts."""

from __future__ import annotations

import errno as errnos
import io
import os
from typing import Any, Final

import trio

from trio_xsock._platform import files as platform
from trio_xsock._platform.system import set_blocking
from trio_xsock._values.errors import OutOfMemoryError

from .file_source import FileArgument, check_binary
from .threads import run_in_thread

# Opening a named pipe without a reader fails, because it would wait for one.
_FLAGS: Final[int] = os.O_WRONLY | platform.BINARY | platform.NON_BLOCKING


class FileSink:
    """A file that bytes are written to, one piece after the other.

    Args:
        file: what to write to.
        ours: whether it was opened here, and is to be closed here.

    Attributes:
        written: bytes that were written.
    """

    __slots__ = ("_file", "_ours", "written")

    def __init__(self, file: Any, *, ours: bool) -> None:
        self._file = file
        self._ours = ours
        self.written = 0

    async def write(self, data: bytes) -> None:
        """Write a piece, in a thread.

        Raises:
            OSError: writing failed; ``written`` says how much was written before.
            OutOfMemoryError: the system starts no thread; nothing was written.

        Cancellation: shielded, because otherwise it would be unknown what was written.
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
        """Close a file that was opened here; flush the user's own file.

        Raises:
            OSError: closing or flushing failed.

        Cancellation: shielded.
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
        overwrite: whether a path may be that of an existing file.

    Raises:
        TypeError: neither a path nor a binary file.
        ValueError: a file that is closed, or not open for writing.
        OSError: opening failed (a ``FileExistsError``, a folder, no permission).
        OutOfMemoryError: the system starts no thread.

    Cancellation: at the start only; then it is not opened.
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
        set_blocking(fileno, True)
        return io.FileIO(fileno, "wb")
    except BaseException:
        os.close(fileno)
        raise


def check_sink(file: object) -> None:
    """Raise unless ``file`` is a path, or a file that bytes can be written to.

    Raises:
        TypeError, ValueError: see ``open_sink``.
    """
    if isinstance(file, str | os.PathLike):
        return
    check_binary(file, "write", "writable", "writing")

"""The plain reads of a stream: whatever the receive buffer holds; they never wait."""

from __future__ import annotations

from typing import overload

from trio_xsock._engine.queueing import QueueCalls
from trio_xsock._machines.state import CONNECTED, CONNECTING, LISTENING
from trio_xsock._network.options import check_count
from trio_xsock._runtime.guard import protect_from_ki


@protect_from_ki
class ReadCalls(QueueCalls):
    """What a ``TCPSocket`` can do with the bytes that have arrived."""

    __slots__ = ()

    @property
    def bytes_available(self) -> int:
        """Bytes in the receive buffer. Xojo: ``BytesAvailable``."""
        self._settle()
        return self._buffer.size

    @property
    def end_of_file(self) -> bool:
        """The receive buffer is empty now; more may come. Xojo: ``EndOfFile``."""
        self._settle()
        return not self._buffer.size

    @property
    def at_eof(self) -> bool:
        """The receive buffer is empty and nothing more can come."""
        self._settle()
        return not self._buffer.size and not self._more_can_come()

    def _more_can_come(self) -> bool:
        state = self._state
        if state is CONNECTED:
            return not self._input_ended
        return state in (CONNECTING, LISTENING)

    @overload
    def read(self, n: int, encoding: None = None) -> bytes: ...
    @overload
    def read(self, n: int, encoding: str) -> str: ...
    def read(self, n: int, encoding: str | None = None) -> bytes | str:
        """Take up to ``n`` bytes from the buffer; never waits. Xojo: ``Read``.

        Args:
            n: how many bytes at the most, whatever the encoding.
            encoding: give text; a character is never split, an incomplete one at the end
                stays in the buffer.

        Returns:
            Less than ``n`` bytes, or nothing, when there is less.

        Raises:
            ValueError, TypeError: ``n`` is negative, or not an int.
            UnicodeDecodeError: undecodable bytes, or the stream ended inside a character;
                nothing was taken, so ``read`` without an encoding still gets at them.
            LookupError: no such encoding.
        """
        check_count("n", n)
        self._settle()
        if encoding is None:
            data: bytes | str = self._buffer.take(n)
        else:
            data, used = self._decode(n, encoding)
            self._buffer.skip(used)
        self._resume_reading()
        return data

    @overload
    def read_all(self, encoding: None = None) -> bytes: ...
    @overload
    def read_all(self, encoding: str) -> str: ...
    def read_all(self, encoding: str | None = None) -> bytes | str:
        """Take everything from the buffer; never waits. Xojo: ``ReadAll``.

        Takes back a ``DataAvailable`` that still waits in a channel.

        Args:
            encoding: as for ``read``.

        Raises:
            UnicodeDecodeError, LookupError: as for ``read``.
        """
        if self._borrower is not None:
            self._borrower.settle()
        if encoding is None:
            data: bytes | str = self._buffer.take_all()
            if not self._reading:
                self._resume_reading()
        else:
            data = self.read(self._buffer.size, encoding)
        self._unannounced = False
        if self._hub.has_channels:
            self._hub.withdraw_data()
        return data

    @overload
    def lookahead(self, encoding: None = None) -> bytes: ...
    @overload
    def lookahead(self, encoding: str) -> str: ...
    def lookahead(self, encoding: str | None = None) -> bytes | str:
        """Everything in the buffer, which stays there. Xojo: ``Lookahead``.

        Args:
            encoding: as for ``read``.

        Raises:
            UnicodeDecodeError, LookupError: as for ``read``.
        """
        self._settle()
        if encoding is None:
            return self._buffer.peek_all()
        return self._decode(self._buffer.size, encoding)[0]

    def _decode(self, count: int, encoding: str) -> tuple[str, int]:
        return self._buffer.decode(count, encoding, final=not self._more_can_come())

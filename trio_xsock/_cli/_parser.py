"""Parsing one frame of untrusted bytes, without I/O.

The parsers are called *untrusted* because their input is: they take any bytes in
pieces of any size, never store more than the longest frame, and raise
:class:`TransferFormatError` and nothing else.
"""

from __future__ import annotations

import abc
from typing import Generic, TypeVar

from ._errors import TransferFormatError

T = TypeVar("T")


class UntrustedParser(abc.ABC, Generic[T]):
    """Parses one frame of untrusted bytes.

    Receive at most :attr:`wanted` bytes, :meth:`feed` them, and repeat until it returns a frame.
    So nothing beyond the frame is ever taken from the stream.
    """

    def __init__(self, magic: bytes, fixed_size: int) -> None:
        self._magic = magic
        self._fixed_size = fixed_size
        self._total: int | None = None
        self._raw = bytearray()
        self._failure: TransferFormatError | None = None

    @property
    def wanted(self) -> int:
        """How many bytes may come next, at most; 0 when the frame is complete."""
        return (self._total or self._fixed_size) - len(self._raw)

    @property
    def started(self) -> bool:
        """Whether any byte was fed."""
        return bool(self._raw)

    def feed(self, data: bytes) -> T | None:
        """Add the next bytes; return the frame if it is complete, else ``None``.

        Raises:
            TransferFormatError: these bytes do not begin a frame of this kind. Every
                later call raises the same.
            ValueError: the caller fed more than was :attr:`wanted`.
        """
        if self._failure is not None:
            raise self._failure
        if len(data) > self.wanted:
            raise ValueError(f"{len(data)} bytes were fed, {self.wanted} were wanted")
        self._raw += data
        try:
            return self._advance()
        except TransferFormatError as exc:
            self._failure = exc
            raise

    def _advance(self) -> T | None:
        start = self._raw[: len(self._magic)]
        if not self._magic.startswith(start):
            raise TransferFormatError(self._not_ours())
        if self._total is None:
            if len(self._raw) < self._fixed_size:
                return None
            self._total = self._measure(bytes(self._raw))
        if len(self._raw) < self._total:
            return None
        return self._parse(bytes(self._raw))

    @abc.abstractmethod
    def _not_ours(self) -> str:
        """The message for bytes that do not begin with the magic."""

    @abc.abstractmethod
    def _measure(self, fixed: bytes) -> int:
        """Check the fixed part; return the length of the whole frame."""

    @abc.abstractmethod
    def _parse(self, raw: bytes) -> T:
        """Make the frame of all its bytes; the fixed part was checked."""

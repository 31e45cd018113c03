"""``Kept``: what a keeper tells the socket or the server that it is for."""

from __future__ import annotations

from typing import Protocol


class Kept(Protocol):
    """What a keeper is for: a socket, or a server."""

    def _work(self) -> float:
        """What the keeper task does when it is woken, and when the time has come.

        Returns:
            When to be called again, on Trio's clock; ``math.inf`` for not before it is woken.
        """
        ...

    def _handle_failure(self) -> None:
        """Something has failed, for the first time: close, and cancel the body."""
        ...

    def _contain(self, error: Exception) -> bool:
        """A step or a service task of the library's own raised ``error``.

        Returns:
            Whether that was logged and dealt with; else it leaves the block.
        """
        ...

    def _was_told(self, error: BaseException) -> bool:
        """Whether ``error`` was posted as ``ErrorOccurred`` to somebody who listens."""
        ...

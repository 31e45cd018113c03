"""``Kept``: what a keeper tells the socket or the server that it is for."""

from __future__ import annotations

from typing import Protocol


class Kept(Protocol):
    """The owner of a keeper: a socket, or a server."""

    def _work(self) -> float:
        """The work of the keeper task, when it is woken or its time has come.

        Returns:
            When to call it again, on Trio's clock; ``math.inf`` for not before it is woken.
        """
        ...

    def _handle_failure(self) -> None:
        """Something has failed, for the first time: close, and cancel the body."""
        ...

    def _contain(self, error: Exception) -> bool:
        """A step or a service task of the library raised ``error``.

        Returns:
            Whether it was logged and handled; otherwise it leaves the block.
        """
        ...

    def _was_told(self, error: BaseException) -> bool:
        """Whether ``error`` was posted as ``ErrorOccurred`` to a handler or a channel."""
        ...

"""The interface of a simulated network, which replaces the OS in tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from trio_xsock._runtime.keeper import Keeper
from trio_xsock._runtime.readiness import Watch
from trio_xsock._runtime.steps import Steps

from .routes import Origin
from .transport import Transport


class Listener(Protocol):
    """A listening socket: the part of ``socket.socket`` that accepting needs."""

    @property
    def family(self) -> int:
        """The address family."""
        ...

    def accept(self) -> tuple[Transport, Any]:
        """Take a connection that waits, and its peer's address.

        Raises:
            BlockingIOError: there is none now.
        """
        ...

    def make_watch(self, keeper: Keeper, steps: Steps, /) -> Watch:
        """See ``Transport.make_watch``."""
        ...

    def fileno(self) -> int:
        """-1: there is no descriptor."""
        ...

    def getsockname(self) -> Any:
        """Where it listens."""
        ...

    def getpeername(self) -> Any:
        """Raises ``OSError``."""
        ...

    def getsockopt(self, level: int, option: int, size: int = 0, /) -> Any:
        """See ``socket.socket.getsockopt``."""
        ...

    def setsockopt(self, level: int, option: int, /, *value: Any) -> None:
        """See ``socket.socket.setsockopt``."""

    def close(self) -> None:
        """Stop listening; waiting connections are refused. Idempotent."""


class ForeignNetwork(Protocol):
    """A network, from the view of one of its hosts."""

    async def connect(
        self, address: str, port: int, origin: Origin, /
    ) -> tuple[Transport, tuple[str, int]]:
        """Connect to a host.

        Returns:
            The connection, and the peer's address and port.

        Raises:
            NameResolutionError: no host has this name.
            ConnectError: nothing listens there.
        """
        ...

    async def resolve(self) -> None:
        """A checkpoint, because resolving the address to listen on is one."""

    def listen(self, port: int, /) -> Sequence[Listener]:
        """Listen on a port of this host; 0 for a free one.

        Raises:
            AddressInUseError: it is taken.
        """
        ...

"""Who is compared. A new one is a line here and a module in ``programs``."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

BASELINE = "trio-stream"
LIMIT = "raw"


@dataclass(frozen=True, slots=True)
class Contender:
    """One way to write the programs."""

    name: str
    title: str
    module: str
    """In ``benchmarks.programs``."""
    loop: str
    """What runs the programs, see ``forge``."""
    requires: str = ""
    """A package that may be missing."""
    most_rounds: int = 1000
    """More are not worth their time."""

    @property
    def is_missing(self) -> bool:
        """Whether it cannot be run here."""
        return bool(self.requires) and importlib.util.find_spec(self.requires) is None


CONTENDERS: Sequence[Contender] = (
    Contender("xsock-handler", "trio_xsock, handler", "xsock_handler", "trio"),
    Contender("xsock-channel", "trio_xsock, channel", "xsock_channel", "trio"),
    Contender("xsock-caller", "trio_xsock, calls", "xsock_caller", "trio"),
    Contender("xsock-stream", "trio_xsock, stream", "xsock_stream", "trio"),
    Contender("trio-stream", "trio.SocketStream", "trio_stream", "trio"),
    Contender("anyio", "AnyIO on Trio", "anyio_stream", "trio", "anyio", most_rounds=3),
    Contender("asyncio-streams", "asyncio streams", "asyncio_streams", "asyncio", most_rounds=3),
    Contender("asyncio-protocol", "asyncio Protocol", "asyncio_protocol", "asyncio"),
    Contender(
        "uvloop-streams", "uvloop streams", "asyncio_streams", "uvloop", "uvloop", most_rounds=3
    ),
    Contender("uvloop-protocol", "uvloop Protocol", "asyncio_protocol", "uvloop", "uvloop"),
    Contender("raw", "bare sockets", "raw", "none"),
)


def choose(names: Iterable[str]) -> list[Contender]:
    """The contenders of these names, in the order of the table; all for no names.

    Raises:
        ValueError: there is no contender of that name.
    """
    wanted = set(names)
    if unknown := wanted - {contender.name for contender in CONTENDERS}:
        known = ", ".join(contender.name for contender in CONTENDERS)
        raise ValueError(f"no contender {min(unknown)!r}; there are {known}")
    return [contender for contender in CONTENDERS if not wanted or contender.name in wanted]

"""The kinds of pairs that the tests of this folder go through."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeAlias

import pytest

from trio_xsock import TCPSocket
from trio_xsock.testing import memory_socket_pair, socket_pair

Pair: TypeAlias = tuple[TCPSocket, TCPSocket]
MakePair: TypeAlias = Callable[..., AbstractAsyncContextManager[Pair]]


@asynccontextmanager
async def portable_socket_pair(**options: Any) -> AsyncGenerator[Pair, None]:
    """A pair over loopback that does without the readiness hub."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRIO_XSOCK_READINESS", "portable")
        async with socket_pair(**options) as pair:
            yield pair


KINDS: dict[str, MakePair] = {
    "loopback": socket_pair,
    "portable": portable_socket_pair,
    "memory": memory_socket_pair,
}

every_kind = pytest.mark.parametrize("make_pair", KINDS.values(), ids=KINDS)

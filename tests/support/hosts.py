"""Connections from the near host of a link to the far one."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from trio_xsock import TCPSocket

from .link import Link
from .peers import RawPeer, accept, raw_listener


def far_listener(link: Link, *, small: bool = False) -> socket.socket:
    """Listen on the far host; use it in a ``with``."""
    with link.far:
        return raw_listener(host=link.far.address, small=small)


@asynccontextmanager
async def across(
    link: Link, *, small: bool = False, **options: Any
) -> AsyncIterator[tuple[TCPSocket, RawPeer]]:
    """A ``TCPSocket`` on the near host, connected to a raw peer on the far one.

    Args:
        link: this thread must be on its near host.
        small: the peer's host holds some 10 kB for it.
        options: of the socket.
    """
    with far_listener(link, small=small) as listener:
        async with TCPSocket(*listener.getsockname(), **options) as sock:
            await sock.connect()
            with await accept(listener) as peer:
                yield sock, peer

"""A short-lived cache of host names."""

from __future__ import annotations

import math
import socket as stdlib_socket
from typing import Final, TypeAlias

import trio

from trio_xsock._machines.endpoint import ResolvedAddress

from .resolve import resolve

REMEMBERED_FOR: Final = 5.0
"""Seconds. Name servers say how long an answer is valid, but the OS does not pass it on."""
_MOST_NAMES: Final = 256

_Key: TypeAlias = tuple[str, int, int]


class _LookUp:
    """One look-up, which several tasks may wait for."""

    __slots__ = ("addresses", "done", "error", "expires")

    def __init__(self) -> None:
        self.done = trio.Event()
        self.addresses: list[ResolvedAddress] = []
        self.error: Exception | None = None
        self.expires = math.inf


class NameMemory:
    """Resolves names for datagrams; concurrent look-ups of one name are made once."""

    __slots__ = ("_look_ups",)

    def __init__(self) -> None:
        self._look_ups: dict[_Key, _LookUp] = {}

    async def resolve(self, host: str, port: int, family: int) -> list[ResolvedAddress]:
        """The addresses of a host, cached for some seconds; a failure is not cached.

        Raises:
            SocketError: as ``resolve``.

        Cancellation: at once; others that wait for the same name look it up themselves.
        """
        key = (host, port, family)
        while True:
            known = self._look_ups.get(key)
            if known is None or trio.current_time() >= known.expires:
                return await self._look_up(key)
            await known.done.wait()
            if known.error is not None:
                raise known.error
            if known.addresses:
                return known.addresses

    async def _look_up(self, key: _Key) -> list[ResolvedAddress]:
        if len(self._look_ups) >= _MOST_NAMES:
            self._look_ups.clear()
        look_up = self._look_ups[key] = _LookUp()
        host, port, family = key
        try:
            look_up.addresses = await resolve(
                host, port, family=family, type=stdlib_socket.SOCK_DGRAM
            )
            look_up.expires = trio.current_time() + REMEMBERED_FOR
        except Exception as exc:
            look_up.error = exc
            raise
        finally:
            if not look_up.addresses and self._look_ups.get(key) is look_up:
                del self._look_ups[key]
            look_up.done.set()
        return look_up.addresses

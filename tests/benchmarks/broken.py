"""Programs that fail, for the harness to tell of."""

from __future__ import annotations

from benchmarks.control import Control


async def xsock_handler_sink(control: Control) -> None:
    raise ValueError("on purpose")


async def xsock_handler_client_connect(control: Control) -> None:
    raise ValueError("on purpose")

"""How this copy of the library was built."""

from __future__ import annotations

from types import FunctionType

from trio_xsock._engine.connection import Connection


def is_compiled() -> bool:
    """Whether the hot path is compiled: the modules through which every byte and event passes.

    It is in wheels that were built with ``TRIO_XSOCK_COMPILE=1`` in the environment. What the
    library does is the same. A test that follows calls by their Python frames, or replaces a
    function of the library, may have to know. Xojo has no counterpart.

    Returns:
        True if it is compiled, False for the pure Python of ordinary wheels.
    """
    return not isinstance(Connection.on_readable, FunctionType)

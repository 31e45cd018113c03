"""What may be sent: bytes, buffers of any shape, and text."""

from __future__ import annotations

from trio_xsock._values.typing import Buffer


def snapshot(data: Buffer | str, encoding: str) -> bytes:
    """The bytes as they are now; of text, encoded."""
    if isinstance(data, str):
        return data.encode(encoding)
    with memoryview(data) as view:
        return view.tobytes()


def as_bytes(view: memoryview) -> memoryview:
    """The same memory as single bytes; what is not contiguous has to be copied."""
    if view.c_contiguous and view.nbytes:  # memory without bytes may have any shape
        return view.cast("B")
    return memoryview(view.tobytes())

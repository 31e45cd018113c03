"""The load generator: one process for the whole run, the same for every contender.

``python -m benchmarks.load DESCRIPTOR [--sleeps]``.

It is bare blocking sockets and epoll, so that it is not what the program under test waits for. Only
that program's CPU time is compared, and of bulk transfers that of both.
"""

from __future__ import annotations

import gc
import importlib
import sys
import traceback

from .forge import raise_descriptor_limit
from .loads.bulk import Load
from .loads.sockets import MANNER
from .wire import Message, Wire, WireClosedError


def main(descriptor: int, *, sleeps: bool = False) -> None:
    """Make loads until the parent goes away.

    Args:
        descriptor: the wire to the parent.
        sleeps: wait in the kernel while there is nothing to do.
    """
    MANNER.wait = 1.0 if sleeps else 0.0
    raise_descriptor_limit()
    gc.disable()
    wire = Wire.from_descriptor(descriptor)
    try:
        while True:
            order = wire.receive()
            if "load" in order:
                _make(wire, order)
            gc.collect()
    except (WireClosedError, KeyboardInterrupt):
        pass


def _make(wire: Wire, order: Message) -> None:
    """Prepare, say so, wait for the word, work, tell, and clean up when told to."""
    module, _, name = order["load"].partition(":")
    load: Load = getattr(importlib.import_module(module), name)(order["params"])
    try:
        wire.send({"ready": next(load)})
        if wire.receive()["order"] == "go":
            wire.send({"result": next(load)})
            wire.receive()
    except WireClosedError:
        raise
    except Exception:
        wire.send({"error": traceback.format_exc()[-20000:]})
        while wire.receive()["order"] != "end":
            pass
    finally:
        load.close()


if __name__ == "__main__":
    main(int(sys.argv[1]), sleeps="--sleeps" in sys.argv[2:])

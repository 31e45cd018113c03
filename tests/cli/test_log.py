"""The library's log, as the command shows it."""

from __future__ import annotations

import logging
from contextlib import ExitStack

from trio_xsock._cli._log import telling_refusals

LIBRARY = logging.getLogger("trio_xsock")


def test_blocks_that_overlap_leave_the_level_as_it_was() -> None:
    """Each is told, and the level is the first one's again when the last has ended."""
    level, handlers = LIBRARY.level, list(LIBRARY.handlers)
    first, second = ExitStack(), ExitStack()
    told: list[object] = []
    with second:
        with first:
            first.enter_context(telling_refusals(told.append))
            second.enter_context(telling_refusals(told.append))
        assert LIBRARY.level == logging.DEBUG
        LIBRARY.debug("a refusal", extra={"refused": "why"})
    assert told == ["why"]
    assert (LIBRARY.level, LIBRARY.handlers) == (level, handlers)

"""Two hosts for a test, made and removed by it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, Protocol

import pytest

from tests.support.link import Link, UnavailableError, two_hosts


class MakeLink(Protocol):
    """Takes what ``two_hosts`` takes."""

    def __call__(self, **options: Any) -> Link:
        """Make two hosts and a link; from now on the test is on the near one."""
        ...


@pytest.fixture
def make_link() -> Iterator[MakeLink]:
    """Two hosts and a link; the test runs on the near one, and is skipped where none can be."""
    threads = set(threading.enumerate())
    with ExitStack() as stack:

        def make(**options: Any) -> Link:
            try:
                link = stack.enter_context(two_hosts(**options))
            except UnavailableError as exc:
                pytest.skip(str(exc))
            threads.add(link.thread)
            stack.enter_context(link.near)
            return link

        yield make
        # A thread stays on the host where it began, and Trio keeps threads for other tests.
        assert set(threading.enumerate()) <= threads

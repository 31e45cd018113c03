"""wrk against small HTTP/1.1 responders: not one error, and how many requests per second."""

from __future__ import annotations

import os

import pytest

from benchmarks import web
from tests.support.programs import find_program

pytestmark = pytest.mark.peer

SECONDS = float(os.environ.get("TRIO_XSOCK_WRK_SECONDS", "2"))
"""Of each load; more for those who have the time."""


@pytest.mark.slow
@pytest.mark.timeout(3 * SECONDS + 20)
def test_wrk_meets_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    """A hundred connections, on both styles and on a bare trio.serve_tcp in the same run."""
    find_program("wrk")
    assert web.main(["--seconds", str(SECONDS)]) == 0, capsys.readouterr().out
    printed = capsys.readouterr().out
    assert printed.count("of trio.serve_tcp") == len(web.PROGRAMS)
    with capsys.disabled():
        print(f"\n{printed}", end="")

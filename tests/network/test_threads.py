"""Calls in threads, where there is one and where there is none."""

from __future__ import annotations

import threading

import pytest

from trio_xsock import OutOfMemoryError
from trio_xsock._network.threads import run_in_thread


async def test_the_function_is_called_in_another_thread() -> None:
    def work(number: int) -> tuple[int, int]:
        return number, threading.get_ident()

    number, thread = await run_in_thread("test", work, 5)
    assert number == 5
    assert thread != threading.get_ident()


async def test_a_thread_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was called, and the next thread that can be started is used."""

    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr("trio._threads.start_thread_soon", refuse)
        with pytest.raises(OutOfMemoryError, match="no thread to do it: can't start new thread"):
            await run_in_thread("do it", pytest.fail, "was called")
    assert await run_in_thread("do it", int) == 0


async def test_a_runtime_error_of_the_function_is_its_own() -> None:
    """It does not tell of threads."""

    def fail() -> None:
        raise RuntimeError("encrypted")

    with pytest.raises(RuntimeError, match="encrypted"):
        await run_in_thread("read", fail)

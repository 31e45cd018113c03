"""What users who have trio-typing installed rely on; run by tox's environment compat-typing.

Without the link folder of the second test, its stubs outrank Trio's own types: mypy then takes
``trio.TaskStatus[...]`` for ``Any``, and pyright reports ``nursery.start(sock.run)``.
"""

from __future__ import annotations

import functools
import importlib.util
import inspect
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import trio
import trio_typing

import trio_xsock

CONSUMER = Path(__file__).resolve().parent.parent / "typing" / "api.py"


def startables() -> Iterator[tuple[type, str]]:
    """Every public method that ``nursery.start`` can be given, on every class that has it."""
    for _, owner in inspect.getmembers(trio_xsock, inspect.isclass):
        if not inspect.isabstract(owner):
            for name, method in inspect.getmembers(owner, inspect.iscoroutinefunction):
                if "task_status" in inspect.signature(method).parameters:
                    yield owner, name


async def ignore(_connection: object) -> None:
    await trio.lowlevel.checkpoint()


def start_arguments(method: Callable[..., object]) -> list[object]:
    """A function for a parameter without a default, such as the handler of ``serve``."""
    parameters = inspect.signature(method).parameters.values()
    return [ignore for each in parameters if each.default is each.empty]


@pytest.mark.parametrize(
    ("owner", "name"),
    [pytest.param(owner, name, id=f"{owner.__name__}.{name}") for owner, name in startables()],
)
async def test_task_status_is_one_for_trio_typing(
    owner: type, name: str, nursery: trio.Nursery
) -> None:
    """A wrapper that insists on ``trio_typing.TaskStatus`` can start everything of ours."""
    default = inspect.signature(getattr(owner, name)).parameters["task_status"].default
    assert isinstance(default, trio_typing.TaskStatus)
    async with AsyncExitStack() as stack:
        sock: Any = owner(address="127.0.0.1")
        if name != "run":  # which enters the block itself
            await stack.enter_async_context(sock)
        method: Callable[..., Awaitable[None]] = getattr(sock, name)
        start = functools.partial(method, *start_arguments(method))

        async def insist(  # noqa: ASYNC128 - what it starts reports
            *, task_status: Any = trio.TASK_STATUS_IGNORED
        ) -> None:
            assert isinstance(task_status, trio_typing.TaskStatus)
            await start(task_status=task_status)

        with trio.fail_after(5):
            assert await nursery.start(insist)


@pytest.mark.timeout(240)
def test_consumer_type_checks_with_link_folder(tmp_path: Path) -> None:
    """With a link to the real Trio found first, both checkers accept the typed program."""
    assert importlib.util.find_spec("trio-stubs") is not None
    real = tmp_path / "real-trio"
    real.mkdir()
    (real / "trio").symlink_to(Path(trio.__file__).parent, target_is_directory=True)
    (tmp_path / "pyrightconfig.json").write_text(
        json.dumps(
            {
                "include": [str(CONSUMER)],
                "extraPaths": [str(real)],
                "typeCheckingMode": "strict",
            }
        )
    )
    mypy = [sys.executable, "-m", "mypy", "--config-file=", "--strict", "--follow-imports=silent"]
    pyright = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable]
    for command in ([*mypy, str(CONSUMER)], [*pyright, "--project", str(tmp_path)]):
        result = subprocess.run(
            command,
            cwd=tmp_path,
            env={**os.environ, "MYPYPATH": str(real)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stdout

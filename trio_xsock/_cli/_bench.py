"""``xsock bench``: the benchmarks of the source tree, which the installed package lacks."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import trio

from ._arguments import positive
from ._command import Command
from ._errors import CommandError, ExitCode, UsageError
from ._interrupt import until_interrupted
from ._report import Report

_ROOT = Path(__file__).resolve().parent.parent.parent

_PATIENCE = 1.5

_NO_CHECKOUT = """\
the benchmarks belong to the source tree and are not part of the installed package.
Get the source, install it in place with what the benchmarks need, and try again there:

    python -m pip install --editable . --group bench
    python -m benchmarks --quick"""


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quick", action="store_true", help="less work, within 90 s")
    parser.add_argument("--only", metavar="NAMES", help="these workloads, with commas between")
    parser.add_argument(
        "--contenders", metavar="NAMES", help="these contenders, with commas between"
    )
    parser.add_argument("--rounds", type=positive, metavar="N", help="measure each so often")
    parser.add_argument(
        "--json", dest="json_file", metavar="FILE", help="write all figures to a file"
    )
    parser.add_argument("--svg", metavar="FILE", help="write a plot to a file")
    parser.add_argument("--markdown", metavar="FILE", help="write the table of ratios to a file")


def _arguments(options: argparse.Namespace) -> list[str]:
    """The same options for ``python -m benchmarks``; file names are made absolute."""
    arguments = ["--quick"] if options.quick else []
    for name in ("only", "contenders", "rounds"):
        value = getattr(options, name)
        if value is not None:
            arguments.append(f"--{name}={value}")
    files = {"json": options.json_file, "svg": options.svg, "markdown": options.markdown}
    arguments += [f"--{name}={Path(file).absolute()}" for name, file in files.items() if file]
    return arguments


async def _run(options: argparse.Namespace, report: Report) -> ExitCode:
    if not (_ROOT / "benchmarks" / "__main__.py").is_file():
        raise UsageError(_NO_CHECKOUT)
    command = [sys.executable, "-m", "benchmarks", *_arguments(options)]
    code = await until_interrupted(lambda: _call(command))
    if code is None:
        report.trouble("interrupted", "interrupted")
        return ExitCode.INTERRUPTED
    if code not in set(ExitCode):
        raise CommandError(f"the benchmarks ended with exit code {code}")
    return ExitCode(code)


async def _call(command: list[str]) -> int:
    result: subprocess.CompletedProcess[bytes] = await trio.run_process(
        command, cwd=_ROOT, check=False, deliver_cancel=_let_it_end
    )
    return result.returncode


async def _let_it_end(process: trio.Process) -> None:
    """Wait for the process: it got Ctrl-C too, and shows what it has measured so far."""
    with trio.move_on_after(_PATIENCE):
        await process.wait()
    if process.returncode is None:
        process.kill()


COMMAND = Command(
    name="bench",
    summary="compare the speed with Trio's own streams, AnyIO and asyncio",
    description="Let the library and its peers do the same work, and compare the CPU time that "
    "each needs. Works in a checkout of the source only.",
    configure=_configure,
    run=_run,
)

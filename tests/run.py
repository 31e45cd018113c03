"""Everything that must hold before a change goes in, in one command.

Run with the environment's Python: ``.venv/bin/python tests/run.py``. Every check runs, also
after one failed; what failed is listed before the tests begin, and pytest has the last line.
``lint``, ``types`` or ``tests`` as the first argument runs that part alone; what follows is
given to pytest: ``tests/run.py tests -k progress``, or ``tests/run.py tests --cov``.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = Path(sysconfig.get_path("scripts"))
PYTHON = sys.executable
MOST_WORKERS = 4
"""More tests at a time would be in each other's way."""
COMMAND_ON_PLATFORMS = ("end_to_end", "files", "interrupt", "patience", "resume", "sink", "source")
"""The tests of the command that have to do with what the system lacks."""
ABOUT_TRIO = re.compile(r"\b(async|await|BaseException)\b|^ *(import|from) trio\b", re.MULTILINE)
# Pyright looks for the environment of the first ``python`` on the path.
ENVIRONMENT = {**os.environ, "PATH": f"{SCRIPTS}{os.pathsep}{os.environ.get('PATH', '')}"}

Check = tuple[str, list[str]]


def python_files(*folders: str) -> list[str]:
    """All Python files below these folders of the project, those that exist."""
    return sorted(
        str(path.relative_to(ROOT)) for name in folders for path in (ROOT / name).rglob("*.py")
    )


def about_trio(paths: list[str]) -> list[str]:
    """Those of the files that flake8-async can have anything to say about."""
    return [path for path in paths if ABOUT_TRIO.search((ROOT / path).read_text())]


def lint() -> Iterator[Check]:
    """Style, imports, Trio's rules, the layers, the structure, and the words of the docs."""
    yield "ruff check", [PYTHON, "-m", "ruff", "check", "--output-format=concise", "."]
    yield "ruff format", [PYTHON, "-m", "ruff", "format", "--check", "."]
    trio_rules = [str(SCRIPTS / "flake8-async"), "--startable-in-context-manager=run,serve,_serve"]
    # The library promises checkpoints to its callers; examples promise none. Tests have to do
    # with what ruff knows of these rules: flake8-async takes a second for every 200 lines.
    promises = "--enable=ASYNC,ASYNC900,ASYNC910,ASYNC911"
    yield "flake8-async, library", [*trio_rules, promises, *about_trio(python_files("trio_xsock"))]
    around = python_files("examples", "benchmarks")
    yield "flake8-async, around", [*trio_rules, "--disable=ASYNC114,ASYNC124,ASYNC9", *around]
    yield "lint-imports", [str(SCRIPTS / "lint-imports")]
    yield "house", [PYTHON, "tests/house.py"]
    yield "vocabulary", [PYTHON, "tests/vocabulary.py"]


def types() -> Iterator[Check]:
    """Both type checkers, strict, and the completeness of the public types."""
    yield "no trio-stubs", [PYTHON, "tests/typing/tripwire.py"]
    for platform in ("linux", "darwin", "win32"):  # a cache for each, or none would ever fit
        options = [f"--platform={platform}", f"--cache-dir=.mypy_cache/{platform}"]
        yield f"mypy, {platform}", [PYTHON, "-m", "mypy", *options]
    yield "mypy, pages", [PYTHON, "-m", "tests.typing.pages"]
    pyright = [PYTHON, "-m", "pyright"]
    yield "pyright", pyright
    yield "pyright --verifytypes", [*pyright, "--verifytypes", "trio_xsock", "--ignoreexternal"]


def run_check(name: str, command: list[str]) -> bool:
    """Run one check, show its output only if it failed, and tell whether it passed."""
    began = time.perf_counter()
    result = subprocess.run(
        command,
        cwd=ROOT,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    passed = result.returncode == 0
    verdict = "ok" if passed else "FAILED"
    report = f"{name:24} {verdict:8} {time.perf_counter() - began:5.1f} s"
    print(report if passed else f"{report}\n{result.stdout}", flush=True)
    return passed


def run_tests(options: list[str], minimal: bool = False) -> bool:
    """Run the tests, some at a time, showing everything as it comes.

    With ``minimal`` the library does without all that Linux, macOS or Windows lacks. Many tests
    only wait, mostly for the grace of a close or for a program, so one more runs at a time than
    there are processors.
    """
    workers = min((os.cpu_count() or 1) + 1, MOST_WORKERS)
    side_by_side = ["-n", str(workers), "--dist", "worksteal"]
    command = [PYTHON, "-m", "pytest", "-q", *side_by_side, *options]
    environment = {**os.environ, "TRIO_XSOCK_PLATFORM": "minimal"} if minimal else None
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode == 0


def tests_of_the_platform() -> list[str]:
    """Those for which it makes a difference what the operating system lacks."""
    others = {"benchmarks", "cli", "compat_typing", "docs", "examples", "tls_audit", "typing"}
    others |= {"machines", "model", "values"}  # the model runs both ways by itself
    others |= {"netns"}  # about what Linux tells of its links
    others |= {"test_house.py", "test_release.py", "test_vocabulary.py", "test_walks.py"}
    found = (path for path in sorted((ROOT / "tests").iterdir()) if path.name not in others)
    tests = (path for path in found if path.is_dir() or path.name.startswith("test_"))
    names = [str(path.relative_to(ROOT)) for path in tests if path.name != "__pycache__"]
    return [*names, *(f"tests/cli/test_{name}.py" for name in COMMAND_ON_PLATFORMS)]


def main() -> int:
    """Run the parts that were asked for and return the exit code."""
    parser = argparse.ArgumentParser(description="Run the project's checks and tests.")
    parser.add_argument("part", nargs="?", choices=("all", "lint", "types", "tests"), default="all")
    arguments, options = parser.parse_known_args()
    checks: list[Check] = []
    if arguments.part in {"all", "lint"}:
        checks += lint()
    if arguments.part in {"all", "types"}:
        checks += types()
    with ThreadPoolExecutor(os.cpu_count()) as workers:  # flake8-async takes as long as the rest
        passed = workers.map(lambda check: run_check(*check), checks)
        failed = [name for (name, _), good in zip(checks, passed, strict=True) if not good]
    if failed:
        print("failed:", ", ".join(failed), flush=True)
    if arguments.part == "all" and not run_tests(tests_of_the_platform(), minimal=True):
        failed.append("tests, minimal platform")
    if arguments.part in {"all", "tests"} and not run_tests(options):
        failed.append("tests")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

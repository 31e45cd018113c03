"""Compiles the hot path into the wheel, if ``TRIO_XSOCK_COMPILE=1`` is in the environment.

The modules named in ``pyproject.toml`` are compiled by mypyc, from the same source. Otherwise, and
for any other value, nothing is done: the wheel is pure Python, and complete. CONTRIBUTING tells
more.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_LIBRARY = "trio_xsock._compiled"
"""What all modules are compiled into, so that they call each other directly; less a suffix."""


class CompileHook(BuildHookInterface):
    """Hatchling's hook, named ``custom`` in ``pyproject.toml``."""

    PLUGIN_NAME = "custom"
    _folder: tempfile.TemporaryDirectory[str] | None = None

    @property
    def _wanted(self) -> bool:
        return self.target_name == "wheel" and os.environ.get("TRIO_XSOCK_COMPILE") == "1"

    def dependencies(self) -> list[str]:
        """What the build needs: the types of the dependencies, too."""
        return self.config["needs"] if self._wanted else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, before the files of the wheel are collected."""
        if not self._wanted:
            return
        self._folder = tempfile.TemporaryDirectory(prefix="trio_xsock-")
        folder = Path(self._folder.name)
        with contextlib.chdir(self.root):  # mypyc names modules after their relative paths
            libraries = _compile(self.config["modules"], folder)
        for library in libraries:
            place = library.relative_to(folder / "lib")
            if version == "editable":  # Python looks for it beside the source
                shutil.copy(library, Path(self.root, place))
            else:
                build_data["force_include"][str(library)] = place.as_posix()
        build_data["pure_python"] = False
        build_data["infer_tag"] = True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove what was made meanwhile; after a failure, the end of the process does."""
        if self._folder is not None:
            self._folder.cleanup()


def _compile(modules: list[str], folder: Path) -> list[Path]:
    """Compile ``modules``, and return the libraries in ``folder / "lib"``."""
    from mypyc.build import mypycify  # noqa: PLC0415 - there for this build only
    from setuptools import Distribution  # noqa: PLC0415

    options = ["--config-file=", "--follow-imports=silent", "--ignore-missing-imports"]
    extensions = mypycify(
        [*options, *modules], opt_level="3", group_name=_LIBRARY, target_dir=str(folder / "c")
    )
    distribution = Distribution({"name": "trio_xsock", "ext_modules": extensions})
    command = distribution.get_command_obj("build_ext")
    command.build_lib, command.build_temp = str(folder / "lib"), str(folder / "objects")
    command.ensure_finalized()
    command.run()
    return [Path(name) for name in command.get_outputs()]

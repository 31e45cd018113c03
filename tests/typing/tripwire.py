"""Fails where trio-typing is installed: its stubs replace Trio's own types for every checker."""

from __future__ import annotations

import importlib.util
import sys

if importlib.util.find_spec("trio-stubs") is not None:
    sys.exit(
        "trio-stubs is importable here, so mypy and pyright would check against the types of an "
        "old Trio; remove it with: python -m pip uninstall trio-typing"
    )

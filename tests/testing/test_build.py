"""How the library was built; ``tests/test_release.py`` asks both kinds of wheels."""

from __future__ import annotations

from pathlib import Path

from trio_xsock._engine import connection
from trio_xsock.testing import is_compiled


def test_it_is_compiled_if_python_loads_a_library() -> None:
    """Otherwise it loads the source."""
    assert is_compiled() is (Path(str(connection.__file__)).suffix != ".py")

"""The figures of ``house.py``: of a small bad package, and of the library."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import house
from tests.house import LIMITS, Limit, check, main, measure

BASE = """
import abc
class Base(abc.ABC):
    def __init__(self):
        self.alone = self.both = 0
    @abc.abstractmethod
    def _made_below(self): ...
    def _twice(self): ...
    def _thrice(self): ...
    def public(self): ...
"""
MIDDLE = """
from .base import Base
class Middle(Base):
    def _made_below(self): ...
    def _thrice(self):
        assert self.both is not None, "why"
        assert self.both is None or self.alone
    def public(self): ...
"""
TOP = """
from .middle import Middle
class Top(Middle, Generic[T]):
    def _twice(self):
        self.both += 1
    def _thrice(self): ...
class Other:
    def _twice(self): ...
"""
MEDDLER = "def meddle(top):\n    top.alone, unused = 1, 2\n    assert top is not None\n"
CONTRACT = """
[[tool.importlinter.contracts]]
id = "other"
layers = ["x"]
[[tool.importlinter.contracts]]
id = "layers"
layers = ["top", "_engine"]
"""


@pytest.fixture
def bad(tmp_path: Path) -> dict[str, house.Figure]:
    """The figures of a package that has one of each fault."""
    engine = tmp_path / "bad" / "_engine"
    engine.mkdir(parents=True)
    (engine / "base.py").write_text(BASE)
    (engine / "middle.py").write_text(MIDDLE + "\n" * house.LONGEST_MODULE)
    (tmp_path / "bad" / "top.py").write_text(TOP)
    (tmp_path / "bad" / "meddler.py").write_text(MEDDLER)
    configuration = tmp_path / "pyproject.toml"
    configuration.write_text(CONTRACT)
    return measure(tmp_path / "bad", configuration, ["Top"])


def test_what_is_measured(bad: dict[str, house.Figure]) -> None:
    """Each fault is found once, with its place; what is no fault is not counted."""
    assert {name: figure.value for name, figure in bad.items()} == {
        "classes of Top": 3,
        "private methods overridden": 2,
        "longest chain of overrides": 3,
        "attributes with several writers": 2,
        "levels of the import contract": 2,
        "modules over 350 lines": 1,
        "assertions of not None": 1,
    }
    assert bad["classes of Top"].details == [
        "Top (top)",
        "Middle (_engine.middle)",
        "Base (_engine.base)",
    ]
    assert bad["private methods overridden"].details == [
        "_thrice: 3 definitions",
        "_twice: 2 definitions",
    ]
    assert bad["attributes with several writers"].details == [
        "alone: _engine.base, meddler",
        "both: _engine.base, top",
    ]
    assert bad["assertions of not None"].details == ["_engine.middle:6"]


def test_limits(bad: dict[str, house.Figure]) -> None:
    """A figure may be what its limit says and no more; each needs the other."""
    limits = {name: Limit(figure.value, 0) for name, figure in bad.items()}
    assert check(bad, limits) == []
    limits["classes of Top"] = Limit(2, 0)
    assert check(bad, limits) == ["classes of Top: 3, and 2 are allowed"]
    del limits["classes of Top"]
    limits["classes of Nobody"] = Limit(1, 1)
    assert check(bad, limits) == [
        "classes of Top: 3, which has no limit",
        "classes of Nobody: a limit, but no figure",
    ]


def test_a_fault_is_shown_with_what_was_counted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command fails, and says where to look."""
    monkeypatch.setitem(LIMITS, "classes of TCPSocket", Limit(1, 1))
    assert main([]) == 1
    output = capsys.readouterr().out
    assert "TCPSocket (_sockets.tcp)" in output
    assert "FAULT: classes of TCPSocket" in output


def test_the_library(capsys: pytest.CaptureFixture[str]) -> None:
    """It is within today's limits, and no limit is below its goal."""
    assert main([]) == 0
    assert all(limit.today >= limit.goal for limit in LIMITS.values())
    assert len(capsys.readouterr().out.splitlines()) == 1 + len(LIMITS)

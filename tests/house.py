"""How the code is built, in figures: a check of ``tests/run.py lint``.

It reads the source only. For each public class it follows the bases within the package (the
*family*), and measures what makes a family hard to change: classes stacked on one another,
private methods that are overridden, attributes with several writers; and what makes the whole
hard to read: levels of the import contract, long modules, assertions that something is not None.

``LIMITS`` has today's figures beside the goals. A figure above its limit fails. Whoever brings one
down lowers its limit to what was reached; no limit ever goes up. ``--list`` shows what is counted.
"""

from __future__ import annotations

import argparse
import ast
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeGuard

ROOT = Path(__file__).resolve().parent.parent
LONGEST_MODULE = 350
HOT_FOLDERS = ("_engine", "_machines", "_runtime")


class Limit(NamedTuple):
    """What a figure may be today, and what it is to become."""

    today: int
    goal: int


LIMITS = {
    "classes of TCPSocket": Limit(6, goal=6),
    "classes of SSLSocket": Limit(7, goal=7),
    "classes of EasyTCPSocket": Limit(5, goal=5),
    "classes of UDPSocket": Limit(5, goal=5),
    "classes of AutoDiscovery": Limit(6, goal=6),
    "classes of ServerSocket": Limit(3, goal=3),
    "private methods overridden": Limit(5, goal=5),
    "longest chain of overrides": Limit(2, goal=2),
    "attributes with several writers": Limit(0, goal=0),
    "levels of the import contract": Limit(10, goal=10),
    "modules over 350 lines": Limit(0, goal=0),
    "assertions of not None": Limit(0, goal=0),
}


class Figure(NamedTuple):
    """A figure, and what was counted."""

    value: int
    details: list[str]


@dataclass
class Class:
    """A class as its source shows it.

    Attributes:
        module: where it is, dotted, without the package.
        name: its name.
        bases: the names of its bases, as written, less type arguments.
        methods: names of the methods that it defines, less abstract and overloaded ones.
        writes: attributes of ``self`` (or ``cls``) that it assigns to.
    """

    module: str
    name: str
    bases: list[str]
    methods: set[str] = field(default_factory=set[str])
    writes: set[str] = field(default_factory=set[str])


class House:
    """The source of a package.

    Args:
        folder: of the package.
    """

    def __init__(self, folder: Path) -> None:
        self.classes: dict[str, list[Class]] = defaultdict(list)
        self.lengths: dict[str, int] = {}
        self.assertions: list[str] = []
        self.foreign: dict[str, set[str]] = defaultdict(set)  # attribute: modules that write it
        for path in sorted(folder.rglob("*.py")):
            self._read(path, path.relative_to(folder))

    def _read(self, path: Path, place: Path) -> None:
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text)
        module = ".".join(place.with_suffix("").parts)
        self.lengths[module] = text.count("\n")
        for node in tree.body:
            if isinstance(node, ast.ClassDef):
                self.classes[node.name].append(_class(module, node))
        for part in ast.walk(tree):
            if place.parts[0] in HOT_FOLDERS and _asserts_something(part):
                self.assertions.append(f"{module}:{part.lineno}")
        for owner, attribute in _stores(tree):
            if owner not in {"self", "cls"}:
                self.foreign[attribute].add(module)

    def family(self, name: str) -> list[Class]:
        """A class and all those of the package that it inherits from; each once."""
        found: list[Class] = []
        names = [name]
        for each in names:
            for one in self.classes.get(each, []):
                found.append(one)
                names += [base for base in one.bases if base not in names]
        return found

    def overridden(self, families: Iterable[str]) -> dict[str, int]:
        """Private methods with several definitions in a family, and with how many at most."""
        most: dict[str, int] = {}
        for family in families:
            counts: dict[str, int] = defaultdict(int)
            for one in self.family(family):
                for method in one.methods:
                    counts[method] += method.startswith("_") and not method.endswith("__")
            for method, count in counts.items():
                if count > 1:
                    most[method] = max(count, most.get(method, 0))
        return most

    def shared(self, families: Iterable[str]) -> dict[str, set[str]]:
        """Attributes that two or more modules write, and which."""
        found: dict[str, set[str]] = {}
        for family in families:
            writers: dict[str, set[str]] = defaultdict(set)
            for one in self.family(family):
                for attribute in one.writes:
                    writers[attribute].add(one.module)
            for attribute, modules in writers.items():
                modules |= self.foreign.get(attribute, set())
                if len(modules) > 1:
                    found[attribute] = found.get(attribute, set()) | modules
        return found


def _class(module: str, node: ast.ClassDef) -> Class:
    bases = [_base_name(base) for base in node.bases]
    found = Class(module, node.name, [name for name in bases if name])
    for each in node.body:
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef) and not _is_declaration(each):
            found.methods.add(each.name)
    found.writes = {attribute for owner, attribute in _stores(node) if owner in {"self", "cls"}}
    return found


def _base_name(base: ast.expr) -> str:
    if isinstance(base, ast.Subscript):
        base = base.value
    return base.id if isinstance(base, ast.Name) else ""


def _is_declaration(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether it only says what there is to be."""
    decorators = " ".join(ast.unparse(each) for each in node.decorator_list)
    return "abstract" in decorators or "overload" in decorators


def _stores(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Every ``owner.attribute`` that is assigned to; ``owner`` as written."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield ast.unparse(node.value), node.attr


def _asserts_something(node: ast.AST) -> TypeGuard[ast.Assert]:
    """Whether it is ``assert ... is not None``."""
    test = node.test if isinstance(node, ast.Assert) else None
    return (
        isinstance(test, ast.Compare)
        and isinstance(test.ops[0], ast.IsNot)
        and isinstance(test.comparators[0], ast.Constant)
        and test.comparators[0].value is None
    )


def levels(configuration: Path) -> list[str]:
    """The levels of the import contract whose ``id`` is ``layers``."""
    tool = tomllib.loads(configuration.read_text(encoding="utf-8"))["tool"]["importlinter"]
    (contract,) = (each for each in tool["contracts"] if each.get("id") == "layers")
    return list(contract["layers"])


def measure(folder: Path, configuration: Path, families: Iterable[str]) -> dict[str, Figure]:
    """All figures of a package.

    Args:
        folder: of the package.
        configuration: the ``pyproject.toml`` with its import contract.
        families: the public classes to follow.
    """
    house, families = House(folder), list(families)
    figures: dict[str, Figure] = {}
    for name in families:
        members = house.family(name)
        listed = [f"{each.name} ({each.module})" for each in members]
        figures[f"classes of {name}"] = Figure(len(members), listed)
    overridden = house.overridden(families)
    listed = [f"{name}: {count} definitions" for name, count in sorted(overridden.items())]
    figures["private methods overridden"] = Figure(len(overridden), listed)
    figures["longest chain of overrides"] = Figure(max(overridden.values(), default=1), listed)
    shared = house.shared(families)
    listed = [f"{name}: {', '.join(sorted(modules))}" for name, modules in sorted(shared.items())]
    figures["attributes with several writers"] = Figure(len(shared), listed)
    contract = levels(configuration)
    figures["levels of the import contract"] = Figure(len(contract), contract)
    long = {name: size for name, size in house.lengths.items() if size > LONGEST_MODULE}
    listed = [f"{name}: {size}" for name, size in sorted(long.items())]
    figures[f"modules over {LONGEST_MODULE} lines"] = Figure(len(long), listed)
    figures["assertions of not None"] = Figure(len(house.assertions), house.assertions)
    return figures


def check(figures: Mapping[str, Figure], limits: Mapping[str, Limit]) -> list[str]:
    """What is above its limit, or has none."""
    faults: list[str] = []
    for name, figure in figures.items():
        limit = limits.get(name)
        if limit is None:
            faults.append(f"{name}: {figure.value}, which has no limit")
        elif figure.value > limit.today:
            faults.append(f"{name}: {figure.value}, and {limit.today} are allowed")
    faults += [f"{name}: a limit, but no figure" for name in limits if name not in figures]
    return faults


def main(arguments: list[str] | None = None) -> int:
    """Print the figures; 1 if one is above its limit."""
    parser = argparse.ArgumentParser(description="Measure how the code is built.")
    parser.add_argument("--list", action="store_true", help="show what is counted")
    options = parser.parse_args(arguments)
    prefix = "classes of "
    families = [name.removeprefix(prefix) for name in LIMITS if name.startswith(prefix)]
    figures = measure(ROOT / "trio_xsock", ROOT / "pyproject.toml", families)
    faults = check(figures, LIMITS)
    print(f"{'':34}{'now':>5}{'limit':>7}{'goal':>6}")
    for name, (value, details) in figures.items():
        limit = LIMITS.get(name, Limit(-1, -1))
        hint = "  lower the limit" if max(value, limit.goal) < limit.today else ""
        print(f"{name:34}{value:5}{limit.today:7}{limit.goal:6}{hint}")
        if options.list or any(fault.startswith(f"{name}:") for fault in faults):
            print(*(f"    {detail}" for detail in details), sep="\n")
    for fault in faults:
        print("FAULT:", fault)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())

"""Configuration of Sphinx. The build needs no network."""

import importlib.metadata
import re
import sys
from abc import ABC
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Generic

from docutils.nodes import Element, Node
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.docutils import SphinxDirective

import trio_xsock

sys.path.insert(0, str(Path(__file__).parent))

import by_task

project = "trio_xsock"
author = "trio_xsock contributors"
copyright = "2026, trio_xsock contributors"
release = importlib.metadata.version("trio-xsock")
version = ".".join(release.split(".")[:2])

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_design",
    "sphinxcontrib_trio",
]
exclude_patterns = ["_build", "topics/benchmarks.md"]
default_role = "literal"
templates_path: list[str] = []

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_title = f"trio_xsock {release}"

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False

# Other projects' pages are out of reach without a network, so their names stay plain text.
nitpick_ignore_regex = [
    (r"py:.*", r"(trio|outcome|psutil)(\..+)?"),
    (
        r"py:.*",
        r"(collections|contextlib|dataclasses|enum|errno|ipaddress|os|pathlib|socket|ssl|types)(\..+)?",
    ),
    (r"py:.*", r"(typing|typing_extensions)\..+"),
    (r"py:.*", r"(trio_xsock\.(\w+\.)*)?[A-Z]s?(_co|_contra)?"),  # type variables
    # Types that signatures name and nobody has to: of options, of arguments, of may_stop().
    (
        r"py:class",
        r"trio_xsock\._sockets\.\w+\.(ConnectionOption|MayStop|PathOption|SSLOptions|TCPOptions|TLSFact|TLSOption|TLSSwitch)",
    ),
    (r"py:exc", r"(\w+ and )?other \w+|\w+ and others"),  # in "Raises:"
]


def find_public_name(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, text: Element
) -> Element | None:
    """Link a name given with the module that holds it to where it is public."""
    package, _, name = node["reftarget"].partition("._")
    if package != "trio_xsock":
        return None
    public = f"{package}.{name.partition('.')[2]}"
    domain = env.get_domain("py")
    return domain.resolve_xref(
        env, node["refdoc"], app.builder, node["reftype"], public, node, text
    )


def public_bases(bases: Iterable[Any]) -> Iterator[Any]:
    """These bases, each that is not public replaced by its own."""
    for base in bases:
        private = getattr(base, "__module__", "").startswith("trio_xsock._")
        if private and not hasattr(trio_xsock, base.__name__):
            yield from public_bases(getattr(base, "__origin__", base).__bases__)
        elif base not in {ABC, Generic, object}:
            yield base


def show_public_bases(
    _app: Sphinx, _name: str, _object: object, _options: object, bases: list[Any]
) -> None:
    """Show how a class stands in the public family, not of which parts it is made."""
    bases[:] = dict.fromkeys(public_bases(bases))


def keep_first_line(
    _app: Sphinx, what: str, _name: str, _object: object, _options: object, lines: list[str]
) -> None:
    """Keep napoleon from taking "UDP: bound." of an attribute for a type and a description."""
    if what in {"attribute", "data", "property"}:
        lines[:0] = ["..", ""]


def name_default_classes(
    _app: Sphinx,
    _what: str,
    _name: str,
    _object: object,
    _options: object,
    signature: str | None,
    result: str | None,
) -> tuple[str, str | None] | None:
    """Show a class that is a default by its name."""
    if signature is None:
        return None
    return re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", signature), result


class ByTask(SphinxDirective):
    """``.. by-task:: TCPSocket``, within the entry of that class: its members by task."""

    required_arguments = 1

    def run(self) -> list[Node]:
        """Called by Sphinx."""
        owner: type = getattr(trio_xsock, self.arguments[0])
        return self.parse_text_to_nodes("\n".join(by_task.lines(owner)))


def forget_overloads() -> None:
    """Show constructors as they are written: overloads have ``...`` in place of defaults."""
    analyze = ModuleAnalyzer.analyze

    def analyze_without(self: ModuleAnalyzer) -> None:
        analyze(self)
        for name in [name for name in self.overloads if name.endswith(".__init__")]:
            del self.overloads[name]

    ModuleAnalyzer.analyze = analyze_without  # type: ignore[method-assign]


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    forget_overloads()
    app.add_directive("by-task", ByTask)
    app.connect("missing-reference", find_public_name)
    app.connect("autodoc-process-bases", show_public_bases)
    app.connect("autodoc-process-docstring", keep_first_line, priority=400)
    app.connect("autodoc-process-signature", name_default_classes)

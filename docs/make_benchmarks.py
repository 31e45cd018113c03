"""Measure, and put what was measured where it is shown: the documentation and the README.

``.venv/bin/python docs/make_benchmarks.py``, in a clone, on a machine that does nothing else, takes
some eight minutes. What is given as arguments goes to the benchmarks.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
TABLE = DOCS / "topics" / "benchmarks.md"
README = ROOT / "README.md"
BEGIN = "<!-- Made by docs/make_benchmarks.py -->\n"
END = "<!-- End -->\n"


def readme_with(readme: str, table: str) -> str:
    """The text of the README with this table in its place."""
    before, _, rest = readme.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{table}{END}{after}"


def main() -> None:
    """Measure and write."""
    outputs = [
        f"--{kind}={path.relative_to(ROOT)}"
        for kind, path in [
            ("markdown", TABLE),
            ("svg", TABLE.with_suffix(".svg")),
            ("json", TABLE.with_suffix(".json")),
        ]
    ]
    command = [sys.executable, "-m", "benchmarks", *outputs, *sys.argv[1:]]
    subprocess.run(command, cwd=ROOT, check=True)
    readme = README.read_text(encoding="utf-8")
    table = TABLE.read_text(encoding="utf-8")
    README.write_text(readme_with(readme, table), encoding="utf-8")


if __name__ == "__main__":
    main()

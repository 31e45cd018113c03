"""Measure, and write the tables and the charts of the documentation and the README.

``.venv/bin/python docs/make_benchmarks.py``, in a clone, on a machine that does nothing else, takes
some eighteen minutes. Both ends share one core. Arguments are passed to the benchmarks.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
TABLE = DOCS / "topics" / "benchmarks.md"


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
    options = ["--placement=one-core", *outputs, *sys.argv[1:]]
    subprocess.run([sys.executable, "-m", "benchmarks", *options], cwd=ROOT, check=True)
    for script in ("make_speed_chart.py", "make_speed_table.py"):
        subprocess.run([sys.executable, str(DOCS / script)], cwd=ROOT, check=True)


if __name__ == "__main__":
    main()

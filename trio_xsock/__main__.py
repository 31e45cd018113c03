"""``python -m trio_xsock`` does what the program ``xsock`` does."""

from __future__ import annotations

from ._cli import program

program()

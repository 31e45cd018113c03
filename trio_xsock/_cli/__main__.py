"""``python -m trio_xsock._cli`` does what ``xsock`` does."""

from __future__ import annotations

from . import program

program()

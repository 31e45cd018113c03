"""``python -m trio_xsock._cli`` does what ``xsock`` does."""

from __future__ import annotations

import sys

from . import main

sys.exit(main())

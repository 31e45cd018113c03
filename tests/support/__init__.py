"""What tests share: raw peers, a recording handler, and the rules that events obey.

Import it as ``from tests.support import RawPeer``; ``tests/conftest.py`` sees to the path.
"""

from .grammar import (
    UNKNOWN as UNKNOWN,
    check_grammar as check_grammar,
    check_merged as check_merged,
)
from .peers import (
    RawPeer as RawPeer,
    accept as accept,
    raw_listener as raw_listener,
    raw_pair as raw_pair,
    shrink_buffers as shrink_buffers,
)
from .recorder import EventRecorder as EventRecorder
from .waiting import until as until

"""What tests share: raw peers, a recording handler, and the rules that events obey.

Import it as ``from tests.support import RawPeer``; ``tests/conftest.py`` sees to the path.
"""

from .grammar import UNKNOWN as UNKNOWN
from .grammar import check_grammar as check_grammar
from .grammar import check_merged as check_merged
from .peers import RawPeer as RawPeer
from .peers import accept as accept
from .peers import raw_listener as raw_listener
from .peers import raw_pair as raw_pair
from .peers import shrink_buffers as shrink_buffers
from .recorder import EventRecorder as EventRecorder
from .waiting import settle as settle
from .waiting import until as until

"""Tools for testing programs that use ``trio_xsock``.

Connected sockets in one line, ``socket_pair`` and ``ssl_socket_pair`` over loopback, and
``memory_socket_pair`` without the OS, and ``serving``, which runs a handler over such a pair;
``delay``, ``drop``, ``cut`` and ``stall``, which make a connection misbehave for the time of a
block; ``MemoryNetwork``, by which clients and servers reach each other by name without the OS;
``DatagramNetwork``, by which datagram sockets do so, and which loses some;
``RecordingHandler``, which writes down what happened; and ``is_compiled``, which says how the
library was built.

======================  =====================================================================
``_watch``              calls a socket's steps when a transport says that it is time
``_memory``             a connection without an OS
``_line``               input in transit to a socket
``_weather``            the faults, and their combined effect
``_arrivals``           what arrives at a transport with faults, and when
``_faulty``             a transport that can be told to misbehave
``_seam``               the only access to private attributes of sockets
``_pairs`` ``_faults``  the public names, with ``_network``, ``_tcp_network``, ``_recording``,
                        ``_build``
======================  =====================================================================
"""

from ._build import is_compiled as is_compiled
from ._faults import cut as cut
from ._faults import delay as delay
from ._faults import drop as drop
from ._faults import stall as stall
from ._network import DatagramNetwork as DatagramNetwork
from ._pairs import memory_socket_pair as memory_socket_pair
from ._pairs import serving as serving
from ._pairs import socket_pair as socket_pair
from ._pairs import ssl_socket_pair as ssl_socket_pair
from ._recording import HandlerCall as HandlerCall
from ._recording import RecordingHandler as RecordingHandler
from ._tcp_network import MemoryNetwork as MemoryNetwork

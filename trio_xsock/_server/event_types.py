"""The events of each kind of socket, as types: what a ``match`` has to cover."""

from __future__ import annotations

from typing import Any, TypeAlias

from trio_xsock._sockets.discovery import AutoDiscovery
from trio_xsock._sockets.easy_tcp import EasyTCPSocket
from trio_xsock._sockets.easy_udp import EasyUDPSocket
from trio_xsock._sockets.ssl import SSLSocket
from trio_xsock._sockets.tcp import TCPSocket
from trio_xsock._sockets.udp import UDPSocket
from trio_xsock._values.events import (
    DatagramEvent,
    GroupEvent,
    ListenerEvent,
    MemberEvent,
    MessageEvent,
    StreamEvent,
)

from .server import ServerSocket

TCPEvent: TypeAlias = StreamEvent[TCPSocket]
"""The events of a ``TCPSocket``."""

SSLEvent: TypeAlias = StreamEvent[SSLSocket]
"""The events of a ``SSLSocket``."""

UDPEvent: TypeAlias = DatagramEvent[UDPSocket]
"""The events of a ``UDPSocket``."""

EasyTCPEvent: TypeAlias = MessageEvent[EasyTCPSocket]
"""The events of an ``EasyTCPSocket``."""

EasyUDPEvent: TypeAlias = GroupEvent[EasyUDPSocket]
"""The events of an ``EasyUDPSocket``."""

DiscoveryEvent: TypeAlias = MemberEvent[AutoDiscovery]
"""The events of an ``AutoDiscovery``."""

ServerEvent: TypeAlias = ListenerEvent[ServerSocket[Any]]
"""The events of a ``ServerSocket``."""

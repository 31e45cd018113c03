"""The events of each kind of socket, under a name: what a ``match`` has to cover."""

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
"""What happens to a ``TCPSocket``."""

SSLEvent: TypeAlias = StreamEvent[SSLSocket]
"""What happens to a ``SSLSocket``."""

UDPEvent: TypeAlias = DatagramEvent[UDPSocket]
"""What happens to a ``UDPSocket``."""

EasyTCPEvent: TypeAlias = MessageEvent[EasyTCPSocket]
"""What happens to an ``EasyTCPSocket``."""

EasyUDPEvent: TypeAlias = GroupEvent[EasyUDPSocket]
"""What happens to an ``EasyUDPSocket``."""

DiscoveryEvent: TypeAlias = MemberEvent[AutoDiscovery]
"""What happens to an ``AutoDiscovery``."""

ServerEvent: TypeAlias = ListenerEvent[ServerSocket[Any]]
"""What happens to a ``ServerSocket``."""

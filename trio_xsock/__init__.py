"""trio_xsock: the Xojo socket family as structured concurrency, on Trio.

A map of the package. Each folder is a layer; a module imports only from its own folder and from
folders below it, and no modules import each other in a circle:

=============  ==============================================================================
``_cli``       the command ``xsock``
``testing``    connected pairs, networks in memory, faults, recorders
``_server``    ``ServerSocket``: places, handshakes, supervision
``_sockets``   the public classes and their calls
``_engine``    connections and datagram ports: the steps that move bytes, which never wait
``_network``   names, connecting, listening, TLS, files, interfaces, questions to the OS
``_runtime``   Trio's machinery: scopes, tasks, delivery of events, channels, readiness
``_machines``  buffers, ledgers, framing, the TLS engine, membership: no I/O, no clock
``_values``    errors, events, datagrams, messages, statistics
``_platform``  what the operating system has and lacks; knows nothing of ``_values``
=============  ==============================================================================

This file only re-exports.
"""

from ._engine.core import SocketCore as SocketCore
from ._machines.framing import MessageDecoder as MessageDecoder
from ._machines.framing import encode_message as encode_message
from ._machines.state import SocketState as SocketState
from ._network.activation import activation_sockets as activation_sockets
from ._network.interface import NetworkInterface as NetworkInterface
from ._network.interface import network_interface as network_interface
from ._network.interface import network_interfaces as network_interfaces
from ._network.socket_view import SocketView as SocketView
from ._runtime.channel import EventChannel as EventChannel
from ._runtime.handlers import SocketHandler as SocketHandler
from ._server.event_types import DiscoveryEvent as DiscoveryEvent
from ._server.event_types import EasyTCPEvent as EasyTCPEvent
from ._server.event_types import EasyUDPEvent as EasyUDPEvent
from ._server.event_types import ServerEvent as ServerEvent
from ._server.event_types import SSLEvent as SSLEvent
from ._server.event_types import TCPEvent as TCPEvent
from ._server.event_types import UDPEvent as UDPEvent
from ._server.server import ServerSocket as ServerSocket
from ._sockets.connecting import connect_ssl as connect_ssl
from ._sockets.connecting import connect_tcp as connect_tcp
from ._sockets.discovery import AutoDiscovery as AutoDiscovery
from ._sockets.easy_tcp import EasyTCPSocket as EasyTCPSocket
from ._sockets.easy_udp import EasyUDPSocket as EasyUDPSocket
from ._sockets.lines import Lines as Lines
from ._sockets.ssl import SSLSocket as SSLSocket
from ._sockets.tcp import TCPSocket as TCPSocket
from ._sockets.udp import UDPSocket as UDPSocket
from ._values.connection_types import SSLConnectionTypes as SSLConnectionTypes
from ._values.datagram import Datagram as Datagram
from ._values.errors import AddressInUseError as AddressInUseError
from ._values.errors import ConnectError as ConnectError
from ._values.errors import DelimiterNotFoundError as DelimiterNotFoundError
from ._values.errors import ErrorCode as ErrorCode
from ._values.errors import FramingError as FramingError
from ._values.errors import IncompleteReadError as IncompleteReadError
from ._values.errors import InvalidPortError as InvalidPortError
from ._values.errors import InvalidStateError as InvalidStateError
from ._values.errors import LossReason as LossReason
from ._values.errors import LostConnectionError as LostConnectionError
from ._values.errors import NameResolutionError as NameResolutionError
from ._values.errors import OpenDriverError as OpenDriverError
from ._values.errors import OutOfMemoryError as OutOfMemoryError
from ._values.errors import SocketClosedError as SocketClosedError
from ._values.errors import SocketError as SocketError
from ._values.errors import TLSError as TLSError
from ._values.events import Connected as Connected
from ._values.events import ConnectionsChanged as ConnectionsChanged
from ._values.events import DataAvailable as DataAvailable
from ._values.events import ErrorOccurred as ErrorOccurred
from ._values.events import Event as Event
from ._values.events import MemberJoined as MemberJoined
from ._values.events import MemberLeft as MemberLeft
from ._values.events import ReceivedMessage as ReceivedMessage
from ._values.events import SendComplete as SendComplete
from ._values.events import SendProgress as SendProgress
from ._values.member import Member as Member
from ._values.message import Message as Message
from ._values.server_statistics import ServerStatistics as ServerStatistics
from ._values.statistics import EventChannelStatistics as EventChannelStatistics
from ._values.statistics import SocketStatistics as SocketStatistics

__version__ = "0.1.0"

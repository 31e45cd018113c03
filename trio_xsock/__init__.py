"""trio_xsock: the Xojo socket family as structured concurrency, on Trio.

A map of the package, bottom to top; a module imports only from rows above its own:

======================  =====================================================================
values                  ``_errors`` ``_events`` ``_typing`` ``_statistics`` ``_server_statistics``
                        ``_datagram`` ``_connection_types`` ``_message`` ``_member``
machines without I/O    ``_state`` ``_buffer`` ``_ledger`` ``_coalesce`` ``_endpoint`` ``_tls``
                        ``_dead_peers`` ``_proxy_protocol`` ``_udp_queue``
                        ``_udp_filter`` ``_udp_groups`` ``_framing`` ``_packets``
                        ``_message_buffer`` ``_message_ledger`` ``_member_packets``
                        ``_replay_protection`` ``_rate_limit`` ``_membership``
guards and checks       ``_guard`` ``_options`` ``_groups`` ``_kernel`` ``_tcp_info``
                        ``_udp_options`` ``_tls_options``
Trio plumbing           ``_keeper`` ``_channel`` ``_block`` ``_epoll`` ``_handlers`` ``_hub``
                        ``_readiness`` ``_message_hub`` ``_member_events``
network plumbing        ``_interface`` ``_resolve`` ``_file_source`` ``_dial`` ``_listen``
                        ``_acceptor`` ``_proxies`` ``_activation`` ``_udp_port``
                        ``_udp_system``
TLS                     ``_tls_context`` ``_rejection`` ``_tls_transport`` ``_handshake``
the base                ``_scoped`` ``_core``
a connection, by parts  ``_link`` ``_intake`` ``_outlet`` ``_ending`` ``_connection``
                        ``_watchdogs`` ``_listening``
its calls               ``_limits`` ``_queueing``
of bytes                ``_reading`` ``_lines`` ``_receiving`` ``_sending`` ``_file_sending``
of messages             ``_easy_connecting`` ``_easy_delivery`` ``_easy_decoding``
                        ``_easy_receiving`` ``_easy_sending``
encrypted, by parts     ``_secured`` ``_securing`` ``_start_tls`` ``_ssl_options``
datagrams, by parts     ``_udp_base`` ``_udp_binding`` ``_udp_receiving`` ``_udp_routing``
                        ``_udp_sending``
sockets                 ``_tcp`` ``_udp`` ``_ssl`` ``_easy_tcp``
messages in groups      ``_group_receiving`` ``_easy_udp`` ``_discovery_group`` ``_discovery``
a server, by parts      ``_pool`` ``_roster`` ``_reception`` ``_supervision``
                        ``_server_listening`` ``_server``
outside                 ``testing`` ``_cli``
======================  =====================================================================

This file only re-exports.
"""

from ._activation import activation_sockets as activation_sockets
from ._channel import EventChannel as EventChannel
from ._channel import EventChannelStatistics as EventChannelStatistics
from ._connection_types import SSLConnectionTypes as SSLConnectionTypes
from ._core import SocketCore as SocketCore
from ._datagram import Datagram as Datagram
from ._discovery import AutoDiscovery as AutoDiscovery
from ._easy_tcp import EasyTCPSocket as EasyTCPSocket
from ._easy_udp import EasyUDPSocket as EasyUDPSocket
from ._errors import AddressInUseError as AddressInUseError
from ._errors import ConnectError as ConnectError
from ._errors import DelimiterNotFoundError as DelimiterNotFoundError
from ._errors import ErrorCode as ErrorCode
from ._errors import FramingError as FramingError
from ._errors import IncompleteReadError as IncompleteReadError
from ._errors import InvalidPortError as InvalidPortError
from ._errors import InvalidStateError as InvalidStateError
from ._errors import LossReason as LossReason
from ._errors import LostConnectionError as LostConnectionError
from ._errors import NameResolutionError as NameResolutionError
from ._errors import OpenDriverError as OpenDriverError
from ._errors import OutOfMemoryError as OutOfMemoryError
from ._errors import SocketClosedError as SocketClosedError
from ._errors import SocketError as SocketError
from ._errors import TLSError as TLSError
from ._events import Connected as Connected
from ._events import ConnectionsChanged as ConnectionsChanged
from ._events import DataAvailable as DataAvailable
from ._events import ErrorOccurred as ErrorOccurred
from ._events import Event as Event
from ._events import MemberJoined as MemberJoined
from ._events import MemberLeft as MemberLeft
from ._events import ReceivedMessage as ReceivedMessage
from ._events import SendComplete as SendComplete
from ._events import SendProgress as SendProgress
from ._framing import MessageDecoder as MessageDecoder
from ._framing import encode_message as encode_message
from ._handlers import SocketHandler as SocketHandler
from ._interface import NetworkInterface as NetworkInterface
from ._interface import network_interface as network_interface
from ._interface import network_interfaces as network_interfaces
from ._lines import Lines as Lines
from ._member import Member as Member
from ._message import Message as Message
from ._server import ServerSocket as ServerSocket
from ._server_statistics import ServerStatistics as ServerStatistics
from ._ssl import SSLSocket as SSLSocket
from ._state import SocketState as SocketState
from ._statistics import SocketStatistics as SocketStatistics
from ._tcp import TCPSocket as TCPSocket
from ._udp import UDPSocket as UDPSocket

__version__ = "0.1.0"

"""A UDP port of the OS: the descriptor, its options, and the ways out of it.

A port speaks IPv4, IPv6, or both by way of mapped addresses (RFC 3493, 3.7). What a socket
needs of it is ``Port``; a network that exists only in a test can be one, too.
"""

from __future__ import annotations

import contextlib
import errno as errnos
import os
import socket as stdlib_socket
import struct
import sys
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol, TypeAlias

from ._endpoint import ResolvedAddress, address_text, format_endpoint, is_link_local
from ._endpoint import is_multicast as is_multicast
from ._errors import AddressInUseError, SocketError, translate_os_error
from ._interface import NetworkInterface, broadcast_addresses
from ._typing import Address, Buffer
from ._udp_filter import (
    ANCILLARY_SPACE,
    PACKET_INFO_4,
    PACKET_INFO_6,
    InterfaceFilter,
    arrival,
    is_group,
)
from ._udp_groups import Group, Memberships
from ._udp_queue import Packet

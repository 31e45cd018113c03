"""The reference has an entry for every public name, in the order of the class family."""

from __future__ import annotations

import re
from collections.abc import Iterator

import trio_xsock
import trio_xsock.testing

from .pages import DOCS

REFERENCE = DOCS / "reference"

FAMILY = {
    "sockets": [
        "SocketCore",
        "TCPSocket",
        "Lines",
        "SSLSocket",
        "connect_tcp",
        "connect_ssl",
        "SSLConnectionTypes",
        "UDPSocket",
        "Datagram",
        "SocketState",
        "SocketView",
        "SocketStatistics",
    ],
    "messages": [
        "EasyTCPSocket",
        "EasyUDPSocket",
        "AutoDiscovery",
        "Member",
        "Message",
        "encode_message",
        "MessageDecoder",
    ],
    "server": ["ServerSocket", "ServerStatistics", "activation_sockets"],
    "events": [
        "EventChannel",
        "EventChannelStatistics",
        "SocketHandler",
        "Event",
        "Connected",
        "DataAvailable",
        "SendProgress",
        "SendComplete",
        "ErrorOccurred",
        "ReceivedMessage",
        "ConnectionsChanged",
        "MemberJoined",
        "MemberLeft",
    ],
    "errors": [
        "SocketError",
        "ErrorCode",
        "OpenDriverError",
        "LostConnectionError",
        "LossReason",
        "NameResolutionError",
        "AddressInUseError",
        "InvalidStateError",
        "SocketClosedError",
        "InvalidPortError",
        "OutOfMemoryError",
        "TLSError",
        "ConnectError",
        "IncompleteReadError",
        "DelimiterNotFoundError",
        "FramingError",
    ],
    "network": ["NetworkInterface", "network_interfaces", "network_interface"],
    "testing": [
        "socket_pair",
        "ssl_socket_pair",
        "memory_socket_pair",
        "serving",
        "MemoryNetwork",
        "delay",
        "drop",
        "cut",
        "stall",
        "DatagramNetwork",
        "RecordingHandler",
        "HandlerCall",
    ],
}
"""The pages in their order, and what each describes: first the sockets, then what they give."""

ENTRY = re.compile(
    r"^\.\. (?:autoclass|autoexception|autofunction|autodata|py:type):: (\w+)(?:\(\))?$",
    re.MULTILINE,
)


def entries(page: str) -> list[str]:
    """The names that a page of the reference describes."""
    return ENTRY.findall((REFERENCE / f"{page}.rst").read_text(encoding="utf-8"))


def public_names() -> Iterator[str]:
    """What the package and its module for tests export."""
    for module in (trio_xsock, trio_xsock.testing):
        for name, value in vars(module).items():
            is_module = getattr(value, "__spec__", None) is not None
            if not name.startswith("_") and not is_module:
                yield name


def test_every_public_name_has_one_entry() -> None:
    """No name is left out, none is described twice, and none is described that is not there."""
    described = [name for page in FAMILY for name in entries(page)]
    assert sorted(described) == sorted(public_names())


def test_entries_are_in_family_order() -> None:
    """Each page describes its part of the family, from the base to what it gives out."""
    assert {page: entries(page) for page in FAMILY} == FAMILY


def test_pages_are_in_family_order() -> None:
    """The index lists the pages in that order, and no other."""
    index = (REFERENCE / "index.rst").read_text(encoding="utf-8")
    listed = re.findall(r"^   (\w+)$", index.partition("toctree")[2], re.MULTILINE)
    assert listed == list(FAMILY)
    assert {path.stem for path in REFERENCE.glob("*.rst")} == {"index", *FAMILY}

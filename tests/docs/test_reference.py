"""The reference has an entry for every public name, in the order of the class family."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

import trio_xsock
import trio_xsock.testing

from .pages import DOCS, load_script

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
        "TCPEvent",
        "SSLEvent",
        "UDPEvent",
        "EasyTCPEvent",
        "EasyUDPEvent",
        "DiscoveryEvent",
        "ServerEvent",
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
        "is_compiled",
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


CLASSES_BY_TASK = re.findall(
    r"^   \.\. by-task:: (\w+)$",
    "".join(path.read_text(encoding="utf-8") for path in sorted(REFERENCE.glob("*.rst"))),
    re.MULTILINE,
)
"""The classes whose members are grouped by task."""


def test_all_sockets_are_described_by_task() -> None:
    """The base, and all that derives from it, and the server."""
    family = {
        name
        for name, value in vars(trio_xsock).items()
        if isinstance(value, type) and issubclass(value, trio_xsock.SocketCore)
    }
    assert set(CLASSES_BY_TASK) == family | {"ServerSocket"}


@pytest.mark.parametrize("name", CLASSES_BY_TASK)
def test_every_member_is_listed_under_one_task(name: str) -> None:
    """A new member has to be put into ``TASKS`` of ``docs/by_task.py``."""
    script = load_script("by_task")
    listed = [
        member for _, members in script.groups(getattr(trio_xsock, name)) for member in members
    ]
    assert sorted(listed) == script.members(getattr(trio_xsock, name))
    assert "More" not in dict(script.groups(getattr(trio_xsock, name)))


def test_tasks_list_each_member_once_and_none_that_is_not_there() -> None:
    script = load_script("by_task")
    listed = [name for names in script.TASKS.values() for name in names.split()]
    assert len(listed) == len(set(listed))
    there = {name for owner in CLASSES_BY_TASK for name in dir(getattr(trio_xsock, owner))}
    assert set(listed) <= there


def test_inherited_members_are_described_once() -> None:
    """What a class has from its public base is linked, not repeated."""
    script = load_script("by_task")
    for name in ("write", "receive_until", "keepalive", "state"):
        assert script.described_by(trio_xsock.SSLSocket, name) is not trio_xsock.SSLSocket
    assert script.described_by(trio_xsock.TCPSocket, "last_error") is trio_xsock.SocketCore
    assert script.described_by(trio_xsock.TCPSocket, "connect") is trio_xsock.TCPSocket

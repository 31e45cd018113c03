"""The porting guide has a row for every Xojo member, and its numbers are right."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

import trio_xsock
from trio_xsock import ErrorCode

from .pages import DOCS, table_rows

GUIDE = DOCS / "porting" / "members.md"

MEMBERS = {
    "SocketCore": """
        Handle IsConnected LocalAddress NetworkInterface Port LastErrorCode
        Connect Close Poll Purge DataAvailable Error SendComplete
        NoError OpenDriverError LostConnection NameResolutionError AddressInUseError
        InvalidStateError InvalidPortError OutOfMemoryError
    """,
    "TCPSocket": """
        Address BytesAvailable BytesLeftToSend RemoteAddress
        Disconnect EndOfFile Flush Listen Lookahead Read ReadAll ReadError Write WriteError
        Connected SendProgress
    """,
    "SSLSocket": """
        SSLEnabled SSLConnectionType CertificateFile CertificatePassword CertificateRejectionFile
        SSLConnected SSLConnecting
        SSLConnectionTypes.SSLv23 SSLConnectionTypes.TLSv1 SSLConnectionTypes.TLSv11
        SSLConnectionTypes.TLSv12 SSLConnectionTypes.TLSv13
    """,
    "ServerSocket": """
        Handle IsListening LocalAddress MaximumSocketsConnected MinimumSocketsAvailable
        NetworkInterface Port Listen StopListening ActiveConnections AddSocket Error
    """,
    "UDPSocket": """
        Connect BroadcastAddress PacketsAvailable PacketsLeftToSend RouterHops SendToSelf
        JoinMulticastGroup LeaveMulticastGroup Read Write Write
        DataAvailable Error SendComplete
    """,
    "Datagram": "Address Port Data",
    "EasyTCPSocket": """
        SendMessage WaitForConnection WaitForMessage Read ReadAll Write ReceivedMessage Error
        OpenDriverError
    """,
    "EasyUDPSocket": """
        Bind Register Unregister SendMessageToGroup SendMessageToIndividual WaitForMessage
        Read Write ReceivedMessage
    """,
    "AutoDiscovery": """
        GetMemberList UpdateMemberList SendMessageToGroup MemberJoined MemberLeft
    """,
    "NetworkInterface and System": """
        IPAddress SubnetMask MACAddress Name Loopback
        System.NetworkInterface System.NetworkInterfaceCount
    """,
}
"""The public members of the classes that Xojo documents: properties, methods, events, constants."""


def sections() -> Iterator[tuple[str, list[list[str]]]]:
    """The chapters of the guide, each with the rows of its tables."""
    for chapter in re.split(r"^## ", GUIDE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        title, _, text = chapter.partition("\n")
        yield title, list(table_rows(text))


def member_of(cell: str) -> str:
    """The member that a row is about, without its arguments."""
    found = re.match(r"`([\w.]+)", cell)
    return found[1] if found else cell


@pytest.mark.parametrize("title", MEMBERS)
def test_every_member_has_a_row(title: str) -> None:
    """Each is there, once for each of its forms, and has something in the column beside it."""
    rows = dict(sections())[title]
    listed = [member_of(row[0]) for row in rows]
    members = MEMBERS[title].split()
    for member in members:
        assert listed.count(member) == members.count(member), member
        assert rows[listed.index(member)][1], member


@pytest.mark.parametrize("title", [*MEMBERS, "Member"])
def test_every_member_of_ours_is_named(title: str) -> None:
    """Who looks for the counterpart of a member finds it, new ones too."""
    described = getattr(trio_xsock, title.partition(" ")[0])
    page = GUIDE.read_text(encoding="utf-8")
    named = set(re.findall(r"\w+", page))
    assert {name for name in dir(described) if not name.startswith("_")} <= named


def test_no_class_is_left_out() -> None:
    """All classes of the family have a chapter."""
    assert [title for title, _ in sections()][:-1] == list(MEMBERS)


def test_error_numbers_are_right() -> None:
    """The numbers of the table are those of the constants beside them."""
    rows = dict(sections())["SocketCore"]
    numbered = [row for row in rows if "`ErrorCode." in row[1]]
    assert {int(re.findall(r"\((\d+)\)", row[0])[0]) for row in numbered} == {
        code for code in ErrorCode if code < 200
    }
    for name, here, _ in numbered:
        assert f"({int(ErrorCode[here.strip('`').partition('.')[2]])})" in name

"""What the running text of the documentation calls by name is there."""

from __future__ import annotations

import builtins
import re
from pathlib import Path

import pytest
import trio

import trio_xsock.testing
from trio_xsock import ServerSocket, SocketError, SocketHandler, TCPSocket

from .pages import name_of, pages, prose

MARKDOWN = pages(".md")

OWNERS = {
    "sock": TCPSocket,
    "socket": TCPSocket,
    "server": ServerSocket,
    "handler": SocketHandler,
    "error": SocketError,
    **{
        name: getattr(trio_xsock, owner)
        for name, owner in {
            "secure": "SSLSocket",
            "udp": "UDPSocket",
            "datagram": "Datagram",
            "easy": "EasyTCPSocket",
            "group": "EasyUDPSocket",
            "discovery": "AutoDiscovery",
        }.items()
        if hasattr(trio_xsock, owner)
    },
    **{name: value for name, value in vars(trio_xsock).items() if isinstance(value, type)},
    "trio": trio,
}
"""What the pages call their objects, and of which class these are."""

SET_BY_INSTANCE = {"reason", "partial", "expected", "max_bytes", "errors"}
"""Attributes of errors that the class itself does not have."""


def spans(page: Path) -> list[str]:
    """The pieces of code within running text."""
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose(page))]


@pytest.mark.parametrize("page", MARKDOWN, ids=name_of)
def test_members_are_there(page: Path) -> None:
    """``sock.member`` and ``TCPSocket.member`` name a member of the class."""
    for span in spans(page):
        for owner, member in re.findall(r"(?<![\w./])(\w+)\.([a-z]\w*)", span):
            if owner in OWNERS and member not in SET_BY_INSTANCE:
                assert hasattr(OWNERS[owner], member), span


@pytest.mark.parametrize(
    "page",
    [page for page in MARKDOWN if not {"porting", "migrating"} & set(page.parts)],
    ids=name_of,
)
def test_classes_are_public(page: Path) -> None:
    """A name in the manner of classes is one of ours, of Python's or of Trio's."""
    for span in spans(page):
        if re.fullmatch(r"([A-Z][a-z]+|TCP|TLS|UDP|SSL){2,}", span):
            known = (trio_xsock, trio_xsock.testing, builtins, trio)
            assert any(hasattr(module, span) for module in known), span


@pytest.mark.parametrize("page", MARKDOWN, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    """A link to another page of the documentation finds it."""
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[\w-]+)?\)", prose(page)):
        assert target.startswith("https://") or (page.parent / target).is_file(), target

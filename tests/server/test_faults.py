"""A server outlives a fault in any call that the library makes for one connection.

Here in the plainest life of a peer, in all styles of servers; see ``test_faults_in_scenes``.
"""

from __future__ import annotations

import pytest

from tests.support.injection import Injector, calls_of_every_connection
from tests.support.outliving import FAULTS, STYLES, StyledServer, outlive, ping

IN_MOST_STYLES = [(style, fault) for style in ("serve", "events", "handler") for fault in FAULTS]
IN_THE_OTHERS = [
    (style, fault) for style in ("listen", "channel", "accept") for fault in ("EIO", "Runtime")
]


@pytest.mark.parametrize(("style", "fault"), [*IN_MOST_STYLES, *IN_THE_OTHERS])
@pytest.mark.parametrize("kind", ["tcp", "tls", "easy"])
async def test_a_server_outlives_a_fault_in_any_call(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    kind: str,
    style: str,
    fault: str,
) -> None:
    """Whatever raises while a connection is accepted, served and closed, the next is served."""
    injector = Injector()
    injector.put_around_system(monkeypatch)
    server = StyledServer(kind, style)
    called = await outlive(injector, caplog, server, lambda port: ping(port, kind), FAULTS[fault])
    assert {"accept", "recv", "send", "close"} <= called


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("kind", ["tcp", "tls", "easy"])
async def test_a_server_outlives_a_fault_of_its_own_engine(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, kind: str, style: str
) -> None:
    """A mistake of ours in any function of a connection costs that one connection."""
    await outlive_own_engine(monkeypatch, caplog, kind, style)


@pytest.mark.parametrize(
    ("kind", "style"), [("tcp", "serve"), ("tcp", "channel"), ("tls", "serve")]
)
async def test_also_if_tasks_wait_for_the_descriptors(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, kind: str, style: str
) -> None:
    """As they do without epoll: no such task is left behind."""
    monkeypatch.setenv("TRIO_XSOCK_READINESS", "portable")
    await outlive_own_engine(monkeypatch, caplog, kind, style)


async def outlive_own_engine(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, kind: str, style: str
) -> None:
    injector = Injector()
    injector.put_around_engine(monkeypatch)
    server = StyledServer(kind, style)
    called = await outlive(
        injector, caplog, server, lambda port: ping(port, kind), FAULTS["Runtime"]
    )
    assert calls_of_every_connection(kind) <= called

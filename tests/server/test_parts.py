"""Options that make no sense are refused."""

from __future__ import annotations

from typing import Any

import pytest

from trio_xsock import (
    ServerSocket,
)


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("minimum_sockets_available", -1, ValueError),
        ("minimum_sockets_available", 1.0, TypeError),
        ("minimum_sockets_available", None, TypeError),
        ("maximum_sockets_connected", 0, ValueError),
        ("maximum_sockets_connected", -1, ValueError),
        ("maximum_sockets_connected", "3", TypeError),
        ("maximum_sockets_connected", True, TypeError),
    ],
)
def test_limits_that_make_no_sense_are_refused(
    name: str, value: Any, error: type[Exception]
) -> None:
    """At construction, and at assignment, which then changes nothing."""
    options: dict[str, Any] = {name: value}
    with pytest.raises(error, match=name):
        ServerSocket(**options)
    server = ServerSocket(minimum_sockets_available=7, maximum_sockets_connected=8)
    with pytest.raises(error, match=name):
        setattr(server, name, value)
    assert server.minimum_sockets_available == 7
    assert server.maximum_sockets_connected == 8


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("idle_timeout", 0, ValueError),
        ("idle_timeout", "1", TypeError),
        ("maximum_handshakes", 0, ValueError),
        ("maximum_handshakes", 1.5, TypeError),
        ("handshake_timeout", 0, ValueError),
        ("handshake_timeout", None, TypeError),
    ],
)
def test_options_that_make_no_sense_are_refused(
    name: str, value: Any, error: type[Exception]
) -> None:
    """At construction and at assignment, which then changes nothing."""
    options: dict[str, Any] = {name: value}
    with pytest.raises(error, match=name):
        ServerSocket(**options)
    server = ServerSocket(idle_timeout=3, maximum_handshakes=4, handshake_timeout=5)
    with pytest.raises(error, match=name):
        setattr(server, name, value)
    assert (server.idle_timeout, server.maximum_handshakes, server.handshake_timeout) == (3, 4, 5)


def test_proxy_options_that_make_no_sense_are_refused() -> None:
    """Nothing but a truth value, and nothing but networks."""
    with pytest.raises(TypeError, match="proxy_protocol"):
        ServerSocket(proxy_protocol=2)  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="trusted_proxies"):
        ServerSocket(trusted_proxies=["nowhere"])
    assert not ServerSocket().proxy_protocol

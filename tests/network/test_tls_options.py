"""The options of TLS are checked at the door."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest

from trio_xsock import SSLConnectionTypes
from trio_xsock._network.tls_options import (
    TLSOptions,
    check_context,
    check_hostname,
    checked_options,
)

DEFAULTS: dict[str, Any] = {
    "connection_type": SSLConnectionTypes.SSLv23,
    "ca_file": None,
    "certificate_file": None,
    "certificate_password": "",
    "require_client_certificate": False,
    "alpn_protocols": (),
    "verify": True,
}


def test_the_defaults_are_in_order() -> None:
    assert checked_options(**DEFAULTS) == TLSOptions()


def test_what_is_equal_is_one() -> None:
    """Whether paths come as text or as paths, and types as numbers or by name."""
    one = checked_options(
        **{**DEFAULTS, "ca_file": "x.pem", "connection_type": 5, "alpn_protocols": ["h2"]}
    )
    other = checked_options(
        **{
            **DEFAULTS,
            "ca_file": Path("x.pem"),
            "connection_type": SSLConnectionTypes.TLSv12,
            "alpn_protocols": ("h2",),
        }
    )
    assert one == other
    assert hash(one) == hash(other)


@pytest.mark.parametrize(
    ("option", "value", "error"),
    [
        ("connection_type", "TLSv1.2", TypeError),
        ("connection_type", True, TypeError),
        ("connection_type", 0, ValueError),  # SSL 2
        ("connection_type", 2, ValueError),  # SSL 3
        ("connection_type", 7, ValueError),
        ("ca_file", 1, TypeError),
        ("certificate_file", b"x.pem", TypeError),
        ("certificate_password", b"secret", TypeError),
        ("certificate_password", None, TypeError),
        ("require_client_certificate", 1, TypeError),
        ("alpn_protocols", "h2", TypeError),
        ("alpn_protocols", b"h2", TypeError),
        ("alpn_protocols", {"h2"}, TypeError),
        ("alpn_protocols", [b"h2"], TypeError),
        ("alpn_protocols", [""], ValueError),
        ("alpn_protocols", ["x" * 256], ValueError),
        ("alpn_protocols", ["h\xf6"], ValueError),
        ("verify", None, TypeError),
    ],
)
def test_wrong_ones_are_refused(option: str, value: object, error: type[Exception]) -> None:
    with pytest.raises(error, match=option):
        checked_options(**{**DEFAULTS, option: value})


def test_a_context_stands_alone() -> None:
    """What it would silently overrule is not accepted beside it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    assert check_context(context, TLSOptions()) is context
    assert check_context(None, TLSOptions(verify=False)) is None
    with pytest.raises(ValueError, match="ssl_context of your own"):
        check_context(context, TLSOptions(verify=False))
    with pytest.raises(TypeError, match="ssl_context"):
        check_context("context", TLSOptions())


def test_host_names_are_text() -> None:
    assert check_hostname("example.org") == "example.org"
    assert check_hostname(None) is None
    with pytest.raises(TypeError, match="server_hostname"):
        check_hostname(b"example.org")


def test_xojo_s_numbers() -> None:
    assert {each.name: each.value for each in SSLConnectionTypes} == {
        "SSLv23": 1,
        "TLSv1": 3,
        "TLSv11": 4,
        "TLSv12": 5,
        "TLSv13": 6,
    }

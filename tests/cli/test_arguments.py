"""The words of the command line."""

from __future__ import annotations

import argparse
import contextlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_xsock._cli import _arguments


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("localhost:7000", "localhost", 7000),
        ("10.0.0.1:1", "10.0.0.1", 1),
        ("[::1]:65535", "::1", 65535),
        ("[fe80::1%eth0]:7000", "fe80::1%eth0", 7000),
    ],
)
def test_endpoints(text: str, host: str, port: int) -> None:
    assert _arguments.endpoint(text) == (host, port)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("localhost", "HOST:PORT"),
        ("", "HOST:PORT"),
        (":7000", "HOST:PORT"),
        ("host:", "not a port"),
        ("host:http", "not a port"),
        ("host:-1", "not a port"),
        ("host:65536", "not a port"),
        ("host:1_000", "not a port"),
        ("host: 80", "not a port"),
        ("host:\u0667\u0660", "not a port"),
        ("host:" + "9" * 5000, "not a port"),
        ("host:0", "port 0"),
        ("::1:7000", "in brackets"),
        ("[localhost]:7000", "not an IPv6 address"),
        ("[]:7000", "not an IPv6 address"),
    ],
)
def test_bad_endpoints(text: str, says: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=says):
        _arguments.endpoint(text)


@pytest.mark.parametrize(
    ("text", "instead"),
    [
        ("http://localhost:7000", "localhost:7000"),
        ("https://example.org/some/file?x=1:2", "example.org:443"),
        ("ws://[::1]/", "[::1]:80"),
        ("tcp://me@host:7", "host:7"),
        ("tcp://host", "host:PORT"),
        ("http://", "HOST:80"),
    ],
)
def test_urls(text: str, instead: str) -> None:
    """A URL has a sentence of its own, with what it means."""
    with pytest.raises(argparse.ArgumentTypeError, match="is a URL; write HOST:PORT") as caught:
        _arguments.endpoint(text)
    assert str(caught.value).endswith(f"here {instead!r}")


@pytest.mark.parametrize(("text", "port"), [("0", 0), ("7000", 7000), ("65535", 65535)])
def test_listening_ports(text: str, port: int) -> None:
    assert _arguments.listening_port(text) == port


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("5000", 5000),
        ("5000b", 5000),
        ("64k", 65536),
        ("200MiB", 200 * 2**20),
        ("1GB", 10**9),
        ("2T", 2 * 2**40),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert _arguments.size(text) == size


@pytest.mark.parametrize("text", ["", "k", "-1", "1.5M", "1 M", "1P", "1ib", "\u0661", "9" * 20])
def test_bad_sizes(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is not a size"):
        _arguments.size(text)


def test_seconds() -> None:
    assert _arguments.seconds("0.5") == 0.5
    assert _arguments.seconds("0") == math.inf


@pytest.mark.parametrize("text", ["", "soon", "-1", "nan", "inf"])
def test_bad_seconds(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="number of seconds"):
        _arguments.seconds(text)


@given(
    st.sampled_from(
        [_arguments.endpoint, _arguments.listening_port, _arguments.size, _arguments.seconds]
    ),
    st.text(),
)
def test_only_the_error_that_argparse_knows(parse: object, text: str) -> None:
    assert callable(parse)
    with contextlib.suppress(argparse.ArgumentTypeError):
        parse(text)

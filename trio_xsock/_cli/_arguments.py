"""The words of the command line: ``HOST:PORT``, ports, sizes and seconds.

Each function is a ``type=`` of argparse: it raises ``argparse.ArgumentTypeError`` with a
sentence that says what is expected, which ends the program with exit code 2.
"""

from __future__ import annotations

import argparse
import ipaddress
import math
import re
from typing import NamedTuple, NoReturn

_SIZE = re.compile(r"([0-9]{1,19})(?:([kmgt])(i?b)?|b)?", re.IGNORECASE | re.ASCII)
_URL = re.compile(r"([a-z][a-z0-9+.-]*)://([^/?#]*)", re.IGNORECASE | re.ASCII)
_PORTS = {"http": "80", "https": "443", "ws": "80", "wss": "443", "ftp": "21"}
_POWERS = {"k": 1, "m": 2, "g": 3, "t": 4}


class Endpoint(NamedTuple):
    """Where to connect to."""

    host: str
    port: int


def endpoint(text: str) -> Endpoint:
    """``HOST:PORT``, with an IPv6 address in brackets; the port is 1 to 65535."""
    if url := _URL.match(text):
        _refuse_url(text, url)
    host, colon, port = text.rpartition(":")
    if not colon or not host:
        raise argparse.ArgumentTypeError(
            f"{text!a} is not of the form HOST:PORT, such as localhost:7000"
        )
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        if not _is_ipv6(host):
            raise argparse.ArgumentTypeError(f"{host!a} in brackets is not an IPv6 address")
    elif ":" in host:
        raise argparse.ArgumentTypeError(f"write an IPv6 address in brackets: [{host}]:{port}")
    number = _port(port)
    if number == 0:
        raise argparse.ArgumentTypeError("port 0 cannot be connected to; it is 1 to 65535")
    return Endpoint(host, number)


def listening_port(text: str) -> int:
    """A port to listen on, 0 to 65535; 0 lets the system choose."""
    return _port(text)


def size(text: str) -> int:
    """A number of bytes: ``5000``, ``64k``, ``200MiB`` (powers of 1024), ``1GB`` (of 1000)."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise argparse.ArgumentTypeError(
            f"{text!a} is not a size; write 5000, 64K, 200MiB or 1GB for example"
        )
    digits, unit, tail = match.groups()
    if unit is None:
        return int(digits)
    base = 1000 if tail is not None and tail.lower() == "b" else 1024
    return int(digits) * int(base ** _POWERS[unit.lower()])


def count(text: str) -> int:
    """How many of something, 0 or more."""
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise argparse.ArgumentTypeError(f"{text!a} is not a number, 0 or more")
    return int(text)


def positive(text: str) -> int:
    """How many of something, at least 1."""
    number = count(text)
    if not number:
        raise argparse.ArgumentTypeError("it has to be at least 1")
    return number


def seconds(text: str) -> float:
    """A time-out in seconds; 0 stands for no limit and gives infinity."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!a} is not a number of seconds, 0 or more")
    return value or math.inf


def _refuse_url(text: str, url: re.Match[str]) -> NoReturn:
    """Say what to write instead of a URL; with the port that it means, if it names none."""
    scheme, place = url.groups()
    place = place.rpartition("@")[2]
    port = _PORTS.get(scheme.lower(), "PORT")
    has_port = re.fullmatch(r"(\[.*\]|[^:]*):[0-9]+", place)
    instead = place if has_port else f"{place or 'HOST'}:{port}"
    raise argparse.ArgumentTypeError(
        f"{text!a} is a URL; write HOST:PORT without '{scheme}://' and without a path, "
        f"here {instead!a}"
    )


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"{text!a} is not a port, a number from 0 to 65535")
    return int(text)


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True

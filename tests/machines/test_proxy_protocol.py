"""The parser of PROXY headers: what the document says, and what hostile peers say."""

from __future__ import annotations

import ipaddress
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_xsock._machines.proxy_protocol import ProxyHeader, ProxyHeaderParser, ProxyProtocolError

SIGNATURE = bytes.fromhex("0d0a0d0a000d0a515549540a")
TCP4 = b"\xc0\x00\x02\x01\xc0\x00\x02\x02" + struct.pack("!HH", 1025, 443)
TCP6 = ipaddress.ip_address("2001:db8::1").packed + bytes(15) + b"\x01" + TCP4[8:]
CLIENT4 = ("192.0.2.1", 1025)
CLIENT6 = ("2001:db8::1", 1025)


def block(command: int, family: int, rest: bytes, length: int | None = None) -> bytes:
    """A header of version 2."""
    size = len(rest) if length is None else length
    return SIGNATURE + struct.pack("!BBH", command, family, size) + rest


def parsed(data: bytes) -> tuple[ProxyHeader | None, int]:
    """What the parser makes of it in one go, and how much of it is the header."""
    parser = ProxyHeaderParser()
    used = parser.feed(data)
    return parser.header, used


GOOD = [
    (b"PROXY TCP4 192.0.2.1 192.0.2.2 1025 443\r\n", CLIENT4),
    (b"PROXY TCP6 2001:db8::1 ::1 1025 443\r\n", CLIENT6),
    (b"PROXY TCP6 ::ffff:192.0.2.1 ::1 1025 443\r\n", CLIENT4),
    (b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", ("255.255.255.255", 65535)),
    (b"PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n", ("0.0.0.0", 0)),
    (b"PROXY UNKNOWN\r\n", None),
    (b"PROXY UNKNOWN " + b"ffff:" * 7 + b"ffff " + b"ffff:" * 7 + b"ffff 65535 65535\r\n", None),
    (b"PROXY UNKNOWN anything at all\r\n", None),
    (block(0x21, 0x11, TCP4), CLIENT4),
    (block(0x21, 0x12, TCP4), CLIENT4),
    (block(0x21, 0x21, TCP6), CLIENT6),
    (block(0x21, 0x22, TCP6 + b"\x04\x00\x03abc"), CLIENT6),
    (block(0x21, 0x11, TCP4 + bytes(65535 - 12)), CLIENT4),
    (block(0x21, 0x31, bytes(216)), None),
    (block(0x21, 0x32, bytes(300)), None),
    (block(0x21, 0x00, b""), None),
    (block(0x21, 0x00, b"\x04\x00\x01x"), None),
    (block(0x20, 0x00, b""), None),
    (block(0x20, 0x11, TCP4), None),
    (block(0x20, 0xFF, bytes(70)), None),
]


@pytest.mark.parametrize(("data", "source"), GOOD)
def test_headers_that_are_good(data: bytes, source: tuple[str, int] | None) -> None:
    """Whole or byte by byte, the same; and what follows is not touched."""
    for rest in (b"", b"GET / HTTP/1.1\r\n\r\n"):
        header, used = parsed(data + rest)
        assert header is not None
        assert header.source == source
        assert header.version == (1 if data.startswith(b"PROXY") else 2)
        assert used == len(data)
    parser = ProxyHeaderParser()
    for index in range(len(data)):
        assert parser.header is None
        assert parser.feed(data[index : index + 1]) == 1
    assert parser.header == header


def test_the_destination_is_told_as_well() -> None:
    """What the client connected to."""
    for data, _ in (GOOD[0], GOOD[8]):
        header, _ = parsed(data)
        assert header is not None
        assert header.destination == ("192.0.2.2", 443)


BAD = [
    b"G",
    b"GET / HTTP/1.1\r\n\r\n",
    b"PROXY\r\n",
    b"PROXY  TCP4 192.0.2.1 192.0.2.2 1025 443\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 1025 443 \r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 1025\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 1025 65536\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 01025 443\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 -1 443\r\n",
    b"PROXY TCP4 192.0.2.01 192.0.2.2 1025 443\r\n",
    b"PROXY TCP4 2001:db8::1 ::1 1025 443\r\n",
    b"PROXY TCP6 192.0.2.1 192.0.2.2 1025 443\r\n",
    b"PROXY TCP6 fe80::1%lo ::1 1025 443\r\n",
    b"PROXY TCP4 localhost 192.0.2.2 1025 443\r\n",
    b"PROXY TCP5 192.0.2.1 192.0.2.2 1025 443\r\n",
    b"PROXY tcp4 192.0.2.1 192.0.2.2 1025 443\r\n",
    b"PROXY TCP4 192.0.2.\xb9 192.0.2.2 1025 443\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 1025 443\n" + b"x" * 100,
    b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n",
    b"\r\n\r\n\0\r\nQUIX",
    block(0x11, 0x11, TCP4),
    block(0x22, 0x11, TCP4),
    block(0x2F, 0x11, TCP4),
    block(0x21, 0x13, TCP4),
    block(0x21, 0x41, TCP6),
    block(0x21, 0x11, TCP4[:-1]),
    block(0x21, 0x21, TCP6[:-1]),
    block(0x21, 0x31, bytes(215)),
    block(0x21, 0x11, b"", length=0),
]


@pytest.mark.parametrize("data", BAD)
def test_headers_that_are_none(data: bytes) -> None:
    """Refused as soon as that is clear, whole or byte by byte."""
    with pytest.raises(ProxyProtocolError):
        parsed(data)
    parser = ProxyHeaderParser()
    with pytest.raises(ProxyProtocolError):
        for index in range(len(data)):
            parser.feed(data[index : index + 1])
    assert parser.header is None


def test_the_longest_line_has_107_bytes() -> None:
    """One more and it is refused, whether or not its end comes."""
    line = b"PROXY UNKNOWN " + b"x" * (107 - 16)
    assert parsed(line + b"\r\n") == (ProxyHeader(1), 107)
    with pytest.raises(ProxyProtocolError, match="does not end"):
        parsed(line + b"x\r\n")


addresses = st.one_of(
    st.tuples(st.just("TCP4"), *[st.ip_addresses(v=4)] * 2),
    st.tuples(st.just("TCP6"), *[st.ip_addresses(v=6)] * 2),
)
ports = st.integers(0, 65535)


@given(addresses, ports, ports, st.booleans(), st.binary(max_size=300), st.data())
def test_what_a_proxy_says_is_what_is_understood(
    ends: tuple[str, ipaddress.IPv4Address, ipaddress.IPv4Address],
    source_port: int,
    destination_port: int,
    text: bool,
    extra: bytes,
    data: st.DataObject,
) -> None:
    """In either version, however it is cut, and the rest of the stream stays whole."""
    family, source, destination = ends
    if text:
        line = f"PROXY {family} {source} {destination} {source_port} {destination_port}\r\n"
        stream = line.encode()
    else:
        packed = source.packed + destination.packed
        packed += struct.pack("!HH", source_port, destination_port)
        stream = block(0x21, 0x11 if family == "TCP4" else 0x21, packed + extra)
    size = len(stream)
    stream += b"PROXY or something else"
    parser = ProxyHeaderParser()
    taken = arrived = 0
    while parser.header is None:
        arrived = data.draw(st.integers(taken + 1, len(stream)))
        used = parser.feed(stream[taken:arrived])
        taken += used
        assert parser.header is not None or taken == arrived
    assert taken == size
    assert parser.header.source is not None
    host, port = parser.header.source
    understood = ipaddress.ip_address(host)
    mapped = getattr(source, "ipv4_mapped", None)
    assert (understood, port) == (mapped or source, source_port)


@given(
    st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE, SIGNATURE + b"\x21\x11"]),
    st.lists(st.binary(min_size=1, max_size=200), max_size=20),
)
def test_hostile_bytes_do_no_harm(beginning: bytes, pieces: list[bytes]) -> None:
    """They are refused or understood; never more is taken than came, nor much of it kept."""
    parser = ProxyHeaderParser()
    try:
        for piece in filter(None, [beginning, *pieces]):
            used = parser.feed(piece)
            assert 0 < used <= len(piece)
            assert parser.header is not None or used == len(piece)
            assert len(parser._seen) < 110
            if parser.header is not None:
                break
    except ProxyProtocolError:
        assert parser.header is None

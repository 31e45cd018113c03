"""The TLS engine, without a socket: two of them, and ciphertext carried by hand."""

from __future__ import annotations

import random
import ssl
import sys

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from tests.support.tls import credentials
from trio_xsock._machines.tls import RECORD, SLICE, TLSEngine

BAD_MAC = "DECRYPTION_FAILED_OR_BAD_RECORD_MAC"
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
every_version = pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)


def engines(
    version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3, hostname: str = "localhost"
) -> tuple[TLSEngine, TLSEngine]:
    """A client's and a server's, which have not met."""
    client = credentials().client_context()
    client.maximum_version = version
    server = credentials().server_context()
    return (
        TLSEngine(client, server_hostname=hostname),
        TLSEngine(server, server_side=True),
    )


def carry(source: TLSEngine, target: TLSEngine) -> None:
    if source.has_output:
        target.feed(source.output())


def everything(engine: TLSEngine, limit: int = SLICE) -> bytes:
    """The plaintext of all that was fed."""
    received = b""
    while engine.ready:
        piece = engine.decrypt(limit)
        assert len(piece) <= limit
        received += piece
    return received


def introduced(
    version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
) -> tuple[TLSEngine, TLSEngine]:
    """A client's and a server's, their handshake done."""
    client, server = engines(version)
    done = [False, False]
    while not all(done):
        done[0] = done[0] or client.handshake()
        carry(client, server)
        done[1] = done[1] or server.handshake()
        carry(server, client)
    assert client.decrypt(1) == b""  # the tickets
    return client, server


@every_version
def test_bytes_go_both_ways(version: ssl.TLSVersion) -> None:
    client, server = introduced(version)
    server.feed(client.encrypt(b"to the server"))
    assert server.ready
    assert server.decrypt(100) == b"to the server"
    assert not server.ready
    client.feed(server.encrypt(memoryview(b"back")))
    assert client.decrypt(2) == b"ba"
    assert client.ready
    assert client.decrypt(100) == b"ck"
    assert not client.has_output


@every_version
def test_facts(version: ssl.TLSVersion) -> None:
    client, server = engines(version)
    assert client.version is client.cipher is client.alpn_protocol is None
    assert client.peer_certificate is None
    client, server = introduced(version)
    assert client.version == server.version == version.name.replace("_", ".")
    assert client.cipher == server.cipher
    assert ("DNS", "localhost") in (client.peer_certificate or {})["subjectAltName"]
    chain = client.peer_chain()
    assert chain[0].startswith(b"0\x82")  # a sequence, in DER
    assert len(chain) == (1 if sys.version_info < (3, 13) else 4)
    assert server.peer_certificate is None
    assert server.peer_chain() == []


def test_a_slice_is_several_records() -> None:
    """What is encrypted has to be kept until it is sent."""
    client, server = introduced()
    data = random.Random(1).randbytes(SLICE)
    ciphertext = client.encrypt(data)
    assert SLICE < len(ciphertext) < SLICE + 200
    assert not client.has_output
    server.feed(ciphertext)
    assert everything(server) == data


def test_a_limit_is_kept_to_the_byte() -> None:
    client, server = introduced()
    server.feed(client.encrypt(bytes(3 * RECORD)))
    sizes = [len(server.decrypt(limit)) for limit in (1, RECORD, 2 * RECORD, 1)]
    assert sizes == [1, RECORD, 2 * RECORD - 1, 0]
    assert not server.ready


@given(st.data())
def test_ciphertext_may_come_in_any_pieces(data: st.DataObject) -> None:
    """And plaintext be asked for in any; nothing is lost, and no limit exceeded."""
    client, server = introduced()
    plain = data.draw(st.binary(min_size=1, max_size=5000))
    cipher = client.encrypt(plain)
    received = b""
    while cipher:
        size = data.draw(st.integers(1, len(cipher)))
        server.feed(cipher[:size])
        cipher = cipher[size:]
        while server.ready:
            limit = data.draw(st.integers(1, 6000))
            piece = server.decrypt(limit)
            assert len(piece) <= limit
            received += piece
    assert received == plain


def test_much_is_taken_at_once() -> None:
    """The records of a bulk transfer are large, and few."""
    client, server = introduced()
    server.feed(b"".join(client.encrypt(bytes(SLICE)) for _ in range(16)))
    assert len(server.decrypt(16 * SLICE)) == 16 * SLICE
    assert not server.ready


@given(st.lists(st.integers(0, 40), min_size=1, max_size=50), st.integers(1, 300))
def test_records_are_looked_through_some_at_a_time(cuts: list[int], size: int) -> None:
    """Each may be dear; they are counted rightly wherever the ciphertext is cut."""
    client, server = introduced()
    cipher = b"".join(client.encrypt(b"x") for _ in range(300))
    for cut in cuts:  # off the boundaries of records, for a beginning
        server.feed(cipher[:cut])
        cipher = cipher[cut:]
    received = len(everything(server))
    taken: list[int] = []
    for begin in range(0, len(cipher), size * 20):
        server.feed(cipher[begin : begin + size * 20])
        while server.ready:
            taken.append(len(server.decrypt(SLICE)))
    assert received + sum(taken) == 300
    assert max(taken) <= 65  # one had begun before


def test_a_second_handshake_is_said_to_be_none_of_ours() -> None:
    """Renegotiation, where a context allows it: sending meets it at the worst moment."""

    class Negotiating:
        def write(self, _: object) -> int:
            raise ssl.SSLWantReadError

    client, _ = introduced()
    client._object = Negotiating()  # type: ignore[assignment]
    with pytest.raises(ssl.SSLError) as caught:
        client.encrypt(b"x")
    assert caught.value.reason == "RENEGOTIATION_NOT_SUPPORTED"


@every_version
def test_a_handshake_of_many_bytes_in_one_piece(version: ssl.TLSVersion) -> None:
    """Certificates may be large; and what follows the handshake at once is not forgotten."""
    authority = trustme.CA()
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    names = [f"{number}.example.org" for number in range(500)]
    authority.issue_cert("localhost", *names).configure_cert(server_context)
    client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client_context.maximum_version = version
    authority.configure_trust(client_context)
    client = TLSEngine(client_context, server_hostname="localhost")
    server = TLSEngine(server_context, server_side=True)
    done, largest = [False, False], 0
    while not all(done):
        done[0] = done[0] or client.handshake()
        carry(client, server)
        done[1] = done[1] or server.handshake()
        largest = max(largest, server.has_output)
        if all(done):
            client.feed(server.output() + server.encrypt(bytes(SLICE)))
        else:
            carry(server, client)
    assert largest > 8192
    assert everything(client) == bytes(SLICE)


def test_what_is_fed_while_something_waits_comes_after_it() -> None:
    client, server = introduced()
    for byte in b"ab":
        server.feed(client.encrypt(bytes([byte]) * RECORD))
    assert everything(server) == b"a" * RECORD + b"b" * RECORD


@every_version
def test_the_end_is_told_once_and_for_all(version: ssl.TLSVersion) -> None:
    """What came before it comes first; what follows is nobody's."""
    client, server = introduced(version)
    server.feed(client.encrypt(b"last words"))
    client.end()
    carry(client, server)
    server.feed(b"junk")
    assert server.decrypt(100) == b"last words"
    assert server.decrypt(100) == b""
    assert server.ended
    assert server.ready
    server.feed(b"more junk")
    assert server.decrypt(100) == b""


@every_version
def test_reading_goes_on_after_our_end(version: ssl.TLSVersion) -> None:
    """Also of what had come before, and had not been asked for."""
    client, server = introduced(version)
    client.feed(server.encrypt(b"early" * 10_000))
    while not (piece := client.decrypt(5)):
        assert client.ready  # nothing is complete yet in what OpenSSL was given
    assert piece == b"early"
    client.end()
    carry(client, server)
    assert server.decrypt(1) == b""
    assert server.ended
    client.feed(server.encrypt(b"late"))
    received = everything(client, 17_000)
    assert received == b"early" * 9_999 + b"late"
    server.end()
    carry(server, client)
    assert client.decrypt(1) == b""
    assert client.ended
    with pytest.raises(ssl.SSLError):
        client.encrypt(b"too late")


def test_ending_after_the_peer() -> None:
    client, server = introduced()
    client.end()
    carry(client, server)
    assert server.decrypt(1) == b""
    server.end()
    carry(server, client)
    assert client.decrypt(1) == b""
    assert client.ended


def test_what_is_not_in_order_is_told_after_what_was() -> None:
    """Every time it is asked; and the peer gets an alert."""
    client, server = introduced()
    server.feed(client.encrypt(b"good"))
    spoilt = bytearray(client.encrypt(b"bad!"))
    spoilt[-1] ^= 1
    server.feed(bytes(spoilt))
    assert server.decrypt(100) == b"good"
    assert server.ready
    for _ in range(2):
        with pytest.raises(ssl.SSLError, match=f"{BAD_MAC}|RECORD_LAYER_FAILURE"):
            server.decrypt(100)
    carry(server, client)
    with pytest.raises(ssl.SSLError, match="ALERT_BAD_RECORD_MAC"):
        client.decrypt(100)
    server.end()  # changes nothing any more
    with pytest.raises(ssl.SSLError):
        server.decrypt(100)


def test_our_end_meets_what_is_not_in_order() -> None:
    client, server = introduced()
    server.feed(client.encrypt(b"good"))
    server.feed(bytes(100))
    server.end()
    assert server.decrypt(100) == b"good"
    with pytest.raises(ssl.SSLError):
        server.decrypt(100)


def test_a_spoilt_first_record() -> None:
    _, server = introduced()
    server.feed(bytes(100))
    server.end()
    with pytest.raises(ssl.SSLError):
        server.decrypt(100)


def test_who_sends_learns_what_was_not_in_order() -> None:
    """The cause, and not that OpenSSL does nothing more."""
    client, server = introduced()
    server.feed(client.encrypt(b"good") + b"\x17\x03\x03\x00\x20" + bytes(32))
    assert server.decrypt(100) == b"good"
    with pytest.raises(ssl.SSLError) as caught:
        server.encrypt(b"answer")
    assert caught.value.reason in (BAD_MAC, "RECORD_LAYER_FAILURE")  # OpenSSL 3.6 says the latter
    client.end()
    with pytest.raises(ssl.SSLError, match="shutdown"):
        client.encrypt(b"more")


@every_version
def test_a_refused_peer_gets_an_alert(version: ssl.TLSVersion) -> None:
    """Whichever side refuses."""
    client, server = introduced(version)
    client.refuse()
    carry(client, server)
    with pytest.raises(ssl.SSLError, match="ALERT"):
        server.decrypt(1)
    client, server = introduced(version)
    server.refuse()
    carry(server, client)
    with pytest.raises(ssl.SSLError, match="ALERT"):
        client.decrypt(1)


@pytest.mark.parametrize("side", [0, 1])
def test_an_end_in_the_handshake(side: int) -> None:
    engine = engines()[side]
    assert not engine.handshake()
    engine.feed_end()
    with pytest.raises(ssl.SSLEOFError):
        engine.handshake()


def test_a_peer_that_is_somebody_else() -> None:
    client, server = engines(hostname="example.org")
    assert not client.handshake()
    carry(client, server)
    assert not server.handshake()
    carry(server, client)
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        client.handshake()
    carry(client, server)
    with pytest.raises(ssl.SSLError, match="ALERT"):
        server.handshake()

"""What came from the network is shown, and never obeyed."""

from __future__ import annotations

import base64
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_xsock._cli._view import JSONView, TerminalView

PIECES = st.lists(
    st.one_of(st.binary(max_size=20), st.text(max_size=10).map(str.encode)), max_size=8
)


def show(*pieces: bytes) -> str:
    view = TerminalView()
    return "".join(map(view.feed, pieces)) + view.feed(b"", final=True)


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b"hello\n\tworld\n", "hello\n\tworld\n"),
        (b"HTTP/1.0 200 OK\r\n\r\n", "HTTP/1.0 200 OK\n\n"),
        (b"10 %\r20 %\r", "10 %\n20 %\n"),
        (b"\x1b[2J\x07\x00\x7f", "\\x1b[2J\\x07\\x00\\x7f"),
        (b"\x9b31m", "\\x9b31m"),
        ("\x9b31m".encode(), "\\x9b31m"),
        ("gpj.\u202eexe".encode(), "gpj.\\u202eexe"),
        ("\u2028".encode(), "\\u2028"),
        (b"C:\\dir", "C:\\\\dir"),
        (b"\xff\xfe", "\\xff\\xfe"),
        (b"\xed\xa0\x80", "\\xed\\xa0\\x80"),
        ("caf\u00e9 \u6f22\u5b57".encode(), "caf\u00e9 \u6f22\u5b57"),
        ("\u6f22".encode()[:2], "\\xe6\\xbc"),
    ],
)
def test_shown_on_a_terminal(data: bytes, shown: str) -> None:
    assert show(data) == shown


@given(PIECES)
def test_pieces_do_not_matter_and_nothing_is_obeyed(pieces: list[bytes]) -> None:
    shown = show(*pieces)
    assert shown == show(b"".join(pieces))
    assert all(character.isprintable() or character in "\n\t" for character in shown)


def test_view_can_be_used_again() -> None:
    view = TerminalView()
    assert view.feed(b"\xe6", final=True) == "\\xe6"
    assert view.feed(b"\xbc") == "\\xbc"


@given(PIECES)
def test_members_of_json_give_the_bytes_back(pieces: list[bytes]) -> None:
    view = JSONView()
    members = [*map(view.feed, pieces), view.feed(b"", final=True)]
    data = b"".join(
        value.encode() if name == "text" else base64.b64decode(value)
        for name, value in itertools.chain.from_iterable(map(dict.items, members))
    )
    assert data == b"".join(pieces)


def test_text_stays_text_whatever_the_pieces() -> None:
    view = JSONView()
    assert [view.feed(bytes([byte])) for byte in "\u6f22".encode()] == [{}, {}, {"text": "\u6f22"}]

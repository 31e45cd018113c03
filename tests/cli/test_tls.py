"""``--tls``: of each command that makes connections."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from tests.support.tls import credentials

from .support import Program


def test_a_file_goes_encrypted(tmp_path: Path) -> None:
    """Verified by name and authority; both sides with a certificate."""
    issued = credentials()
    data = os.urandom(3_000_000)
    (tmp_path / "file").write_bytes(data)
    (tmp_path / "in").mkdir()
    theirs = ("--tls", "--certificate", issued.server, "--ca", issued.ca)
    ours = ("--tls", "--certificate", issued.client, "--ca", issued.ca)
    with Program("receive", *theirs, 0, tmp_path / "in") as receiver:
        place = f"localhost:{receiver.port()}"
        with Program("send", *ours, tmp_path / "file", place) as sender:
            assert sender.end() == 0
            assert receiver.end() == 0
    assert (tmp_path / "in" / "file").read_bytes() == data
    assert hashlib.sha256(data).hexdigest() in sender.out.seen[-1]


@pytest.mark.parametrize("command", ["send", "connect"])
def test_servers_are_verified(tmp_path: Path, command: str) -> None:
    """Nothing of the file has gone out."""
    issued = credentials()
    (tmp_path / "file").write_bytes(b"secret")
    file = [tmp_path / "file"] if command == "send" else []
    with Program("listen", "--tls", "--certificate", issued.server, 0) as listener:
        port = listener.err.until(r"listening on port (\d+)").group(1)
        place = f"localhost:{port}"
        with Program(command, "--tls", *file, place) as client:
            assert client.end() == 1
        assert "unable to get local issuer certificate" in client.err.seen[-1]
        options = ("--tls", "--ca", issued.ca, "--server-name", "example.org")
        with Program(command, *options, *file, place) as client:
            assert client.end() == 1
        assert "example.org" in client.err.seen[-1]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("connect", "--ca", "x.pem", "localhost:1"), "--ca means nothing without --tls"),
        (("connect", "--insecure", "localhost:1"), "--insecure means nothing without --tls"),
        (("send", "--server-name", "x", __file__, "localhost:1"), "--server-name means nothing"),
        (("listen", "--certificate", "x.pem", "0"), "--certificate means nothing without --tls"),
        (("listen", "--tls", "0"), "--tls needs --certificate FILE"),
        (("receive", "--tls", "0"), "--tls needs --certificate FILE"),
        (("connect", "--tls", "--insecure", "--ca", "x", "localhost:1"), "--insecure verifies"),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...], text: str) -> None:
    with Program(*arguments) as program:
        assert program.end() == 2
    assert text in program.err.seen[-1]


def test_files_that_do_not_do_are_named() -> None:
    with Program("receive", "--tls", "--certificate", "/nowhere.pem", 0) as program:
        assert program.end() == 1
    assert "/nowhere.pem" in program.err.seen[-1]


def test_opting_out() -> None:
    """Two of ours talk, the client without knowing to whom."""
    with Program("listen", "--tls", "--certificate", credentials().server, 0) as listener:
        port = listener.err.until(r"listening on port (\d+)").group(1)
        with Program("connect", "--tls", "--insecure", f"localhost:{port}") as client:
            listener.err.until("connection from")
            assert client.end() == 0
        assert listener.end() == 0

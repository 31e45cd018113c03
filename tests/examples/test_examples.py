"""Every example runs as printed, and the README shows the very files that ran."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

PRINTED = {
    "styles": ["calls: b'HELLO'", r"events: b'HELLO\\n'", r"handler: b'HELLO\\n'"],
    "caller": ["HELLO"],
    "channel": [
        "connected",
        "sent 3 bytes",
        "received welcome, Ada",
        r"ended: 127\.0\.0\.1:\d+: the peer closed the connection",
    ],
    "echo": ["b'hello'"],
    "chat": [
        r"ada hears \* ada is here",
        r"ada hears \* ben is here",
        r"ben hears \* ben is here",
        "ben hears ada: hello everybody",
        r"ben hears \* ada has left",
    ],
    "file_transfer": [
        r"(?: [1-9]0 %\n)*100 %",
        "20000000 bytes sent",
        "it arrived whole: True",
    ],
    "resuming_download": [
        "interrupted after 2000000 bytes",
        "interrupted after 4000000 bytes",
        "the same: True",
    ],
    "progress_bar": [
        r"(?:\n\[#* *\] +\d+ %)+",
        "30000000 bytes, done",
        r"(?:\n\[#* *\] +\d+ %)+",
        r"1\d{7} bytes, aborted",
    ],
    "graceful_shutdown": [
        "SIGTERM: 2 left",
        r"0\.5 seconds: b'done\\n'",
        # The server's task and the client's run on in the same turn, in either order.
        "(cut off\n60 seconds: b''|60 seconds: b''\ncut off)",
    ],
    "stall_timeout": [
        r"stalled after \d+ bytes",
        "took longer than the time-out: True",
        "still connected: True",
    ],
    "echo_styles": [
        "serve_by_calls: b'hello'",
        "serve_by_events: b'hello'",
        "serve_by_handler: b'hello'",
    ],
    "ported_chat": [
        r"ada hears b'your name\?'",
        r"ada hears b'\* ada is here'",
        r"ben hears b'your name\?'",
        r"ben hears b'\* ben is here'",
        r"ada hears b'\* ben is here'",
        "ada hears b'ben: hello, ada'",
        r"ben hears b'\* ada has left'",
    ],
    "chat_styles": [
        line
        for style in ("serve_by_events", "serve_by_handler")
        for line in (
            style,
            r"ada hears \* ada is here",
            r"ben hears \* ben is here",
            "ben hears ada: hello",
            "ben hears ada: everybody",
            r"ben hears \* ada has left",
        )
    ],
    "line_protocol": [
        rf"serve_by_{style}: \['OK', 'dark green', '\?', 'ERROR'\]"
        for style in ("calls", "events", "handler")
    ],
    "key_value_server": [
        "ada: STORED",
        r"ben: \['VALUE colour 0 10', 'dark green', ''\]",
        "ben: DELETED",
        "ada: NOT_FOUND",
        "ada: CLIENT_ERROR bad command line format",
        "ada is cut off: b''",
        "the server stops: b''",
    ],
    "http_responder": [
        r"HTTP/1.1 200 OK \| Content-Length: 27 \| .* it says hello to 127\.0\.0\.1",
        "",
        r"HTTP/1.1 200 OK \| Content-Length: 0 \| Connection: close \|  \| ",
        r"HTTP/1.1 503 Service Unavailable \| Content-Length: 0 \| Connection: close \|  \| ",
    ],
    "h11_server": [
        "200 hello",
        "200 abc",
        "400 illegal request line: .*",
        "after an error: b''",
        "404 there is no such page",
        "the server stops: b''",
    ],
    "httpx_transport": ["hello", "hello", "1 connection"],
    "socket_activation": [
        "the first client hears b'hello'",
        "the server has ended well",
        "the second client hears b'hello'",
        "the server has ended well",
    ],
    "workers": ["generation 1 answers", "generation 2 answers", "refused or cut off: 0"],
    "private_authority": [
        r"hello ada@example\.org, this is TLSv1\.3",
        "without a certificate: TLSV13_ALERT_CERTIFICATE_REQUIRED",
        "a client that knows public authorities only: CERTIFICATE_VERIFY_FAILED: .*",
    ],
    "start_tls": [
        "250 on plaintext",
        "220 go ahead",
        r"250 on TLSv1\.3",
        "refused: something was slipped in before the handshake",
        "the attacker hears: b''",
    ],
    "smtp_server": [
        "in plaintext: 530 b'STARTTLS comes first'",
        (
            r"Mail\(sender='ada@example\.org', recipients=\['ben@example\.org'\], "
            r"content=bytearray\(b'Subject: dots\\r\\n\\r\\n\.\\r\\n\.one\\r\\n'\)\)"
        ),
    ],
    "certificate_renewal": [
        "a client sees certificate-1",
        "a client sees certificate-2",
        r"log: the certificates in use before are used on: certificate_file '.*' is not .*",
        "a client sees certificate-2",
        "the first one: still here",
    ],
    "time_service": ["one machine, one time: True", "nobody there: None"],
    "multicast_chat": [
        "ben hears ada: hello everybody",
        "ada hears ben: hello ada",
    ],
    "beacon": [
        r"'printer' is at 127\.0\.0\.1:631",
        r"'printer' is no more at 127\.0\.0\.1:631",
    ],
    "lan_chat": [
        r"ada sees \* ada is here",
        r"ada sees \* ben is here",
        r"ben sees \* ben is here",
        r"ben sees \* ada is here",
        "ben sees ada: hello everybody",
        "ada sees ben: hello ada",
        r"ada sees \* ben has left",
    ],
    "file_drop": [
        "dropping on box",
        r"(?: [1-9]0 %\n)*100 %",
        r"picture\.png: 20000000 bytes arrived, whole: True",
    ],
    "pool": [
        *("ONE", "TWO", "THREE", "FOUR", "FIVE"),
        "3 connections",
        "SIX on a connection that is still there",
        "nobody listens any more",
    ],
    "reconnect": [
        "received hello from the first server",
        "the server closed the connection",
        r"(?:no connection: ConnectError\n)+received hello from the second server",
        "the server closed the connection",
    ],
    "websocket_chat": [
        line
        for style in ("serve_by_handler", "serve_by_listener")
        for line in (
            style,
            r"ada hears \* ada is here",
            r"ada hears \* ben is here",
            r"ben hears \* ben is here",
            "ben hears ada: hello everybody",
            r"ada hears \* ben has left",
        )
    ],
    "hypercorn_worker": [
        "the app starts",
        r"GET /one from 127\.0\.0\.1",
        r"GET /two from 127\.0\.0\.1",
        "the app ends",
        "and then b''",
    ],
    "callback": ["received ping", r"ended: 127\.0\.0\.1:\d+: we disconnected"],
}

SHOWN = {"desktop"}
"""Examples with a window, which have tests of their own."""


@pytest.mark.parametrize("name", PRINTED)
def test_example_prints_what_it_should(name: str) -> None:
    """The example runs to its end, without a warning, and prints its lines."""
    result = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", f"examples/{name}.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=15,
        check=False,
    )
    assert result.stderr == ""
    assert result.returncode == 0
    assert re.fullmatch("\n".join(PRINTED[name]) + "\n", result.stdout)


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.py")), ids=lambda p: p.stem)
def test_example_is_short(path: Path) -> None:
    """At most 130 lines, but for those whose window and processes need more."""
    most = {"desktop": 170, "workers": 160}.get(path.stem, 130)
    assert path.read_text(encoding="utf-8").count("\n") <= most


def test_every_example_is_run() -> None:
    """No example is left out of the table above."""
    assert {path.stem for path in (ROOT / "examples").glob("*.py")} == PRINTED.keys() | SHOWN


def test_readme_shows_the_example() -> None:
    """The README's code is the file, to the letter, and the README is short."""
    source = (ROOT / "examples" / "styles.py").read_text(encoding="utf-8")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert readme.count("```python") == 1
    assert f"```python\n{source}```" in readme
    assert source.count("\n") <= 60
    assert readme.count("\n") <= 160


def test_every_example_is_listed() -> None:
    """The page of examples links each file, and says what it shows."""
    listed = re.findall(
        r"^\| \[`(\w+)\.py`\]\(\.\./examples/\1\.py\) \| \S.+ \|$",
        (ROOT / "docs" / "examples.md").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    assert sorted(listed) == sorted(PRINTED.keys() | SHOWN)


def test_ci_runs_the_command_of_the_readme() -> None:
    """`.ci/run` runs exactly the test command that the README prints."""
    commands = re.findall(
        r"```console\n(python3 .*)\n```", (ROOT / "README.md").read_text(encoding="utf-8")
    )
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert len(commands) == 2
    assert script[-1] == commands[1]

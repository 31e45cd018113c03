"""sslyze looks for what a TLS server should not do; in an environment of its own, see tox.ini."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.support.tls import credentials
from trio_xsock import ServerSocket, SSLSocket

OLD = ("ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1")
LOOK_FOR = (
    *("--sslv2", "--sslv3", "--tlsv1", "--tlsv1_1", "--tlsv1_2", "--tlsv1_3"),
    *("--compression", "--early_data", "--fallback", "--heartbleed", "--openssl_ccs"),
    *("--reneg", "--robot", "--elliptic_curves", "--certinfo"),
)


async def scan(port: int, report: Path) -> dict[str, Any]:
    """What sslyze found."""
    command = [sys.executable, "-m", "sslyze", *LOOK_FOR, "--mozilla_config", "disable"]
    await trio.run_process(
        [*command, "--json_out", str(report), f"localhost:{port}"],
        stdout=subprocess.DEVNULL,
        check=False,
    )
    found: dict[str, Any] = json.loads(await trio.Path(report).read_text())
    (server,) = found["server_scan_results"]
    assert server["scan_status"] == "COMPLETED", server
    results: dict[str, Any] = server["scan_result"]
    return results


def result_of(results: dict[str, Any], name: str) -> dict[str, Any]:
    """The result of one attempt, which came to its end."""
    attempt = results[name]
    assert attempt["status"] == "COMPLETED", (name, attempt)
    result: dict[str, Any] = attempt["result"]
    return result


@pytest.mark.timeout(120)
async def test_no_old_version_and_no_known_hole(tmp_path: Path) -> None:
    """Of the defaults; all that may change over the years is asked, not only what has a name."""

    async def serve(sock: SSLSocket) -> None:
        async for _ in sock:
            pass

    def add_socket() -> SSLSocket:
        return SSLSocket(certificate_file=credentials().server)

    async with ServerSocket(add_socket=add_socket) as server, trio.open_nursery() as nursery:
        port = await nursery.start(server.serve, serve)
        results = await scan(port, tmp_path / "report.json")
        nursery.cancel_scope.cancel()
    for version in OLD:
        accepted = result_of(results, f"{version}_cipher_suites")["accepted_cipher_suites"]
        assert accepted == [], version
    suites = [
        each["cipher_suite"]["name"]
        for version in ("tls_1_2", "tls_1_3")
        for each in result_of(results, f"{version}_cipher_suites")["accepted_cipher_suites"]
    ]
    assert len(suites) >= 4
    assert not [name for name in suites if "CBC" in name or "TLS_RSA" in name], suites
    assert not result_of(results, "tls_compression")["supports_compression"]
    assert not result_of(results, "tls_1_3_early_data")["supports_early_data"]
    assert not result_of(results, "heartbleed")["is_vulnerable_to_heartbleed"]
    assert not result_of(results, "openssl_ccs_injection")["is_vulnerable_to_ccs_injection"]
    assert result_of(results, "robot")["robot_result"].startswith("NOT_VULNERABLE")
    renegotiation = result_of(results, "session_renegotiation")
    assert renegotiation["supports_secure_renegotiation"]
    assert not renegotiation["is_vulnerable_to_client_renegotiation_dos"]

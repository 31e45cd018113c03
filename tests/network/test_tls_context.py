"""From options to contexts: made once, and errors name the file."""

from __future__ import annotations

import itertools
import logging
import os
import shutil
import ssl
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.tls import PASSWORD, credentials
from trio_xsock import SSLConnectionTypes, TLSError
from trio_xsock._network import tls_context as _tls_context
from trio_xsock._network.tls_context import context_for
from trio_xsock._network.tls_options import TLSOptions

SERVER = str(credentials().server)
CA = str(credentials().ca)


# The defaults


def test_a_client_verifies_by_default() -> None:
    """Certificate and name, from TLS 1.2 on."""
    context = context_for(TLSOptions(), server_side=False)
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


def test_without_truststore_the_system_s_certificates_are_openssl_s(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The extra is optional."""
    monkeypatch.setattr(_tls_context, "_client_context", ssl.create_default_context)
    _tls_context._make_context.cache_clear()
    try:
        context = context_for(TLSOptions(), server_side=False)
    finally:
        _tls_context._make_context.cache_clear()
    assert type(context) is ssl.SSLContext
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


def test_with_truststore_they_are_its(monkeypatch: pytest.MonkeyPatch) -> None:
    truststore = pytest.importorskip("truststore", reason="the extra truststore is not installed")
    _tls_context._make_context.cache_clear()
    assert isinstance(context_for(TLSOptions(), server_side=False), truststore.SSLContext)


def test_a_private_authority_is_trusted_alone() -> None:
    context = context_for(TLSOptions(ca_file=CA), server_side=False)
    assert len(context.get_ca_certs()) == 1
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


def test_opting_out_is_explicit() -> None:
    context = context_for(TLSOptions(verify=False), server_side=False)
    assert context.verify_mode is ssl.CERT_NONE
    assert not context.check_hostname


def test_a_server_offers_nothing_weak() -> None:
    """Forward secrecy and authenticated encryption; clients are asked for nothing."""
    context = context_for(TLSOptions(certificate_file=SERVER), server_side=True)
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.verify_mode is ssl.CERT_NONE
    assert context.options & ssl.OP_NO_RENEGOTIATION
    assert all(each["aead"] for each in context.get_ciphers())
    assert {each["kea"] for each in context.get_ciphers()} <= {"kx-ecdhe", "kx-any"}


def test_a_server_may_want_certificates() -> None:
    options = TLSOptions(certificate_file=SERVER, ca_file=CA, require_client_certificate=True)
    context = context_for(options, server_side=True)
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert len(context.get_ca_certs()) == 1


def test_a_server_that_wants_none_trusts_nobody() -> None:
    options = TLSOptions(certificate_file=SERVER, ca_file=CA)
    assert not context_for(options, server_side=True).get_ca_certs()


@pytest.mark.parametrize("kind", [SSLConnectionTypes.TLSv12, SSLConnectionTypes.TLSv13])
def test_named_versions_are_exact(kind: SSLConnectionTypes) -> None:
    context = context_for(TLSOptions(kind, certificate_file=SERVER), server_side=True)
    assert context.minimum_version is context.maximum_version
    assert context.minimum_version.name == kind.name.replace("v1", "v1_")


@pytest.mark.parametrize("kind", [SSLConnectionTypes.TLSv1, SSLConnectionTypes.TLSv11])
@pytest.mark.parametrize("server_side", [False, True])
def test_ancient_versions_are_for_openssl_to_permit(
    kind: SSLConnectionTypes, server_side: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it is configured here it does not; elsewhere it may, and then they are exact."""
    options = TLSOptions(kind, certificate_file=SERVER)
    try:
        context = context_for(options, server_side=server_side)
    except TLSError as error:
        assert kind.name in str(error)
        assert error.reason
        monkeypatch.setattr(ssl.SSLObject, "do_handshake", begins)
        context = context_for(options, server_side=server_side)
        _tls_context._make_context.cache_clear()
        _tls_context._former.clear()
    assert context.minimum_version is context.maximum_version is _tls_context._VERSIONS[kind]


def begins(_: ssl.SSLObject) -> None:
    """What an OpenSSL says that has sent its first message."""
    raise ssl.SSLWantReadError


def test_application_protocols_are_offered() -> None:
    options = TLSOptions(certificate_file=SERVER, alpn_protocols=("h2", "http/1.1"))
    server = context_for(options, server_side=True)
    client = context_for(TLSOptions(verify=False, alpn_protocols=("http/1.1",)), server_side=False)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server)
    theirs = server.wrap_bio(to_server, to_client, server_side=True)
    with pytest.raises(ssl.SSLWantReadError):
        ours.do_handshake()
    with pytest.raises(ssl.SSLWantReadError):
        theirs.do_handshake()
    assert theirs.selected_alpn_protocol() == "http/1.1"


# Files


@pytest.mark.parametrize(
    ("options", "server_side", "named"),
    [
        (TLSOptions(ca_file="/nowhere/ca.pem"), False, "ca_file '/nowhere/ca.pem'"),
        (TLSOptions(ca_file=__file__), False, f"ca_file {__file__!r}"),
        (TLSOptions(certificate_file="/nowhere.pem"), True, "certificate_file '/nowhere.pem'"),
        (TLSOptions(certificate_file="/"), True, "certificate_file '/'"),
        (TLSOptions(certificate_file=__file__), True, f"certificate_file {__file__!r}"),
        (TLSOptions(certificate_file=__file__), False, f"certificate_file {__file__!r}"),
        (TLSOptions(certificate_file=CA), True, f"certificate_file {CA!r}"),  # has no key
        (TLSOptions(), True, "needs a certificate_file"),
        (
            TLSOptions(certificate_file=SERVER, require_client_certificate=True),
            True,
            "needs a ca_file",
        ),
    ],
    ids=itertools.count(),
)
def test_bad_files_are_named(options: TLSOptions, server_side: bool, named: str) -> None:
    with pytest.raises(TLSError) as caught:
        context_for(options, server_side=server_side)
    assert named in str(caught.value)
    assert caught.value.reason
    assert caught.value.error_number == 303


def test_a_key_of_another_certificate(tmp_path: Path) -> None:
    mixed = tmp_path / "mixed.pem"
    key = credentials().client.read_text().partition("-----BEGIN CERTIFICATE")[0]
    mixed.write_text(key + Path(SERVER).read_text().partition("-----END EC PRIVATE KEY-----\n")[2])
    with pytest.raises(TLSError, match="KEY_VALUES_MISMATCH") as caught:
        context_for(TLSOptions(certificate_file=str(mixed)), server_side=True)
    assert str(mixed) in str(caught.value)


def test_passwords() -> None:
    locked = str(credentials().locked)
    context_for(
        TLSOptions(certificate_file=locked, certificate_password=PASSWORD), server_side=True
    )
    with pytest.raises(TLSError, match="needs a certificate_password"):
        context_for(TLSOptions(certificate_file=locked), server_side=True)
    with pytest.raises(TLSError, match="certificate_password is wrong"):
        context_for(
            TLSOptions(certificate_file=locked, certificate_password="wrong"), server_side=True
        )


def test_nobody_is_asked_for_a_password() -> None:
    """Not at the terminal either: a process with one of its own as its standard input."""
    program = f"""
import os, pty, sys
child, terminal = pty.fork()
if not child:
    from trio_xsock import TLSError
    from trio_xsock._network.tls_context import context_for
    from trio_xsock._network.tls_options import TLSOptions
    try:
        context_for(TLSOptions(certificate_file={str(credentials().locked)!r}), server_side=True)
    except TLSError:
        os.write(1, b"refused")
    os._exit(0)
said = b""
try:
    while piece := os.read(terminal, 1000):
        said += piece
except OSError:
    pass
os.waitpid(child, 0)
os.write(1, said)
"""
    command = [sys.executable, "-c", program]
    root = Path(_tls_context.__file__).parents[2]
    said = subprocess.run(command, capture_output=True, timeout=10, cwd=root, check=True).stdout
    assert said == b"refused"


# Made once


def test_equal_options_have_one_context() -> None:
    for server_side in (False, True):
        one = context_for(TLSOptions(certificate_file=SERVER), server_side=server_side)
        assert context_for(TLSOptions(certificate_file=SERVER), server_side=server_side) is one
    other = context_for(TLSOptions(certificate_file=SERVER, verify=False), server_side=True)
    assert other is not one


def test_renewed_certificates_are_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """And until what is there is in order again, the ones before; that is logged once."""
    path = tmp_path / "server.pem"
    shutil.copy(SERVER, path)
    options = TLSOptions(certificate_file=str(path))
    before = context_for(options, server_side=True)
    with caplog.at_level(logging.WARNING, "trio_xsock"):
        path.write_text("half a fi")
        assert context_for(options, server_side=True) is before
        assert context_for(options, server_side=True) is before
        path.unlink()
        assert context_for(options, server_side=True) is before
    assert len(caplog.records) == 2
    assert str(path) in caplog.text
    fresh = tmp_path / "fresh.pem"
    shutil.copy(credentials().client, fresh)
    os.replace(fresh, path)
    after = context_for(options, server_side=True)
    assert after is not before
    assert context_for(options, server_side=True) is after
    path.unlink()
    with pytest.raises(TLSError, match="cannot be read"):  # a client has nothing to keep up
        context_for(options, server_side=False)


def test_few_are_kept(tmp_path: Path) -> None:
    """However many there have been."""
    for number in range(_tls_context._CONTEXTS + 2):
        context_for(
            TLSOptions(certificate_file=SERVER, alpn_protocols=(f"p{number}",)), server_side=True
        )
    assert len(_tls_context._former) == _tls_context._CONTEXTS


@pytest.mark.parametrize("kind", ["nowhere", "folder"])
def test_a_key_log_that_cannot_be_opened_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str
) -> None:
    """Python opens it for each context that it makes itself."""
    path = str(tmp_path if kind == "folder" else tmp_path / "nowhere" / "keys")
    monkeypatch.setattr(_tls_context, "_client_context", ssl.create_default_context)
    monkeypatch.setenv("SSLKEYLOGFILE", path)
    _tls_context._make_context.cache_clear()
    try:
        with pytest.raises(TLSError, match=f"SSLKEYLOGFILE '{path}' cannot be opened") as caught:
            context_for(TLSOptions(), server_side=False)
    finally:
        _tls_context._make_context.cache_clear()
    assert caught.value.reason == "KEYLOG_FILE"
    assert caught.value.errno


@pytest.mark.parametrize(
    "options",
    [
        TLSOptions(ca_file="a\0b"),
        TLSOptions(certificate_file="a\0b"),
        TLSOptions(certificate_file=str(credentials().locked), certificate_password="x" * 2000),
    ],
)
def test_what_openssl_does_not_take_is_a_tls_error(options: TLSOptions) -> None:
    """Not a ValueError of Python's."""
    with pytest.raises(TLSError):
        context_for(options, server_side=False)

"""Certificates that are refused although they are in order."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

import pytest

from tests.support.tls import credentials
from trio_xsock import TLSError
from trio_xsock._network.rejection import is_rejected, load_rejected


def der(path: Path) -> bytes:
    """The first certificate of a file."""
    pem = path.read_text()
    return ssl.PEM_cert_to_DER_cert(
        pem[pem.index("-----BEGIN CERTIFICATE") : pem.index("-----END CERTIFICATE-----") + 25]
    )


def test_certificates_are_compared_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "rejected.pem"
    issued = credentials()
    path.write_bytes(b"two:\n" + issued.server.read_bytes() + issued.ca.read_bytes())
    rejected = load_rejected(str(path))
    assert len(rejected) == 2
    assert is_rejected([der(issued.server)], rejected)
    assert is_rejected([b"another", der(issued.ca)], rejected)
    assert not is_rejected([der(issued.client)], rejected)
    assert not is_rejected([], rejected)


def test_no_file_rejects_nothing() -> None:
    assert load_rejected(None) == frozenset()


@pytest.mark.parametrize(
    "content",
    [
        None,
        b"",
        b"no certificates",
        b"-----BEGIN CERTIFICATE-----\nA\n-----END CERTIFICATE-----\n",
    ],
)
def test_bad_files_are_named(tmp_path: Path, content: bytes | None) -> None:
    """A file that was to refuse somebody and does not is no small matter."""
    path = tmp_path / "rejected.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(TLSError) as caught:
        load_rejected(str(path))
    assert f"certificate_rejection_file {str(path)!r}" in str(caught.value)
    assert caught.value.reason


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "rejected.pem"
    path.write_bytes(credentials().server.read_bytes())
    before = load_rejected(str(path))
    assert load_rejected(str(path)) is before
    new = tmp_path / "new.pem"
    new.write_bytes(credentials().client.read_bytes())
    os.replace(new, path)
    assert load_rejected(str(path)) != before

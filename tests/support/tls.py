"""Certificates for tests, made once, and peers that speak TLS with Python's own ``ssl``."""

from __future__ import annotations

import datetime
import functools
import ssl
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from trio_xsock import SSLSocket

from .peers import LOOPBACK, RawPeer, accept, raw_listener

PASSWORD = "open sesame"
DAY = datetime.timedelta(days=1)


class Credentials:
    """An authority and what it has issued, in files; the folder goes with the process.

    Attributes:
        folder: where they are.
        ca: the authority's certificate.
        server: for ``localhost`` and 127.0.0.1, with its key.
        client: a client's, with its key.
        locked: the server's, its key encrypted with ``PASSWORD``.
        elsewhere: the authority of other people.
    """

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self.folder = Path(self._folder.name)
        self._authority = trustme.CA()
        self.ca = self._save("ca.pem", self._authority.cert_pem)
        self.elsewhere = self._save("elsewhere.pem", trustme.CA().cert_pem)
        self.server = self.issue("server", "localhost", LOOPBACK)
        self.client = self.issue("client", "client@example.org")
        self.locked = self._lock(self.server)

    def _save(self, name: str, blob: trustme.Blob) -> Path:
        path = self.folder / name
        blob.write_to_path(str(path))
        return path

    def _lock(self, unlocked: Path) -> Path:
        pem = unlocked.read_bytes()
        locked = load_pem_private_key(pem, None).private_bytes(
            Encoding.PEM,
            PrivateFormat.TraditionalOpenSSL,
            BestAvailableEncryption(PASSWORD.encode()),
        )
        path = self.folder / "locked.pem"
        path.write_bytes(locked + pem[pem.index(b"-----BEGIN CERTIFICATE") :])
        return path

    def issue(self, name: str, *identities: str, **times: datetime.datetime) -> Path:
        """A certificate with its key, in one file.

        Args:
            name: of the file, without ``.pem``.
            identities: host names, addresses or mailboxes.
            times: ``not_before`` and ``not_after``.
        """
        issued = self._authority.issue_cert(*identities, **times)
        return self._save(f"{name}.pem", issued.private_key_and_cert_chain_pem)

    def server_context(self, certificate: Path | None = None) -> ssl.SSLContext:
        """A server's context, of the standard library's making."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate or self.server)
        return context

    def client_context(self, certificate: Path | None = None) -> ssl.SSLContext:
        """A client's context, of the standard library's making."""
        context = ssl.create_default_context(cafile=self.ca)
        if certificate is not None:
            context.load_cert_chain(certificate)
        return context


@functools.cache
def credentials() -> Credentials:
    """The certificates of this run."""
    return Credentials()


def now() -> datetime.datetime:
    """The time that certificates are judged by."""
    return datetime.datetime.now(datetime.UTC)


class TLSPeer:
    """The other end: a raw peer, and the standard library's engine.

    Args:
        raw: the connection.
        context: how; of which side tells the side.
        hostname: whom a client wants to talk to.
    """

    def __init__(
        self, raw: RawPeer, context: ssl.SSLContext, hostname: str | None = "localhost"
    ) -> None:
        self.raw = raw
        self.incoming = ssl.MemoryBIO()
        self.outgoing = ssl.MemoryBIO()
        server_side = context.protocol is ssl.PROTOCOL_TLS_SERVER
        self.tls = context.wrap_bio(
            self.incoming, self.outgoing, server_side, None if server_side else hostname
        )

    async def call(self, function: Any, *args: Any) -> Any:
        """Call the engine until it has what it needs."""
        while True:
            try:
                result = function(*args)
            except ssl.SSLWantReadError:
                await self.flush()
                data = await self.raw.recv_some()
                if data:
                    self.incoming.write(data)
                else:
                    self.incoming.write_eof()
            except ssl.SSLError:
                await self.flush()
                raise
            else:
                await self.flush()
                return result

    async def flush(self) -> None:
        await self.raw.send(self.outgoing.read())

    async def handshake(self) -> None:
        await self.call(self.tls.do_handshake)

    async def recv_some(self, count: int = 65536) -> bytes:
        """Plaintext; ``b""`` after close_notify; ``ssl.SSLError`` for all else."""
        try:
            return bytes(await self.call(self.tls.read, count))
        except ssl.SSLZeroReturnError:
            return b""

    async def recv_exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            piece = await self.recv_some(count - len(data))
            assert piece, data
            data += piece
        return data

    async def recv_all_to_eof(self) -> bytes:
        data = bytearray()
        while piece := await self.recv_some():
            data += piece
        return bytes(data)

    async def count_to_eof(self) -> int:
        count = 0
        while piece := await self.recv_some():
            count += len(piece)
        return count

    async def send(self, data: bytes) -> None:
        """Send all of ``data``, slice by slice."""
        view = memoryview(data)
        while view:
            view = view[self.tls.write(view[:65536]) :]
            await self.flush()

    async def end(self) -> None:
        """Send close_notify."""
        try:
            self.tls.unwrap()
        except ssl.SSLError:
            pass
        await self.flush()


@asynccontextmanager
async def tls_linked(
    *, small: bool = False, server_context: ssl.SSLContext | None = None, **options: Any
) -> AsyncIterator[tuple[SSLSocket, TLSPeer]]:
    """A client of ours, connected, and Python's own server at the other end.

    Args:
        small: the kernel holds some 10 kB on the way to the peer.
        server_context: the peer's.
        options: of the client.
    """
    issued = credentials()
    context = server_context or issued.server_context()
    with raw_listener(small=small) as listener:
        options = {"ca_file": issued.ca, **options}
        async with SSLSocket("localhost", listener.getsockname()[1], **options) as sock:
            sock.address = LOOPBACK if "server_hostname" in options else sock.address
            peer: list[TLSPeer] = []

            async def serve() -> None:
                peer.append(TLSPeer(await accept(listener), context))
                await peer[0].handshake()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(serve)
                await sock.connect()
            with peer[0].raw:
                yield sock, peer[0]

"""TLS with a private authority: the server verifies the certificates of its clients."""

import tempfile
from pathlib import Path

import trio
import trustme

from trio_xsock import ServerSocket, SSLSocket, TLSError


def make_certificates(folder: Path) -> None:
    """Make certificates for this demo; the page about this shows how to make real ones."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    server = authority.issue_cert("localhost")
    server.private_key_and_cert_chain_pem.write_to_path(str(folder / "server.pem"))
    client = authority.issue_cert("ada@example.org")
    client.private_key_and_cert_chain_pem.write_to_path(str(folder / "client.pem"))


async def greet(sock: SSLSocket) -> None:
    """Greet the client by the name in its certificate."""
    certificate = sock.peer_certificate or {}
    ((_, name),) = certificate["subjectAltName"]
    await sock.send_all(f"hello {name}, this is {sock.tls_version}\n".encode())


async def ask(port: int, folder: Path, certificate: Path | None = None) -> str:
    """Connect, and return the server's greeting."""
    async with SSLSocket(
        "localhost", port, ca_file=folder / "ca.pem", certificate_file=certificate
    ) as sock:
        await sock.connect()
        return (await sock.receive_until(b"\n")).decode()


async def main(folder: Path) -> None:
    make_certificates(folder)

    def add_socket() -> SSLSocket:
        return SSLSocket(
            certificate_file=folder / "server.pem",
            ca_file=folder / "ca.pem",
            require_client_certificate=True,
        )

    async with ServerSocket(add_socket=add_socket) as server, trio.open_nursery() as nursery:
        port: int = await nursery.start(server.serve, greet)

        print(await ask(port, folder, folder / "client.pem"))
        try:
            await ask(port, folder)
        except TLSError as error:
            print("without a certificate:", error.reason)
        try:
            async with SSLSocket("localhost", port) as stranger:
                await stranger.connect()
        except TLSError as error:
            print("a client that knows public authorities only:", error.reason)

        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        trio.run(main, Path(name))

"""Renewing certificates without a restart, and without losing a connection."""

import logging
import sys
import tempfile
from pathlib import Path

import trio
import trustme

from trio_xsock import ServerSocket, SSLSocket


def renew(authority: trustme.CA, path: Path, number: int) -> None:
    """Write a new file, and put it in the place of the old one in one step."""
    fresh = path.with_suffix(".new")
    issued = authority.issue_cert("localhost", f"certificate-{number}")
    issued.private_key_and_cert_chain_pem.write_to_path(str(fresh))
    fresh.replace(path)


async def echo(sock: SSLSocket) -> None:
    async for chunk in sock:
        await sock.send_all(chunk)


async def connected(port: int, authority: Path, nursery: trio.Nursery) -> SSLSocket:
    """Connect a client, and print the server's certificate."""
    sock: SSLSocket = await nursery.start(SSLSocket("localhost", port, ca_file=authority).run)
    await sock.connect()
    names = (sock.peer_certificate or {})["subjectAltName"]
    print("a client sees", names[1][1])
    return sock


async def main(folder: Path) -> None:
    logging.basicConfig(stream=sys.stdout, format="log: %(message)s")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    path = folder / "server.pem"
    renew(authority, path, 1)

    async with (
        ServerSocket(add_socket=lambda: SSLSocket(certificate_file=path)) as server,
        trio.open_nursery() as nursery,
    ):
        port: int = await nursery.start(server.serve, echo)
        first = await connected(port, folder / "ca.pem", nursery)

        renew(authority, path, 2)
        await connected(port, folder / "ca.pem", nursery)

        path.write_text("half a certif")  # the wrong way: not in one step
        await connected(port, folder / "ca.pem", nursery)

        await first.send_all(b"still here")
        print("the first one:", (await first.receive_exactly(10)).decode())
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        trio.run(main, Path(name))

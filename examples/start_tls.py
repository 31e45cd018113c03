"""STARTTLS: a protocol that begins in plaintext, as mail servers do, and goes on encrypted."""

import tempfile
from pathlib import Path

import trio
import trustme

from trio_xsock import InvalidStateError, ServerSocket, SSLSocket


async def serve_mail(sock: SSLSocket) -> None:
    """Two commands of SMTP: STARTTLS, and any other, which is answered with the encryption."""
    await sock.send_all(b"220 mail.example\r\n")
    async for line in sock.lines():
        if line == "STARTTLS":
            try:
                await sock.start_tls(announce=b"220 go ahead\r\n")
            except InvalidStateError:
                print("refused: something was slipped in before the handshake")
                return
        else:
            await sock.send_all(f"250 on {sock.tls_version or 'plaintext'}\r\n".encode())


async def say(sock: SSLSocket, line: str) -> str:
    """Send a line and wait for the answer."""
    sock.write(line + "\r\n")
    return (await sock.receive_until(b"\r\n")).decode()


async def main(folder: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    issued = authority.issue_cert("localhost")
    issued.private_key_and_cert_chain_pem.write_to_path(str(folder / "server.pem"))

    def add_socket() -> SSLSocket:
        return SSLSocket(ssl_enabled=False, certificate_file=folder / "server.pem")

    async with ServerSocket(add_socket=add_socket) as server, trio.open_nursery() as nursery:
        port: int = await nursery.start(server.serve, serve_mail)

        async with SSLSocket(
            "localhost", port, ssl_enabled=False, ca_file=folder / "ca.pem"
        ) as sock:
            await sock.connect()
            await sock.receive_until(b"\r\n")  # the greeting
            print(await say(sock, "NOOP"))
            print(await say(sock, "STARTTLS"))
            await sock.start_tls()
            print(await say(sock, "NOOP"))

        async with SSLSocket("localhost", port, ssl_enabled=False) as attacker:
            await attacker.connect()
            attacker.write("STARTTLS\r\nNOOP\r\n")
            await attacker.receive_until(b"\r\n")
            print("the attacker hears:", await attacker.receive_some())

        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        trio.run(main, Path(name))

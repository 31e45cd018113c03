"""An SMTP server that takes mail over TLS only, by STARTTLS; Python's smtplib is its client."""

import smtplib
import ssl
from functools import partial
from typing import NamedTuple

import trio
import trustme

from trio_xsock import DelimiterNotFoundError, InvalidStateError, ServerSocket, SSLSocket

LARGEST = 2**20  # bytes of a mail


class SessionError(Exception):
    """The client is told why, and the connection ends."""


class Mail(NamedTuple):
    sender: str
    recipients: list[str]
    content: bytearray


class Session:
    """One client's conversation; the mails that it hands in are appended to ``mails``."""

    def __init__(self, sock: SSLSocket, mails: list[Mail]) -> None:
        self._sock = sock
        self._mails = mails
        self._mail: Mail | None = None

    async def run(self) -> None:
        """Talk until the client leaves, is told to leave, or the server stops."""
        reply = "220 mail.example ESMTP"
        try:
            while not reply.startswith("221"):
                await self._reply(reply)
                with self._sock.may_stop():
                    line = await self._line()
                reply = await self._answer(line.decode("ascii", "replace"))
        except EOFError:
            return  # it left without QUIT
        except DelimiterNotFoundError:
            reply = "500 line too long"
        except SessionError as error:
            reply = str(error)
        except trio.Cancelled:
            if self._sock.is_connected:
                self._sock.write("421 the server stops\r\n")
            raise
        await self._reply(reply)

    async def _reply(self, text: str) -> None:
        await self._sock.send_all(f"{text}\r\n".encode() if text else b"")

    async def _line(self) -> bytes:
        """A line. Where a bare LF ends one, as in ``lines()``, mail can be smuggled in."""
        line = await self._sock.receive_until(b"\r\n", max_bytes=1000)
        if b"\r" in line or b"\n" in line:
            raise SessionError("500 lines end with CR LF")
        return line

    async def _answer(self, line: str) -> str:
        verb, _, rest = line.partition(" ")
        address = rest.partition("<")[2].partition(">")[0]  # FROM:<ada@example.org> SIZE=12
        match verb.upper(), self._mail:
            case "QUIT", _:
                return "221 bye"
            case "NOOP", _:
                pass
            case "EHLO", _ if not self._sock.ssl_connected:
                return "250-mail.example\r\n250 STARTTLS"
            case (("EHLO" | "HELO" | "RSET"), _):
                self._mail = None
            case "STARTTLS", _ if not self._sock.ssl_connected:
                try:
                    await self._sock.start_tls(announce=b"220 go ahead\r\n")
                except InvalidStateError:  # it would be read as if it had come encrypted
                    raise SessionError("503 nothing may follow STARTTLS") from None
                return ""
            case _ if not self._sock.ssl_connected:
                return "530 STARTTLS comes first"
            case "MAIL", None:
                self._mail = Mail(address, [], bytearray())
            case "RCPT", Mail(recipients=recipients) if address and len(recipients) < 100:
                recipients.append(address)
            case "DATA", Mail(recipients=[_, *_]) as mail:
                await self._reply("354 end with a dot on a line by itself")
                while (text := await self._line()) != b".":
                    mail.content.extend(text.removeprefix(b".") + b"\r\n")
                    if len(mail.content) > LARGEST:
                        raise SessionError("552 mail too large")
                self._mails.append(mail)
                self._mail = None
            case _:
                return "503 not known, or not now"
        return "250 OK"


def send_mail(port: int, context: ssl.SSLContext) -> None:
    """The client, which blocks."""
    with smtplib.SMTP("127.0.0.1", port) as client:
        client.ehlo()
        print("in plaintext:", *client.mail("ada@example.org"))
        client.starttls(context=context)
        client.sendmail("ada@example.org", ["ben@example.org"], "Subject: dots\n\n.\n.one\n")


async def main() -> None:
    authority, mails = trustme.CA(), list[Mail]()
    context = ssl.create_default_context(cadata=authority.cert_pem.bytes().decode())

    async def serve(sock: SSLSocket) -> None:
        await Session(sock, mails).run()

    with authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.tempfile() as pem:
        add_socket = partial(SSLSocket, ssl_enabled=False, certificate_file=pem)
        server = ServerSocket(address="127.0.0.1", add_socket=add_socket, idle_timeout=300)
        async with server, trio.open_nursery() as nursery:
            port: int = await nursery.start(server.serve, serve)
            await trio.to_thread.run_sync(send_mail, port, context)
            await server.aclose()
    print(*mails)


if __name__ == "__main__":
    trio.run(main)

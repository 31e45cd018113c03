"""``--tls`` and its related options, for every command that makes connections."""

from __future__ import annotations

import argparse
from typing import Any

from trio_xsock import SSLSocket, TCPSocket

from ._errors import UsageError


def add_tls(parser: argparse.ArgumentParser, *, serves: bool) -> None:
    """The options of encrypted connections.

    Args:
        parser: of the command.
        serves: the command is the server's side.
    """
    group = parser.add_argument_group("encryption")
    group.add_argument("--tls", action="store_true", help="encrypt the connection")
    group.add_argument(
        "--certificate",
        metavar="FILE",
        help="our certificate and its private key, in PEM"
        + ("; needed with --tls" if serves else ", for a server that wants one"),
    )
    group.add_argument(
        "--ca",
        metavar="FILE",
        help="refuse clients without a certificate of these authorities"
        if serves
        else "the authorities to trust, in PEM (default: the system's)",
    )
    if not serves:
        group.add_argument(
            "--server-name", metavar="NAME", help="who the server has to be (default: HOST)"
        )
        group.add_argument(
            "--insecure",
            action="store_true",
            help="do not verify the server: anybody between can read and change everything",
        )


def check_tls(options: argparse.Namespace) -> None:
    """Refuse options of ``add_tls`` that contradict each other, before anything is done.

    Raises:
        UsageError: the text says which and why.
    """
    if not options.tls:
        for name in ("certificate", "ca", "server_name", "insecure"):
            if getattr(options, name, None):
                raise UsageError(f"--{name.replace('_', '-')} means nothing without --tls")
    elif _serves(options):
        if options.certificate is None:
            raise UsageError("--tls needs --certificate FILE here, our certificate and its key")
    elif options.insecure and options.ca is not None:
        raise UsageError("--insecure verifies nobody, so --ca means nothing")


def is_alert(first: bytes) -> bool:
    """Whether ``first``, all input of a connection, is a TLS alert.

    A TLS server sends one to a client that does not begin with TLS.
    """
    return first[:2] == b"\x15\x03" and first[3:5] == b"\x00\x02" and len(first) == 7


def is_client_hello(first: bytes) -> bool:
    """Whether the first bytes of a connection are those of a TLS client."""
    return first[:2] == b"\x16\x03" and first[5:6] == b"\x01"


def _serves(options: argparse.Namespace) -> bool:
    return "insecure" not in options


def make_tcp_socket(
    options: argparse.Namespace, host: str = "", port: int = 0, **others: Any
) -> TCPSocket:
    """A socket with the options of ``add_tls`` applied.

    Args:
        options: as parsed and checked.
        host: where a client connects to.
        port: the same.
        others: further options of the socket.
    """
    if not options.tls:
        return TCPSocket(host, port, **others)
    if _serves(options):
        return SSLSocket(
            certificate_file=options.certificate,
            ca_file=options.ca,
            require_client_certificate=options.ca is not None,
            **others,
        )
    return SSLSocket(
        host,
        port,
        certificate_file=options.certificate,
        ca_file=options.ca,
        server_hostname=options.server_name,
        verify=not options.insecure,
        **others,
    )

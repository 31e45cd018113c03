"""Resolving host names, such that a slow name server never delays another look-up.

``getaddrinfo`` blocks and cannot be interrupted, so it runs in a thread; a cancelled
look-up leaves its thread behind until the system's resolver gives up (resolv.conf(5):
typically 10 to 30 s). In Trio's shared thread limiter, or in any other of finite size,
enough stuck look-ups would block all later ones and all other users of the limiter. So
each look-up has a limiter of its own, and none ever waits for another. The number of
threads is bounded by that of the tasks that resolve plus the abandoned ones.
"""

from __future__ import annotations

import errno as errnos
import socket as stdlib_socket
import unicodedata
from collections.abc import Sequence
from typing import TypeAlias

import trio
from trio.abc import HostnameResolver

from trio_xsock._machines.endpoint import ResolvedAddress, check_address, literal_address, shown
from trio_xsock._network.threads import run_in_thread
from trio_xsock._values.errors import (
    NameResolutionError,
    OpenDriverError,
    OutOfMemoryError,
    SocketError,
    translate_os_error,
)

try:
    from trio.lowlevel import encode_hostname as _encode_idna
except ImportError:
    # Before 0.35 Trio kept it private. The standard library's codec is IDNA 2003 and takes
    # some names to other hosts than Trio would; the package is one that Trio itself needs.
    import idna

    def _encode_idna(hostname: str) -> bytes:
        return idna.encode(hostname, uts46=True)


_Entry: TypeAlias = tuple[object, object, object, object, tuple[object, ...]]

MAXIMUM_NAME = 253
MAXIMUM_LABEL = 63

# Not every system has both, and on some they have the same value.
_UNKNOWN_NAME = {stdlib_socket.EAI_NONAME, getattr(stdlib_socket, "EAI_NODATA", 0)}
_FAMILIES: dict[int, str] = {stdlib_socket.AF_INET: "IPv4 ", stdlib_socket.AF_INET6: "IPv6 "}


def encode_hostname(host: str) -> bytes:
    """The ASCII form of a host name, for the name server and TLS.

    Non-ASCII names are encoded as Trio does it (IDNA 2008, RFC 5891). Names are never truncated.

    Args:
        host: a host name; no IP address.

    Returns:
        The name in ASCII, with a trailing dot if it had one.

    Raises:
        NameResolutionError: it is empty or malformed (RFC 1123, 2.1; RFC 1035, 2.3.4).
    """
    if not host:
        raise NameResolutionError("the host name is empty")
    if len(host) > MAXIMUM_NAME + 1:  # before any work that grows with the length
        raise _malformed(host, f"it is longer than {MAXIMUM_NAME} characters")
    if any(each.isspace() or unicodedata.category(each) == "Cc" for each in host):
        raise _malformed(host, "it contains blanks or control characters")
    if any(each in "[]:" for each in host):
        raise _malformed(
            host, "it is no IPv6 address either (those go without brackets, and the port apart)"
        )
    try:
        encoded = host.encode("ascii") if host.isascii() else _encode_idna(host)
    except UnicodeError as exc:
        raise _malformed(host, f"it is no international domain name, {exc}") from exc
    _check_labels(host, encoded)
    return encoded


def _check_labels(host: str, encoded: bytes) -> None:
    name = encoded.removesuffix(b".")
    if len(name) > MAXIMUM_NAME:
        raise _malformed(host, f"it is longer than {MAXIMUM_NAME} characters")
    for label in name.split(b"."):
        if not label:
            raise _malformed(host, "a part between its dots is empty")
        if len(label) > MAXIMUM_LABEL:
            raise _malformed(host, f"a part is longer than {MAXIMUM_LABEL} characters")


def _malformed(host: str, why: str) -> NameResolutionError:
    return NameResolutionError(f"malformed host name {shown(host)}: {why}")


async def resolve(
    host: str,
    port: int,
    *,
    family: int = stdlib_socket.AF_UNSPEC,
    type: int = stdlib_socket.SOCK_STREAM,  # noqa: A002 - getaddrinfo calls it so
) -> list[ResolvedAddress]:
    """Look up the addresses of a host.

    IP addresses (with ``%zone``, and mapped ones) need no thread. Names go to the resolver
    set by ``trio.socket.set_custom_hostname_resolver``, else to the system's.

    Args:
        host: a host name or an IP address.
        port: the port, checked already; it is part of each address that is returned.
        family: ``AF_INET`` or ``AF_INET6`` for only those.
        type: the kind of socket that the addresses are for.

    Returns:
        At least one address, without repetitions, in the resolver's order of preference.

    Raises:
        NameResolutionError: the name is empty, malformed or has no (such) address, or the
            name server did not answer; ``__cause__`` is the resolver's error.
        OpenDriverError, OutOfMemoryError: the system has no descriptor, thread or memory
            left for the look-up.

    Cancellation:
        At once; the thread of a stuck look-up ends by itself later on.
    """
    literal = literal_address(check_address(host), port)
    encoded = encode_hostname(host) if literal is None else b""
    await trio.lowlevel.checkpoint()  # a custom resolver may have none
    if literal is not None:
        found = [literal]
    else:
        found = _usable(await _look_up(host, encoded, port, family, type))
    wanted = [each for each in found if family in (stdlib_socket.AF_UNSPEC, each.family)]
    if not wanted:
        raise NameResolutionError(f"host {shown(host)} has no {_FAMILIES.get(family, '')}address")
    return wanted


async def _look_up(
    host: str, encoded: bytes, port: int, family: int, kind: int
) -> Sequence[_Entry]:
    resolver = _custom_resolver()
    try:
        if resolver is not None:
            return await resolver.getaddrinfo(encoded, port, family, kind, 0, 0)
        return await run_in_thread(
            f"resolve host {shown(host)}",
            stdlib_socket.getaddrinfo,
            encoded,
            port,
            family,
            kind,
            abandon_on_cancel=True,
            limiter=trio.CapacityLimiter(1),
        )
    except SocketError:  # some of ours are OSErrors too
        raise
    except OSError as exc:
        raise _translate(exc, host) from exc


@trio.lowlevel.enable_ki_protection
def _custom_resolver() -> HostnameResolver | None:
    """The resolver of this Trio run; the only public way to see it is to replace it."""
    resolver = trio.socket.set_custom_hostname_resolver(None)
    trio.socket.set_custom_hostname_resolver(resolver)
    return resolver


def _usable(
    entries: Sequence[_Entry],
) -> list[ResolvedAddress]:
    """The IP addresses of a resolver's answer, each once.

    A custom resolver may answer anything. A name must not reach ``connect``, which would resolve
    it again, and block.
    """
    found: dict[ResolvedAddress, None] = {}
    for entry in entries:
        match entry[4]:
            case (str() as host, int() as port):
                literal, flow, scope = literal_address(host, port), 0, 0
            case (str() as host, int() as port, int() as flow, int() as scope):
                literal = literal_address(host, port)
            case _:  # a Python without IPv6 gives (int, bytes)
                continue
        if literal is None:
            continue
        if scope or flow:
            literal = literal._replace(address=(literal.address[0], port, flow, scope))
        found[literal] = None
    return list(found)


def _translate(exc: OSError, host: str) -> SocketError:
    if isinstance(exc, stdlib_socket.gaierror) and exc.errno == stdlib_socket.EAI_MEMORY:
        exc = OSError(errnos.ENOMEM, exc.strerror)
    error = translate_os_error(exc, f"cannot resolve host {shown(host)} ({_cure(exc)})")
    if isinstance(error, NameResolutionError | OpenDriverError | OutOfMemoryError):
        return error
    return NameResolutionError(str(error), errno=exc.errno)


def _cure(exc: OSError) -> str:
    if isinstance(exc, stdlib_socket.gaierror) and exc.errno in _UNKNOWN_NAME:
        return "check its spelling"
    return "the name server may be down or out of reach; try again later"

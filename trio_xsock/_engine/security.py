"""``Security``: the TLS options of one socket, and the set-up of a handshake that they give.

They are kept when a connection ends, because a security option must not be lost silently. All
take effect at the next handshake.
"""

from __future__ import annotations

import functools
import ssl
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from trio_xsock._machines.endpoint import literal_address
from trio_xsock._network.handshake import TLSSetup
from trio_xsock._network.options import check_bool, check_seconds
from trio_xsock._network.rejection import load_rejected
from trio_xsock._network.resolve import encode_hostname
from trio_xsock._network.server_context import check_server_context
from trio_xsock._network.tls_context import context_for
from trio_xsock._network.tls_options import (
    TLSOptions,
    check_context,
    check_hostname,
    check_path,
    checked_options,
)

_OF_HANDSHAKE: Final[Mapping[str, Callable[[Any], Any]]] = MappingProxyType(
    {
        "enabled": lambda on: check_bool("ssl_enabled", on),
        "rejection_file": lambda path: check_path("certificate_rejection_file", path),
        "server_hostname": check_hostname,
        "handshake_timeout": lambda seconds: check_seconds("handshake_timeout", seconds),
        "https_compatible": lambda on: check_bool("https_compatible", on),
    }
)
"""The options that are not of a context, each with its check."""

_DEFAULTS: Final = TLSOptions()
_HANDSHAKE_DEFAULTS: Final = (True, None, None, 30.0, False)


def _checked(*values: object) -> tuple[bool, str | None, str | None, float, bool]:
    """The options that are not of a context, in the order of the table."""
    on, path, hostname, seconds, compatible = map(_check, _OF_HANDSHAKE, values)
    return on, path, hostname, seconds, compatible


def _check(name: str, value: object) -> Any:
    return _OF_HANDSHAKE[name](value)


# As a server makes its sockets all alike, they are checked once.
_known: Final = functools.lru_cache(maxsize=64, typed=True)(checked_options)
_known_checked: Final = functools.lru_cache(maxsize=64, typed=True)(_checked)


class Security:
    """The TLS options of a socket.

    Args:
        context: a context of the user, in place of the options of one.
        options: any of the names in ``TLSOptions``, and in the table above.

    Attributes:
        enabled: connections are encrypted from their beginning.
        options: the options of a context.

    Raises:
        TypeError, ValueError: an option is of a wrong type, or out of its range.
    """

    __slots__ = (
        "_context",
        "enabled",
        "handshake_timeout",
        "https_compatible",
        "options",
        "rejection_file",
        "server_hostname",
    )

    def __init__(self, context: ssl.SSLContext | None = None, **options: object) -> None:
        given = tuple(map(options.get, TLSOptions._fields, _DEFAULTS))
        others = tuple(map(options.get, _OF_HANDSHAKE, _HANDSHAKE_DEFAULTS))
        try:
            self.options = _known(*given)
            checked = _known_checked(*others)
        except TypeError:  # a value of a wrong type, or a list, which has no hash
            self.options = checked_options(*given)
            checked = _checked(*others)
        self.enabled, self.rejection_file, self.server_hostname = checked[:3]
        self.handshake_timeout, self.https_compatible = checked[3:]
        self._context = check_context(context, self.options)

    def get(self, name: str) -> Any:
        """The value of an option."""
        if name == "context":
            return self._context
        return getattr(self.options if name in TLSOptions._fields else self, name)

    def set(self, name: str, value: object) -> None:
        """Check an option and set it.

        Raises:
            TypeError, ValueError: it is of a wrong type, or out of its range; or there is a
                context that replaces it.
        """
        if name == "context":
            self._context = check_context(value, self.options)
        elif name in TLSOptions._fields:
            options = checked_options(**{**self.options._asdict(), name: value})
            check_context(self._context, options)
            self.options = options
        else:
            setattr(self, name, _check(name, value))

    # At a handshake

    def setup(self, address: str, *, server_side: bool) -> TLSSetup:
        """The set-up for a handshake.

        Args:
            address: the host that a client has connected to.
            server_side: whether the handshake is the server's.

        Raises:
            TLSError: the options contradict each other, or a file cannot be used.
            NameResolutionError: the server's name is malformed.
        """
        context = self._context
        if context is None:
            context = context_for(self.options, server_side=server_side)
        elif server_side:
            check_server_context(context)
        name = None if server_side else _name_to_verify(self.server_hostname or address)
        return TLSSetup(
            context,
            server_side,
            name,
            load_rejected(self.rejection_file),
            self.handshake_timeout,
            self.https_compatible,
        )

    def is_server(self, address: str) -> bool:
        """Whether a connection that was opened elsewhere is that of a server.

        It is a client's if the socket has a name to verify, or no certificate.
        """
        if self.server_hostname or address:
            return False
        if self._context is not None:
            return self._context.protocol is not ssl.PROTOCOL_TLS_CLIENT
        return self.options.certificate_file is not None


def _name_to_verify(name: str) -> str | None:
    """The form in certificates: in ASCII, without a dot at the end or a zone."""
    if not name:
        return None
    literal = literal_address(name, 0)
    if literal is not None:
        return literal.address[0]
    return encode_hostname(name).decode("ascii").removesuffix(".")

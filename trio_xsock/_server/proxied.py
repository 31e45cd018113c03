"""``Proxied``: whether connections begin with a proxy's header, and which proxies are trusted."""

from __future__ import annotations

from typing import Any

from trio_xsock._machines.proxy_protocol import ProxyProtocolError
from trio_xsock._network.options import check_bool
from trio_xsock._network.proxies import HeaderReader, Network, check_trusted_proxies, is_trusted
from trio_xsock._network.transport import Transport


class Proxied:
    """The options for proxies.

    Args:
        enabled: every connection begins with a header.
        trusted: addresses and networks that proxies may speak from.

    Attributes:
        enabled: as above.
        networks: what is trusted.

    Raises:
        TypeError, ValueError: an option is of a wrong type, or out of its range.
    """

    __slots__ = ("enabled", "networks")

    def __init__(self, enabled: bool, trusted: Any) -> None:
        self.enabled = check_bool("proxy_protocol", enabled)
        self.networks: tuple[Network, ...] = check_trusted_proxies(trusted)

    def begin(self, transport: Transport, peer: tuple[Any, ...]) -> tuple[HeaderReader, bool]:
        """Begin to read the header of a connection that was accepted.

        Returns:
            The reader of the header, and whether it is complete, which is the usual case.

        Raises:
            ProxyProtocolError: the peer is no trusted proxy, or the header is invalid.
            OSError: the connection is lost.
        """
        if not is_trusted(peer, self.networks):
            raise ProxyProtocolError("its peer is no trusted proxy")
        reader = HeaderReader(transport, peer)
        return reader, reader.step()

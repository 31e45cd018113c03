"""A handler object that has every method, none of which does anything."""

from __future__ import annotations

from trio_xsock import SocketError


class Everything:
    """A handler with every method and one more."""

    def on_connected(self, socket: object) -> None: ...

    def on_data_available(self, socket: object) -> None: ...

    def on_send_progress(self, socket: object, bytes_sent: int, bytes_left: int) -> None: ...

    def on_send_complete(self, socket: object, user_aborted: bool) -> None: ...

    def on_error(self, socket: object, error: SocketError) -> None: ...

    def on_something_else(self) -> None: ...

"""What sockets are given that systems want in different forms."""

from __future__ import annotations

import socket
import struct

import pytest

from trio_xsock._platform import sockets


def test_the_interface_of_a_group(monkeypatch: pytest.MonkeyPatch) -> None:
    """By number and address; Windows takes one of them, in the same place."""
    group, address = bytes([239, 1, 2, 3]), bytes([10, 0, 0, 7])
    request = sockets.interface_request("239.1.2.3", "10.0.0.7", 5)
    assert request == group + address + struct.pack("i", 5)
    monkeypatch.setattr(sockets, "IS_WINDOWS", True)
    assert sockets.interface_request("239.1.2.3", "10.0.0.7", 0) == group + address
    assert sockets.interface_request("239.1.2.3", "", 5) == group + bytes([0, 0, 0, 5])
    assert sockets.interface_request("", "10.0.0.7", 0) == address


def test_closing_with_a_reset() -> None:
    """The value has the form that this system wants."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
        with theirs:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, sockets.RESET_ON_CLOSE)
            ours.close()
            theirs.settimeout(5)
            with pytest.raises(ConnectionResetError):
                theirs.recv(1)

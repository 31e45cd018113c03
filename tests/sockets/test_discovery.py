"""``AutoDiscovery`` on the loopback interface: two programs on one machine are two members."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from tests.support import until
from tests.support.groups import MemberListener, discovery, free_port, met, names
from tests.support.peers import LOOPBACK
from trio_xsock import (
    AutoDiscovery,
    InvalidPortError,
    Member,
)


@pytest.mark.parametrize("key", [None, b"a key"], ids=["open", "key"])
async def test_two_programs_on_one_machine(key: bytes | None) -> None:
    """They find each other at once, talk to all and to one, and miss who leaves at once."""
    port, listener = free_port(), MemberListener()
    async with discovery(port, name="one", key=key, handler=listener) as one:
        async with discovery(port, name="two", key=key, metadata={"room": "2"}) as two:
            with trio.fail_after(3):
                await met(one, two)
            assert one.port == two.port == port
            assert one.local_port != two.local_port
            (myself, other) = one.get_member_list()
            assert (myself.name, myself.port) == ("one", one.local_port)
            assert other == Member(
                other.instance_id, LOOPBACK, two.local_port, "two", {"room": "2"}
            )
            one.send_message(1, "to all")
            assert await two.wait_for_message(1) == b"to all"
            one.send_message_to_group("test group", 2, b"to all")
            assert await two.wait_for_message(2, LOOPBACK) == b"to all"
            one.send_message_to_individual(other, 3, b"to one")
            assert await two.wait_for_message(3) == b"to one"
            one.send_message_to_individual(LOOPBACK, 4, port=two.local_port)
            assert await two.wait_for_message(4) == b""
            two.send_message_to_individual(LOOPBACK, 5)  # to all there, ourselves too
            await until(lambda: len(listener.log) == 3)
            two.update_member_list()
            assert names(two) == ["two", "one"]
        await until(lambda: len(listener.log) == 4)
        assert listener.log == ["+one", "+two", (LOOPBACK, other.port, 5, b""), "-two"]
        assert names(one) == ["one"]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"name": "x" * 65}, ValueError),
        ({"name": 5}, TypeError),
        ({"metadata": {"a": 1}}, TypeError),
        ({"key": "text"}, TypeError),
        ({"key": b""}, ValueError),
        ({"heartbeat_interval": 0}, ValueError),
        ({"heartbeat_interval": 601, "expiry": 3000}, ValueError),
        ({"expiry": 1}, ValueError),
        ({"expiry": 4000}, ValueError),
        ({"maximum_members": 0}, ValueError),
        ({"port": 65536}, InvalidPortError),
    ],
)
def test_options_that_are_none(options: Any, error: type[Exception]) -> None:
    """Refused at construction, by type or by value."""
    with pytest.raises(error):
        AutoDiscovery(**options)


def test_options_are_attributes() -> None:
    """Those that the others see are set once."""
    sock = AutoDiscovery(5, name="a", metadata={"b": "c"}, heartbeat_interval=2, expiry=9)
    assert (sock.port, sock.name, dict(sock.metadata)) == (5, "a", {"b": "c"})
    assert (sock.heartbeat_interval, sock.expiry, sock.group) == (2, 9, "")
    assert repr(sock).startswith("<AutoDiscovery closed, port 5")

"""How comers and goers reach channels: each channel is told the difference."""

from __future__ import annotations

import pytest
import trio

from tests.support import until
from tests.support.groups import discovery, free_port, met, names
from tests.support.peers import LOOPBACK
from trio_xsock import (
    Connected,
    MemberJoined,
    MemberLeft,
    ReceivedMessage,
)


async def test_events_on_channels() -> None:
    """Members for those who ask, early or late; what came and went meanwhile is not told."""
    port = free_port()
    async with discovery(port, name="one") as one:
        early = one.events
        async with discovery(port, name="two") as two, discovery(port, name="three") as three:
            await met(one, two, three)
            late = one.subscribe()
            for channel in (early, late):
                assert await channel.receive() == Connected(one)
                joined = [await channel.receive() for _ in range(3)]
                assert joined[0].member.name == "one"
                assert {event.member.name for event in joined} == {"one", "two", "three"}
                assert all(isinstance(event, MemberJoined) for event in joined)
            two.send_message(7, b"hello")
            event = await early.receive()
            assert event == ReceivedMessage(one, 7, b"hello", LOOPBACK, two.local_port)
            assert late.statistics().current_buffer_used == 0
        await until(lambda: names(one) == ["one"])
        async with discovery(port, name="four") as four:
            await met(one, four)
            left = [await early.receive() for _ in range(3)]
        assert [(type(event), event.member.name) for event in left[:2]] in (
            [(MemberLeft, "two"), (MemberLeft, "three")],
            [(MemberLeft, "three"), (MemberLeft, "two")],
        )
        assert (type(left[2]), left[2].member.name) == (MemberJoined, "four")
        await until(lambda: names(one) == ["one"])
        assert isinstance(await early.receive(), MemberLeft)
        rest = [await late.receive() for _ in range(2)]
        assert {(type(event), event.member.name) for event in rest} == {
            (MemberLeft, "two"),
            (MemberLeft, "three"),
        }


async def test_who_came_and_went_unseen_is_told_of_once() -> None:
    """If nothing else holds: first that it came, then that it went."""
    port = free_port()
    async with discovery(port, name="one") as one:
        channel = one.events
        assert [type(await channel.receive()) for _ in range(2)] == [Connected, MemberJoined]
        async with discovery(port, name="two") as two:
            await met(one, two)
        await until(lambda: names(one) == ["one"])
        events = [await channel.receive() for _ in range(2)]
        assert [type(event) for event in events] == [MemberJoined, MemberLeft]
        with pytest.raises(trio.WouldBlock):
            channel.receive_nowait()

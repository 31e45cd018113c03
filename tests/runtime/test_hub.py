"""Where events go: to channels, merged, and to a handler's methods, each."""

from __future__ import annotations

from threading import get_ident
from typing import Any

import pytest
import trio

from tests.support.handlers import Everything
from trio_xsock import (
    Connected,
    DataAvailable,
    ErrorOccurred,
    Event,
    EventChannel,
    SendComplete,
    SendProgress,
    SocketError,
)
from trio_xsock._runtime.handlers import METHODS, handler_methods
from trio_xsock._runtime.hub import EventHub
from trio_xsock._runtime.message_hub import MessageHub

ERROR = SocketError("gone")
SOCKET = object()

# An event's class and fields, and what SPEC 4.3 says that a handler is told.
EVENTS: list[tuple[Any, tuple[Any, ...], str, tuple[Any, ...]]] = [
    (Connected, (SOCKET,), "on_connected", (SOCKET,)),
    (DataAvailable, (SOCKET,), "on_data_available", (SOCKET,)),
    (SendProgress, (SOCKET, 3, 4, 5), "on_send_progress", (SOCKET, 3, 4)),
    (SendComplete, (SOCKET, True, 5, 4), "on_send_complete", (SOCKET, True)),
    (ErrorOccurred, (SOCKET, ERROR), "on_error", (SOCKET, ERROR)),
]


def nothing() -> list[Event]:
    """What a socket that is closed tells a late consumer."""
    return []


def taken(channel: EventChannel) -> list[Event]:
    """All that waits."""
    events: list[Event] = []
    try:
        while True:
            events.append(channel.receive_nowait())
    except (trio.WouldBlock, trio.EndOfChannel):
        return events


# Posting to a handler


@pytest.mark.parametrize(("kind", "fields", "name", "arguments"), EVENTS)
def test_a_handler_is_told(
    kind: Any, fields: tuple[Any, ...], name: str, arguments: tuple[Any, ...]
) -> None:
    """The call is noted, not made; only progress may be answered with an abort."""
    hub, handler = EventHub(), Everything()
    hub.set_handler(handler_methods(handler, METHODS))
    assert hub.active
    assert kind in hub.wanted
    hub.post(kind, fields)
    assert len(hub.calls) == 1
    assert hub.called == 0
    assert hub.next_call() == (getattr(handler, name), arguments, kind is SendProgress)
    assert (hub.called, len(hub.calls), hub.posted) == (1, 0, 1)


def test_a_handler_gets_every_event_unmerged_and_in_order() -> None:
    """However many are due."""
    hub = EventHub()
    hub.set_handler(handler_methods(Everything(), METHODS))
    for number in range(100):
        hub.post(SendProgress, (SOCKET, 1, 100 - number, number))
    numbers = [hub.next_call()[1][2] for _ in range(100)]
    assert numbers == [100 - number for number in range(100)]


def test_only_what_a_handler_has_is_noted() -> None:
    """Events without a method leave nothing behind, and are not wanted in the first place."""

    class Handler:
        def on_send_complete(self, socket: object, user_aborted: bool) -> None: ...

    hub = EventHub()
    hub.set_handler(handler_methods(Handler(), METHODS))
    assert hub.wanted == {SendComplete}
    assert (hub.active, hub.watches_sends, hub.watches_progress) == (True, True, False)
    hub.post(Connected, (SOCKET,))
    assert not hub.calls


def test_nobody_listens_at_first() -> None:
    """A socket without consumers need not make events."""
    hub = EventHub()
    assert (hub.active, hub.wanted, hub.has_channels) == (False, frozenset(), False)
    assert (hub.watches_sends, hub.watches_progress) == (False, False)
    hub.begin(get_ident())
    hub.withdraw_data()
    hub.end()
    hub.release()
    assert (hub.posted, hub.merged, hub.over) == (0, 0, True)


def test_a_handler_may_be_taken_away() -> None:
    """What is due stays due; nothing new is noted."""
    hub = EventHub()
    hub.set_handler(handler_methods(Everything(), METHODS))
    assert hub.watches_progress
    hub.post(Connected, (SOCKET,))
    hub.set_handler({})
    assert (hub.active, hub.watches_progress, len(hub.calls)) == (False, False, 1)
    hub.set_handler(handler_methods(Everything(), METHODS))
    assert (hub.active, len(hub.calls)) == (True, 1)


def test_sockets_without_a_handler_share_nothing() -> None:
    """The queue that stands for none stays empty, whoever has a handler later."""
    idle, busy = EventHub(), EventHub()
    busy.set_handler(handler_methods(Everything(), METHODS))
    busy.post(Connected, (SOCKET,))
    assert (len(idle.calls), len(busy.calls)) == (0, 1)


# Posting to channels


def test_each_channel_sees_every_event() -> None:
    """Channels and a handler are independent; the channels get events with all fields."""
    hub = EventHub()
    own, other = hub.own_channel(nothing), hub.subscribe(nothing)
    hub.set_handler(handler_methods(Everything(), METHODS))
    for kind, fields, _, _ in EVENTS:
        assert kind in hub.wanted
        hub.post(kind, fields)
    expected = [kind(*fields) for kind, fields, _, _ in EVENTS]
    assert taken(own) == taken(other) == expected
    assert len(hub.calls) == len(EVENTS)
    assert hub.posted == len(EVENTS)


def test_received_data_goes_straight_to_the_only_listener() -> None:
    """A channel or a handler's method, but not while there are several."""
    hub = EventHub()
    assert (hub.data_method, hub.data_source) == (None, None)
    channel = hub.subscribe(nothing)
    assert hub.data_source is channel._sources[hub]
    other = hub.subscribe(nothing)
    assert hub.data_source is None
    other.close()
    assert hub.data_source is channel._sources[hub]
    hub.set_handler(handler_methods(Everything(), METHODS))
    assert (hub.data_method, hub.data_source) == (None, None)
    channel.close()
    assert hub.data_method is not None
    hub.set_handler({})
    assert (hub.data_method, hub.data_source) == (None, None)


def test_messages_are_not_announced_as_data() -> None:
    """They are decoded first."""
    hub = MessageHub()
    hub.subscribe(nothing)
    assert hub.data_source is None


def test_channels_want_every_kind() -> None:
    """Also those for which a handler has no method."""
    hub = EventHub()
    channel = hub.subscribe(nothing)
    assert hub.wanted >= {kind for kind, *_ in EVENTS}
    assert (hub.active, hub.has_channels, hub.watches_sends) == (True, True, True)
    assert not hub.watches_progress  # only a handler can abort
    channel.close()
    assert (hub.active, hub.has_channels, hub.watches_sends) == (False, False, False)


def test_a_socket_has_one_channel_of_its_own() -> None:
    """``events`` is the same object until it is closed, and then a new one."""
    hub = EventHub()
    channel = hub.own_channel(nothing)
    assert hub.own_channel(nothing) is channel
    assert hub.subscribe(nothing) is not channel
    channel.close()
    assert hub.own_channel(nothing) is not channel


def test_who_comes_late_gets_what_applies_now() -> None:
    """And the end, if it is over."""
    hub, now = EventHub(), [DataAvailable(SOCKET), ErrorOccurred(SOCKET, ERROR)]
    hub.end()
    channel = hub.own_channel(lambda: list(now))
    assert taken(channel) == now
    with pytest.raises(trio.EndOfChannel):
        channel.receive_nowait()
    hub.begin(get_ident())
    assert not hub.over
    with pytest.raises(trio.WouldBlock):
        channel.receive_nowait()
    with pytest.raises(trio.WouldBlock):
        hub.subscribe(nothing).receive_nowait()


def test_the_end_ends_every_channel_once() -> None:
    """It may be told twice: when the peer's end is seen and when ours is."""
    hub = EventHub()
    channels = [hub.own_channel(nothing), hub.subscribe(nothing)]
    hub.post(Connected, (SOCKET,))
    for _ in range(2):
        hub.end()
        for channel in channels:
            taken(channel)
            with pytest.raises(trio.EndOfChannel):
                channel.receive_nowait()


def test_read_data_is_announced_no_more() -> None:
    """``read_all`` takes a waiting announcement back from every channel."""
    hub = EventHub()
    first, second = hub.own_channel(nothing), hub.subscribe(nothing)
    hub.post(DataAvailable, (SOCKET,))
    assert taken(first) == [DataAvailable(SOCKET)]
    hub.withdraw_data()
    assert taken(second) == []


def test_merged_events_are_counted() -> None:
    """Over all channels, those that were closed included."""
    hub = EventHub()
    first, second = hub.own_channel(nothing), hub.subscribe(nothing)
    hub.post(DataAvailable, (SOCKET,))
    hub.post(DataAvailable, (SOCKET,))
    assert hub.merged == 2
    taken(second)
    hub.post(DataAvailable, (SOCKET,))
    assert hub.merged == 3
    first.close()
    assert hub.merged == 3
    hub.post(DataAvailable, (SOCKET,))
    assert hub.merged == 4
    hub.detach(first)
    assert (hub.merged, hub.posted) == (4, 4)


# A channel of the user's


def test_a_given_channel_is_the_socket_s_own() -> None:
    """It takes the events of many sockets, and goes on when one of their blocks is left."""
    channel, hubs = EventChannel(), [EventHub(), EventHub()]
    for hub in hubs:
        hub.adopt_channel(channel)
        assert hub.own_channel(nothing) is channel
    for number, hub in enumerate(hubs):
        hub.post(Connected, (number,))
        hub.end()
        hub.release()
    assert channel.statistics().open_send_channels == 0
    assert taken(channel) == [Connected(0), Connected(1)]
    with pytest.raises(trio.WouldBlock):
        channel.receive_nowait()


def test_a_closed_channel_is_not_taken() -> None:
    """The socket makes a channel of its own, as if its own had been closed."""
    channel, hub = EventChannel(), EventHub()
    channel.close()
    hub.adopt_channel(channel)
    assert not hub.active
    assert hub.own_channel(nothing) is not channel


def test_a_socket_s_own_channel_ends_with_its_block() -> None:
    """Whatever the state of the connection, nothing more can come."""
    hub = EventHub()
    channel = hub.own_channel(nothing)
    hub.post(Connected, (SOCKET,))
    hub.release()
    assert taken(channel) == [Connected(SOCKET)]
    with pytest.raises(trio.EndOfChannel):
        channel.receive_nowait()

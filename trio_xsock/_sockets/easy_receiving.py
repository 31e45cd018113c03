"""The receive calls of a message socket: ``receive``, iteration, and ``wait_for_message``."""

from __future__ import annotations

import math
from typing import Final, Self, cast

import trio

from trio_xsock._engine.easy_decoding import MessageDecoding
from trio_xsock._network.options import check_seconds
from trio_xsock._runtime.guard import Parking, let_others_run, protect_from_ki
from trio_xsock._values.message import Message, check_command

_BETWEEN_CHECKPOINTS: Final = 64


@protect_from_ki
class MessageIntake(MessageDecoding):
    """What an ``EasyTCPSocket`` can do to get messages."""

    __slots__ = ("_handed_out",)

    def _init_messages(self, max_message_size: int) -> None:
        super()._init_messages(max_message_size)
        self._handed_out = 0  # messages, since the last checkpoint of an iteration

    async def receive(self) -> Message:
        """Wait for the next message; the contract of ``trio.abc.ReceiveChannel``.

        ``async for command, data in sock:`` does so until the peer closes.

        Returns:
            The oldest message that nobody else has asked for.

        Raises:
            trio.EndOfChannel: the peer closed the connection, in good order, between messages.
            LostConnectionError: it was reset or timed out, the peer closed it within a message,
                or sent what is no message (``__cause__`` is a ``FramingError`` then).
            SocketClosedError: we closed the socket, before or meanwhile.
            InvalidStateError: never connected.

        Cancellation: no message is lost.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        self._check_not_closed()
        message = self._take(self._inbox.take)
        if message is not None:
            await let_others_run()
            return message
        ended = self._input_verdict()
        if ended is not None:
            raise self._end_of_messages(ended)
        self._check_thread()
        parking: Parking[Message] = Parking()
        reader = parking, self._message_hub.waiting()
        self._readers.append(reader)
        return cast("Message", await parking.park(lambda: self._readers.remove(reader)))

    def __aiter__(self) -> Self:
        """Iterate over messages until the peer closes.

        Messages that have arrived are handed out without a checkpoint each; there is one for
        every 64, and whenever the iterator has to wait.
        """
        return self

    async def __anext__(self) -> Message:
        if self._handed_out < _BETWEEN_CHECKPOINTS and not self._closed_by_us:
            message = self._take(self._inbox.take)
            if message is not None:
                self._handed_out += 1
                return message  # noqa: ASYNC910 - see __aiter__
        self._handed_out = 0
        try:
            return await self.receive()
        except trio.EndOfChannel:
            raise StopAsyncIteration from None

    async def wait_for_message(self, command: int, timeout: float | None = None) -> bytes | None:  # noqa: ASYNC109 - Xojo's signature
        """Wait for a message with this command, whatever else comes. Xojo: ``WaitForMessage``.

        One that has arrived and waits is taken at once. Messages with other commands go their
        way; those that nobody takes count against the receive limit, at which nothing more
        arrives.

        Args:
            command: 0..2**31-1.
            timeout: seconds; ``None`` for no limit, 0 for what is there.

        Returns:
            The message's data, or ``None`` when the time is up.

        Raises:
            LostConnectionError: the connection has ended, or ends meanwhile, however.
            SocketClosedError: we closed the socket, before or meanwhile.
            InvalidStateError: never connected.
            ValueError, TypeError: a command or a time-out of a wrong type, or out of range.

        Cancellation: no message is lost, and none comes twice.
        """
        check_command(command)
        seconds = math.inf if timeout is None else check_seconds("timeout", timeout)
        await trio.lowlevel.checkpoint_if_cancelled()
        self._check_not_closed()
        message = self._take(lambda: self._inbox.take_command(command))
        if message is not None:
            await let_others_run()
            return message.data
        ended = self._input_verdict()
        if ended is not None:
            raise self._why_ended(ended)
        self._check_thread()
        parking: Parking[bytes] = Parking()
        waiter = command, parking
        self._waiters.append(waiter)
        return await self._park_for(parking, seconds, lambda: self._waiters.remove(waiter))

    def _check_not_closed(self) -> None:
        if self._closed_by_us:
            raise self._closed_error()

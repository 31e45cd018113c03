"""``Message``: a command and data, as the message sockets send and receive them."""

from __future__ import annotations

from typing import Final, NamedTuple

from .typing import Buffer

LARGEST_COMMAND: Final = 2**31 - 1
"""Commands are Xojo's Int32; negative ones are not used."""


class Message(NamedTuple):
    """A command and its data; unpacks as ``command, data = message``.

    A named tuple, because a hundred thousand of them in a second are not unusual.
    """

    command: int
    """A number whose meaning the two sides have agreed on: 0..2**31-1."""
    data: bytes
    """The content, which may be empty."""


def check_message(message: object) -> None:
    """Raise unless ``message`` is a ``Message``; a tuple of its parts is none.

    Raises:
        TypeError: anything else.
    """
    if not isinstance(message, Message):
        kind = type(message).__name__
        raise TypeError(f"a Message is needed, not {kind}: send(Message(command, data))")


def check_command(command: object) -> int:
    """Raise unless ``command`` is a valid command.

    Args:
        command: what the user gave.

    Returns:
        The command.

    Raises:
        TypeError: not an int.
        ValueError: outside 0..2**31-1.
    """
    if not isinstance(command, int) or isinstance(command, bool):
        raise TypeError(f"command must be an int, not {type(command).__name__}")
    if not 0 <= command <= LARGEST_COMMAND:
        raise ValueError(f"command must be in 0..{LARGEST_COMMAND}, not {command}")
    return int(command)


def message_data(data: Buffer | str) -> bytes:
    """The bytes of a message, of whatever was given.

    Raises:
        TypeError: it is neither text nor a buffer.
        UnicodeEncodeError: it is text that UTF-8 cannot encode: half of a surrogate pair.
    """
    if isinstance(data, str):
        return data.encode()
    try:
        view = memoryview(data)
    except TypeError:
        raise TypeError(
            f"data must be a str, or bytes in any buffer, not {type(data).__name__}"
        ) from None
    with view:
        return view.tobytes()

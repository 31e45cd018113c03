"""The message as a value."""

from __future__ import annotations

from typing import Any

import pytest

from trio_xsock import Message
from trio_xsock._values.message import check_command, message_data


def test_a_message_is_a_pair() -> None:
    """It unpacks, compares and hashes as one."""
    message = Message(7, b"data")
    command, data = message
    assert (command, data) == (message.command, message.data) == (7, b"data")
    assert message == Message(7, b"data") != Message(7, b"")
    assert len({message, Message(7, b"data")}) == 1


@pytest.mark.parametrize("command", [0, 1, 2**31 - 1])
def test_commands_that_are_none_of_xojo_s_own(command: int) -> None:
    """All that an Int32 has room for from 0 on."""
    assert check_command(command) == command


@pytest.mark.parametrize(
    ("command", "error"),
    [
        (-1, ValueError),
        (2**31, ValueError),
        (True, TypeError),
        ("1", TypeError),
        (1.0, TypeError),
        (None, TypeError),
    ],
)
def test_what_is_no_command(command: Any, error: type[Exception]) -> None:
    """Refused, by type or by value."""
    with pytest.raises(error, match="command must be"):
        check_command(command)


@pytest.mark.parametrize(
    ("given", "data"),
    [("ä", "ä".encode()), (b"x", b"x"), (bytearray(b"x"), b"x"), (memoryview(b"xyz")[::2], b"xz")],
)
def test_the_data_of_a_message(given: Any, data: bytes) -> None:
    """Text as UTF-8, or any buffer."""
    assert message_data(given) == data


@pytest.mark.parametrize("given", [None, 5, ["a"], ("a", "b")])
def test_what_is_no_data_is_refused(given: Any) -> None:
    """It is named."""
    with pytest.raises(TypeError, match=f"not {type(given).__name__}"):
        message_data(given)

"""The errors that end a command early, and the exit codes.

The texts are whole sentences for a person, without the program's name. They may quote
what came from the network, because the code that raises them escapes it first (``_text``).
"""

from __future__ import annotations

import enum

from ._text import escape


class ExitCode(enum.IntEnum):
    """The exit codes of ``xsock``."""

    DONE = 0
    """Everything that was asked for was done."""
    FAILED = 1
    """The network, the peer or the disk failed, or one side refused."""
    USAGE = 2
    """The command line was wrong; nothing was done."""
    INTERRUPTED = 130
    """Ctrl-C, or a request to terminate, ended it."""


class CommandError(Exception):
    """The command cannot continue; the text says why."""

    exit_code = ExitCode.FAILED


class OutputFailedError(CommandError):
    """Standard output cannot be written, as on a disk that is full."""


class OutputGoneError(Exception):
    """The reader of our output has closed it; a command that only writes output ends then."""


class UsageError(CommandError):
    """The command line asks for something impossible, such as a file that is not there."""

    exit_code = ExitCode.USAGE


class TransferFormatError(CommandError):
    """The peer's bytes are not what the wire format of a transfer allows."""


class RefusedError(CommandError):
    """This side refuses the transfer; the text is sent to the sender too."""


class DeclinedError(RefusedError):
    """This side refuses this file, and goes on with those that follow on the connection."""


class RefusedByPeerError(CommandError):
    """The receiver refused the transfer; the text gives its reason."""


class DeclinedByPeerError(CommandError):
    """The receiver refused this file, with its reason; those that follow may be sent."""


class PeerSilentError(CommandError):
    """The peer neither sent nor acknowledged a byte for too long."""


class IncompleteTransferError(CommandError):
    """The connection ended before the whole file and its checksum had come."""


class NothingReceivedError(CommandError):
    """The peer connected and left without a byte: a probe, not a transfer."""


def escape_error(exc: Exception) -> str:
    """The text of ``exc``, escaped unless that was done already."""
    return str(exc) if isinstance(exc, CommandError) else escape(str(exc))


def describe(exc: Exception) -> str:
    """A text for an unexpected error, with its class; escaped."""
    if isinstance(exc, OSError) and exc.strerror:
        return escape(exc.strerror)
    return escape(f"{type(exc).__name__}: {exc}" if str(exc) else type(exc).__name__)

"""The command ``xsock``: files and bytes over TCP from the shell.

Layers, a module imports only from those above it::

    _text _arguments _beside           escaping, the words of the command line, two tasks
    _errors _parser _transfer          exit codes and failures, the wire format (no I/O)
    _sink _stream _report _log         output: the thread that writes, lines, statements, logging
    _threads _names _source _parcel    work in threads, safe names, what is sent
    _incoming_file _files _partial     a file that grows, its folder, what came before
    _patience _exchange                the peer's silence, frames over a socket
    _screen _member_table              what is drawn with rich; imported where it is drawn
    _progress _interrupt _command      bars, Ctrl-C, what a command is
    _outgoing _landing _incoming       one file, either end, without output
    _delivery _arrival                 all files of a connection, and their messages
    _stdin _view _stdio                input; received bytes in a form safe to show (no I/O)
    _conversation _sockets _talk       both directions of a connection, and their messages
    _eventlog _rounds                  what the demo shows and does
    _send _receive _connect _listen    the commands
    _interfaces _demo _bench           and some more of them
    _registry _main                    the list of commands, the parser, the exit code

It uses the library's public names only, and needs the extra ``cli``.
"""

from __future__ import annotations

from ._main import main as main
from ._main import program as program

__all__ = ["main", "program"]

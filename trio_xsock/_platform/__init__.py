"""What the operating system supports: the only part of the library that checks which system it is.

Numbers of options and flags are 0 if the system has none, for ``if OPTION:``. A missing call has a
substitute here, or its result says that it is missing; see each.

With ``TRIO_XSOCK_PLATFORM=minimal`` in the environment when the library is imported, everything
that one of Linux, macOS and Windows lacks is missing, except waiting for pipes. The tests also run
in this mode, so what the library does without such a call is tested on Linux.
"""

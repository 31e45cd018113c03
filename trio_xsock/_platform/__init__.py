"""What the operating system has and has not: the only part of the library that asks which it is.

Numbers of options and flags are 0 where there is none, so that ``if OPTION:`` asks for them. A call
that is missing has a substitute here, or says so by what it returns; see each.

With ``TRIO_XSOCK_PLATFORM=minimal`` in the environment when the library is imported, everything is
missing that one of Linux, macOS and Windows lacks, except waiting for pipes. The tests run so, too:
what the library does without such a call is tested on Linux.
"""

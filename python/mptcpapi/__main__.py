# SPDX-License-Identifier: MIT OR Apache-2.0
"""The command `mptcpapi`, the same program as the native one: `python -m mptcpapi --help`."""

from __future__ import annotations

import signal
import sys

from . import _native


def main() -> int:
    """Run the command with the words of the command line; its exit status."""
    # The command is native code: Python would only see Ctrl-C, and the end of a pipe, when it is over.
    for number in (signal.SIGINT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    return _native.main(["mptcpapi", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())

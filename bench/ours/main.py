# SPDX-License-Identifier: MIT OR Apache-2.0
"""The same work through the Python package."""

import socket
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import mptcpapi  # noqa: E402
import program  # noqa: E402

program.serve(lambda fd: mptcpapi.Connection(socket.socket(fileno=fd)).subflows)

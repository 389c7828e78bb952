# SPDX-License-Identifier: MIT OR Apache-2.0
"""The same work through the Python package."""

import socket
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import mptcpapi
import program

sockets = []


def subflows(fd: int) -> program.Listing:
    sockets.append(socket.socket(fileno=fd))
    return mptcpapi.Connection(sockets[-1]).subflows


program.serve(list=subflows)
for connection in sockets:
    connection.detach()

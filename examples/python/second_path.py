#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Open a subflow from another address of this host: second_path.py HOST PORT LOCAL_ADDRESS.

Needs no privilege where the agent runs. It need not know of it: the same calls work with CAP_NET_ADMIN and no agent.
"""

from __future__ import annotations

import os
import sys

import mptcpapi

host, port, local = sys.argv[1], int(sys.argv[2]), sys.argv[3]
try:
    with mptcpapi.create_connection((host, port), timeout=5, control="app") as sock:
        connection = mptcpapi.Connection(sock)
        sock.sendall(b"hold\n")
        sock.recv(1)  # a connection can be joined once data has flowed
        opened = connection.open_subflow(local)
        print(f"uid {os.getuid()} opened subflow {opened.id} from {opened.local.host}")
        for s in connection.subflows():
            print(f"{s.id:3} {s.local!s:24} {s.remote!s:24} {s.state}")
except mptcpapi.MptcpError as error:
    sys.exit(f"uid {os.getuid()}: {error}")

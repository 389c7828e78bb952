#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Connect by Multipath TCP and list the subflows: subflows.py HOST PORT."""

import sys

import mptcpapi

host, port = sys.argv[1], int(sys.argv[2])
with mptcpapi.create_connection((host, port), timeout=5) as sock:
    connection = mptcpapi.Connection(sock)
    print(connection.status)
    for s in connection.subflows():
        print(f"{s.id:3} {s.local!s:28} {s.remote!s:28} {s.state:12} rtt {s.rtt_us} us, sent {s.bytes_sent}")

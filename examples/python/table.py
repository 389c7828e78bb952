#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Print the subflows of a connection that was made elsewhere and inherited as a descriptor: table.py FD."""

import sys

import mptcpapi

for s in mptcpapi.Connection(int(sys.argv[1])).subflows():
    rtt = s.rtt_us / 1000
    print(f"{s.id:3}  {s.local!s:<21}  {s.remote!s:<21}  {s.state:<11}  {rtt:7.2f} ms  {s.bytes_received:>11}")

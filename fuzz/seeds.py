#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Writes first inputs of the fuzzer, corpus/TARGET/NUMBER: the vectors of tests/vectors, and messages to the agent."""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "tests/agent"))

import wire  # noqa: E402


def vectors(name: str) -> list[dict[str, object]]:
    return json.loads((HERE.parent / "tests/vectors" / f"{name}.json").read_text())["vectors"]


def fields(name: str, *keys: str) -> Iterator[bytes]:
    for vector in vectors(name):
        for key in keys:
            value = vector[key]
            for text in value if isinstance(value, list) else [value]:
                yield bytes.fromhex(text)


def full_info() -> Iterator[bytes]:
    for header, tcp, info in zip(
        *(fields("full_info", key) for key in ("header", "tcp_info", "subflow_info")), strict=True
    ):
        yield header + struct.pack("=BH", 16, len(tcp)) + tcp + info


def elements() -> Iterator[bytes]:
    for size, count in ((0, 1), (1, 0), (7, 3), (264, 2), (2**64 - 1, 2**64 - 1), (1, 2**32 - 1)):
        yield struct.pack("=QQ", size, count) + bytes(range(256)) * 3


def agent_requests() -> Iterator[bytes]:
    """Each operation, with addresses of all kinds. BEGIN is before DONE."""
    addresses = {("0.0.0.0", 0): 0, ("10.77.2.1", 20_001): 0, ("fd77::1", 443): 0, ("::ffff:10.77.2.1", 1): 1}
    for operation in range(wire.HELLO, wire.OPTION_LINK + 1):
        for address, mapped in addresses.items():
            yield wire.Request(operation, 7, address, address, 3, 2, 1, mapped=3 * mapped).encode()


def agent_replies() -> Iterator[bytes]:
    """Done, refused in words, and with as many words as there is room for."""
    for errno, text in ((0, b""), (22, b"Invalid argument"), (1, bytes(range(32, 127)) + "…".encode() * 5)):
        yield wire.REPLY.pack(wire.MAGIC, 1, len(text), 7, errno, text)


def main() -> None:
    diag, genl, events = (
        [*fields(name, key)] for name, key in (("diag", "datagrams"), ("genl", "datagrams"), ("events", "datagram"))
    )
    older = [*fields("subflow_data", "addresses", "tcp_info")]
    seeds = {
        "full_info": full_info(),
        "subflow_data": older,
        "diag": [datagram[16:] for datagram in diag],
        "netlink": diag + genl + events,
        "path_manager": [datagram[16:] for datagram in events + genl],
        "sockaddr": [answer[16:] for answer in older],
        "elements": elements(),
        "agent_request": agent_requests(),
        "agent_reply": agent_replies(),
        "mptcp_info": fields("mptcp_info", "bytes"),
    }
    for target, inputs in seeds.items():
        directory = HERE / "corpus" / target
        directory.mkdir(parents=True, exist_ok=True)
        for number, content in enumerate(inputs):
            (directory / f"vector-{number}").write_bytes(content)


if __name__ == "__main__":
    main()

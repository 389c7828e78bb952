# SPDX-License-Identifier: MIT OR Apache-2.0
"""Answers of other kernels, made out of captured ones: shorter structs (older), longer and unknown parts (newer)."""

from __future__ import annotations

import struct
from typing import Any

import layout

Vector = dict[str, Any]


def to_hex(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list) and value and isinstance(value[0], bytes):
        return [one.hex() for one in value]
    return value


def named(vectors: list[Vector], name: str) -> Vector:
    return next(vector for vector in vectors if vector["name"] == name)


def add(vectors: list[Vector], name: str, **content: Any) -> None:
    vectors.append({"name": name, "source": "derived", **{key: to_hex(value) for key, value in content.items()}})


def derive(info: list[Vector], full: list[Vector], older: list[Vector], diag: list[Vector]) -> None:
    of_mptcp_info(info)
    of_full_info(full)
    of_subflow_data(older)
    of_diag(diag)


def of_mptcp_info(vectors: list[Vector]) -> None:
    whole = bytes.fromhex(named(vectors, "IPv4, two subflows")["bytes"])
    lengths = [(48, "Linux 5.16"), (80, "Linux 6.5"), (81, "Linux 6.8"), (0, "nothing"), (46, "cut inside a field")]
    variants = [(name, whole[:length]) for length, name in lengths]
    variants.append(("a newer kernel: 32 bytes more", whole + b"\xaa" * 32))
    for name, value in variants:
        add(vectors, name, bytes=value, expected=layout.fields(layout.MPTCP_INFO, value))


def of_full_info(vectors: list[Vector]) -> None:
    source = named(vectors, "IPv4, two subflows")
    header, tcp, info = (bytes.fromhex(source[key]) for key in ("header", "tcp_info", "subflow_info"))

    def put(name: str, header: bytes, tcp: bytes, info: bytes) -> None:
        expected = layout.full_info(header, 16, tcp, info)
        add(vectors, name, room=16, header=header, tcp_info=tcp, subflow_info=info, expected=expected)

    def sizes(tcp_size: int, info_size: int, count: int = 2) -> bytes:
        return struct.pack("=5I", tcp_size, tcp_size, info_size, info_size, count) + header[20:]

    put("tcp_info of 232 bytes", sizes(232, 264), restride(tcp, 216, 232), info)
    put("tcp_info of 192 bytes: no bytes_sent", sizes(192, 264), restride(tcp, 216, 192), info)
    put("a newer kernel: every struct longer", sizes(320, 304), restride(tcp, 216, 320), restride(info, 264, 304))
    put("more promised than the arrays hold", sizes(216, 264, 9), tcp, info)
    put("mptcp_info of Linux 6.5, 80 bytes", header[:120] + bytes(16), tcp, info)


def restride(data: bytes, old: int, new: int) -> bytes:
    """Elements of another size: cut, or filled up with a pattern that must not matter."""
    return b"".join(data[at : at + min(old, new)].ljust(new, b"\xaa") for at in range(0, len(data), old))


def older_expected(addresses: bytes, statistics: bytes) -> Vector:
    total, pairs = layout.subflow_data(addresses)
    _, tcp = layout.subflow_data(statistics)
    return {"total": total, "subflows": [layout.subflow(0, one, two) for one, two in zip(pairs, tcp, strict=False)]}


def of_subflow_data(vectors: list[Vector]) -> None:
    source = named(vectors, "IPv4, two subflows")
    addresses, statistics = (bytes.fromhex(source[key]) for key in ("addresses", "tcp_info"))

    def put(name: str, addresses: bytes, statistics: bytes) -> None:
        expected = older_expected(addresses, statistics)
        add(vectors, name, addresses=addresses, tcp_info=statistics, expected=expected)

    def resized(answer: bytes, old: int, new: int, count: int = 2) -> bytes:
        return struct.pack("=4I", 16, count, new, new) + restride(answer[16:], old, new)

    put("Linux 5.16: tcp_info of 232 bytes", addresses, resized(statistics, 216, 232))
    put("tcp_info of 192 bytes: no bytes_sent", addresses, resized(statistics, 216, 192))
    put("a newer kernel: longer addresses", resized(addresses, 256, 320), resized(statistics, 216, 400))
    put("count only", addresses[:16], struct.pack("=4I", 16, 2, 280, 0))
    put("no room for the second", addresses[: 16 + 256], statistics[: 16 + 216 + 100])


def of_diag(vectors: list[Vector]) -> None:
    (whole,) = (bytes.fromhex(one) for one in named(vectors, "subflow 2 of two, IPv4")["datagrams"])
    payload = whole[16:]

    def put(name: str, payload: bytes) -> None:
        datagram = struct.pack("=IHHII", 16 + len(payload), 20, 0, 77, 0) + payload
        add(vectors, name, datagrams=[datagram], mptcp=False, expected=layout.datagrams([datagram]))

    def rebuilt(change: dict[int, bytes | None]) -> bytes:
        found: dict[int, bytes | None] = {**layout.attributes(payload[72:]), **change}
        return payload[:72] + b"".join(attribute(kind, value) for kind, value in found.items() if value is not None)

    put("unknown attributes before and behind", attribute_first(payload))
    ulp = layout.attributes(layout.attributes(payload[72:])[19])
    put("before Linux 6.15, without privilege: the ULP's name only", rebuilt({19: attribute(1, ulp[1])}))
    put("no extensions at all", payload[:72])
    context = layout.attributes(ulp[3])
    grown = b"".join(attribute(kind, value) for kind, value in context.items()) + attribute(99, b"new!")
    put("a newer kernel: more in the MPTCP part", rebuilt({19: attribute(1, ulp[1]) + attribute(3, grown)}))
    put("a shorter tcp_info", rebuilt({2: layout.attributes(payload[72:])[2][:192]}))
    put("without congestion control", rebuilt({4: None}))


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def attribute_first(payload: bytes) -> bytes:
    return payload[:72] + attribute(200, b"?" * 7) + payload[72:] + attribute(201, b"")

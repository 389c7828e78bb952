# SPDX-License-Identifier: MIT OR Apache-2.0
"""What the captured bytes mean, read with the offsets of the kernel's headers (include/uapi/linux).

This is what the Rust decoders are compared with, so it shares nothing with them.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterator
from typing import Any

# struct mptcp_info: name, offset, format.
MPTCP_INFO = [
    ("subflows", 0, "B"), ("add_addr_signal", 1, "B"), ("add_addr_accepted", 2, "B"), ("subflows_max", 3, "B"),
    ("add_addr_signal_max", 4, "B"), ("add_addr_accepted_max", 5, "B"), ("flags", 8, "I"), ("token", 12, "I"),
    ("write_seq", 16, "Q"), ("snd_una", 24, "Q"), ("rcv_nxt", 32, "Q"), ("local_addr_used", 40, "B"),
    ("local_addr_max", 41, "B"), ("csum_enabled", 42, "B"), ("retransmits", 44, "I"), ("bytes_retrans", 48, "Q"),
    ("bytes_sent", 56, "Q"), ("bytes_received", 64, "Q"), ("bytes_acked", 72, "Q"), ("subflows_total", 80, "B"),
    ("endp_laminar_max", 81, "B"), ("endp_fullmesh_max", 82, "B"), ("last_data_sent", 84, "I"),
    ("last_data_recv", 88, "I"), ("last_ack_recv", 92, "I"),
]  # fmt: skip

# struct tcp_info, the fields that a subflow shows, by the names they have there.
TCP_INFO = [
    ("state", 0, "B"), ("mss", 16, "I"), ("unacked", 24, "I"), ("last_ack_ms", 56, "I"), ("rtt_us", 68, "I"),
    ("rttvar_us", 72, "I"), ("snd_cwnd", 80, "I"), ("retransmits", 100, "I"), ("bytes_acked", 120, "Q"),
    ("bytes_received", 128, "Q"), ("delivery_rate", 160, "Q"), ("bytes_sent", 200, "Q"), ("bytes_retrans", 208, "Q"),
]  # fmt: skip

NLMSG_ERROR, NLMSG_DONE, SOCK_DIAG_BY_FAMILY = 2, 3, 20
EVENT_CLOSED, EVENT_ANNOUNCED, EVENT_REMOVED, EVENT_SUB_ESTABLISHED, EVENT_SUB_CLOSED = 3, 6, 7, 10, 11
EVENT_SUB_PRIORITY, EVENT_LISTENER_CREATED = 13, 15
NLM_F_CAPPED, NLM_F_ACK_TLVS = 0x100, 0x200
LIVE = {1, 4, 5, 8, 9, 11}


def fields(table: list[tuple[str, int, str]], data: bytes) -> dict[str, int]:
    """A field that the bytes do not reach is 0; one that they reach in part has zeros behind."""
    padded = data + bytes(512)
    return {name: struct.unpack_from("=" + form, padded, offset)[0] for name, offset, form in table}


def address(data: bytes) -> str | None:
    """A sockaddr_in or sockaddr_in6."""
    (family,) = struct.unpack_from("=H", data)
    (port,) = struct.unpack_from("!H", data, 2)
    if family == 2:
        return f"{ipaddress.IPv4Address(data[4:8])}:{port}"
    if family == 10:
        return f"[{ipv6(data[8:24])}]:{port}"
    return None


def ipv6(data: bytes) -> str:
    ip = ipaddress.IPv6Address(data)
    return f"::ffff:{ip.ipv4_mapped}" if ip.ipv4_mapped else ip.compressed


def subflow(number: int, addresses: bytes, tcp: bytes) -> dict[str, Any]:
    return {
        "id": number,
        "local": address(addresses),
        "remote": address(addresses[128:]),
        **fields(TCP_INFO, tcp),
    }


def elements(data: bytes, size: int, count: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, min(count * size, len(data)), size)] if size else []


def full_info(header: bytes, room: int, tcp: bytes, info: bytes) -> dict[str, Any]:
    _, tcp_size, _, info_size, total = struct.unpack_from("=5I", header)
    count = min(total, room)
    pairs = zip(elements(info, info_size, count), elements(tcp, tcp_size, count), strict=False)
    return {
        "total": total,
        "mptcp_info": fields(MPTCP_INFO, header[40:]),
        "states": [element[0] for element in elements(tcp, tcp_size, count)],
        "subflows": [subflow(struct.unpack_from("=I", one)[0], one[8:264], two) for one, two in pairs],
    }


def subflow_data(answer: bytes) -> tuple[int, list[bytes]]:
    _, total, _, size = struct.unpack_from("=4I", answer)
    return total, elements(answer[16:], size, total)


def messages(datagram: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    at = 0
    while at + 16 <= len(datagram):
        length, kind, flags, sequence, _ = struct.unpack_from("=IHHII", datagram, at)
        yield kind, flags, sequence, datagram[at + 16 : at + length]
        at += (length + 3) & ~3


def attributes(data: bytes) -> dict[int, bytes]:
    found, at = {}, 0
    while at + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, at)
        found[kind & 0x3FFF] = data[at + 4 : at + length]
        at += (length + 3) & ~3
    return found


def text(value: bytes) -> str:
    return value.split(b"\0")[0].decode()


def outcome(kind: int, flags: int, payload: bytes) -> dict[str, Any] | None:
    if kind not in (NLMSG_ERROR, NLMSG_DONE):
        return None
    error = struct.unpack_from("=i", payload)[0] if len(payload) >= 4 else 0
    behind = 4
    if kind == NLMSG_ERROR:
        (length,) = struct.unpack_from("=I", payload, 4)
        behind += 16 if flags & NLM_F_CAPPED else (length + 3) & ~3
    words = attributes(payload[behind:]) if flags & NLM_F_ACK_TLVS else {}
    return {"errno": -error, "message": text(words[1]) if 1 in words else None}


def diag_socket(payload: bytes, mptcp: bool) -> dict[str, Any] | None:
    family, state = payload[0], payload[1]
    if family not in (2, 10):
        return None
    sport, dport = struct.unpack_from("!HH", payload, 4)
    ip = (lambda data: str(ipaddress.IPv4Address(data[:4]))) if family == 2 else (lambda data: f"[{ipv6(data)}]")
    found = attributes(payload[72:])
    ulp = attributes(found.get(19, b""))
    mapped = family == 10 and payload[8:20] == bytes(10) + b"\xff\xff"
    tos = found.get(5 if family == 2 or mapped else 6)
    result = {
        "local": f"{ip(payload[8:24])}:{sport}",
        "remote": f"{ip(payload[24:40])}:{dport}",
        "state": state,
        "interface": struct.unpack_from("=I", payload, 40)[0],
        "uid": struct.unpack_from("=I", payload, 64)[0],
        "inode": struct.unpack_from("=I", payload, 68)[0],
        "congestion": text(found[4]) if 4 in found else None,
        "tos": tos[0] if tos else None,
        "is_subflow": text(ulp.get(1, b"")) == "mptcp",
        "mptcp": context(attributes(ulp.get(3, b""))),
        "tcp_info": None,
        "mptcp_info": None,
    }
    if 2 in found and mptcp:
        result["mptcp_info"] = fields(MPTCP_INFO, found[2])
    elif 2 in found:
        result["tcp_info"] = fields(TCP_INFO, found[2])
    return result


def context(found: dict[int, bytes]) -> dict[str, int] | None:
    if not {2, 8, 9, 10} <= found.keys():
        return None
    token, flags = (struct.unpack("=I", found[kind])[0] for kind in (2, 8))
    return {"token": token, "flags": flags, "local_id": found[10][0], "remote_id": found[9][0]}


def family_of(payload: bytes) -> dict[str, int]:
    """What the generic netlink controller says of a family: its number, and its group of events."""
    found = attributes(payload[4:])
    groups = [attributes(group) for group in attributes(found[7]).values()]
    events = [group[2] for group in groups if text(group[1]) == "mptcp_pm_events"]
    return {"id": struct.unpack("=H", found[1])[0], "events": struct.unpack("=I", events[0])[0]}


def event(payload: bytes) -> dict[str, Any] | None:
    """None: it is about no connection."""
    found = attributes(payload[4:])
    if 1 not in found:
        return None

    def endpoint(v4: int, v6: int, port: int) -> str | None:
        number = struct.unpack("!H", found[port])[0] if port in found else 0
        if v4 in found:
            return f"{ipaddress.IPv4Address(found[v4])}:{number}"
        return f"[{ipv6(found[v6])}]:{number}" if v6 in found else None

    def small(kind: int) -> int | None:
        return found[kind][0] if kind in found else None

    return {
        "command": payload[0],
        "token": struct.unpack("=I", found[1])[0],
        "local": endpoint(5, 6, 9),
        "remote": endpoint(7, 8, 10),
        "remote_id": small(4),
        "backup": bool(small(11)) if 11 in found else None,
        "error": small(12),
        "reset_reason": struct.unpack("=I", found[16])[0] if 16 in found else None,
    }


def datagrams(data: list[bytes], mptcp: bool = False, family: bool = False) -> list[dict[str, Any]]:
    """What each message of some datagrams says; `family`: answers of the generic netlink controller."""
    result = []
    for kind, flags, sequence, payload in (message for datagram in data for message in messages(datagram)):
        one = {"kind": kind, "flags": flags, "sequence": sequence, "outcome": outcome(kind, flags, payload)}
        if kind == SOCK_DIAG_BY_FAMILY and not family:
            one["socket"] = diag_socket(payload, mptcp)
        if family and one["outcome"] is None:
            one["family"] = family_of(payload)
        result.append(one)
    return result

# SPDX-License-Identifier: MIT OR Apache-2.0
"""What the kernel's own tools say, to compare with."""

from __future__ import annotations

import re
import shutil
from typing import Any

from namespaces import Host

STATES = {"ESTAB": "established", "FIN-WAIT-2": "fin_wait2", "CLOSE-WAIT": "close_wait"}
FIELDS = {
    "snd_cwnd": r"\bcwnd:(\d+)",
    "mss": r"\bmss:(\d+)",
    "bytes_sent": r"\bbytes_sent:(\d+)",
    "bytes_acked": r"\bbytes_acked:(\d+)",
    "bytes_received": r"\bbytes_received:(\d+)",
    "bytes_retrans": r"\bbytes_retrans:(\d+)",
    "retransmits": r"\bretrans:\d+/(\d+)",
    "unacked": r"\bunacked:(\d+)",
    # token:REMOTE(id:REMOTE)/LOCAL(id:LOCAL)
    "remote_id": r"\btoken:\w+\(id:(\d+)\)",
    "local_id": r"\)/\w+\(id:(\d+)\)",
}


def ss_subflows(host: Host, port: int, direction: str = "dport") -> dict[str, dict[str, Any]]:
    """The subflows towards a port (or from it, "sport"), as `ss -ti` prints them, by the client's address."""
    text = host.run([shutil.which("ss") or "ss", "-tinOH", direction, "=", f":{port}"])
    found = {}
    for line in text.splitlines():
        state, _, _, local, remote, rest = line.split(maxsplit=5)
        if state == "LISTEN":
            continue
        fields: dict[str, Any] = {"remote": remote, "state": STATES[state], "congestion": rest.split()[0]}
        if rest.split()[0] == "ts":
            fields["congestion"] = next(word for word in rest.split() if word in ("reno", "cubic", "bbr"))
        for name, pattern in FIELDS.items():
            # ss leaves out what is zero.
            match = re.search(pattern, rest)
            fields[name] = int(match[1]) if match else 0
        rtt = re.search(r"\brtt:([\d.]+)/([\d.]+)", rest)
        assert rtt, line
        fields["rtt_us"], fields["rttvar_us"] = (round(float(value) * 1000) for value in rtt.groups())
        rate = re.search(r"\bdelivery_rate (\d+)bps", rest)
        fields["delivery_rate"] = int(rate[1]) // 8 if rate else 0
        flags = re.search(r"tcp-ulp-mptcp flags:(\w+)", rest)
        assert flags, line
        fields["backup"], fields["backup_by_peer"] = "b" in flags[1], "B" in flags[1]
        fields["fully_established"] = "e" in flags[1]
        found[local if direction == "dport" else remote] = fields
    return found


OPTIONS = {
    "mark": r"\bfwmark:(0x[0-9a-f]+)",
    "tos": r"\btos:(0x[0-9a-f]+)",
    "tclass": r"\btclass:(0x[0-9a-f]+)",
    "receive_buffer": r"\bskmem:\(r\d+,rb(\d+)",
    "send_buffer": r"\bskmem:\(r\d+,rb\d+,t\d+,tb(\d+)",
    "mss": FIELDS["mss"],
    # bits per second: now, and at most where there is a limit
    "max_pacing_rate": r"\bpacing_rate \d+bps/(\d+)bps",
}


def ss_options(host: Host, port: int) -> list[dict[str, Any]]:
    """The options of the subflows towards a port that `ss -tinem --tos` prints, by the client's address; 0: none."""
    text = host.run([shutil.which("ss") or "ss", "-tinemOH", "--tos", "dport", "=", f":{port}"])
    found = {}
    for line in text.splitlines():
        fields: dict[str, Any] = {}
        for name, pattern in OPTIONS.items():
            match = re.search(pattern, line)
            fields[name] = int(match[1], 0) if match else 0
        fields["congestion"] = next(word for word in line.split() if word in ("reno", "cubic", "bbr"))
        found[line.split()[3]] = fields
    return [found[local] for local in sorted(found)]


def ss_token(host: Host, port: int) -> int:
    """The token of the connection towards a port, as `ss -M` prints it."""
    text = host.run([shutil.which("ss") or "ss", "-MinOH", "dport", "=", f":{port}"])
    match = re.search(r"\btoken:([0-9a-f]+)", text)
    assert match, text
    return int(match[1], 16)


def destroy_subflow(host: Host, local: str) -> None:
    """Reset one subflow by its local address, as `ss -K` does."""
    address, port = local.rsplit(":", 1)
    host.run([shutil.which("ss") or "ss", "-tK", "src", address, "sport", "=", f":{port}"])

# SPDX-License-Identifier: MIT OR Apache-2.0
"""The texts which make the network: addresses, and input for ip, tc and nft.  No side effects."""

from __future__ import annotations

from collections.abc import Iterable

MAX_PATHS = 32
# The kernel's own limits for its path manager.
MAX_SUBFLOWS = 8
MAX_ENDPOINTS = 8

SYSCTLS = {
    "net.mptcp.enabled": 1,
    # Else one connection that fell back would disable MPTCP for all later ones, for an hour.
    "net.mptcp.blackhole_timeout": 0,
    # A subflow from path 2 to the server's address of path 1 is answered through path 2.
    "net.ipv4.conf.all.rp_filter": 0,
    "net.ipv4.conf.default.rp_filter": 0,
    # IPv6 addresses survive when a link goes down, as IPv4 addresses do.
    "net.ipv6.conf.all.keep_addr_on_down": 1,
}

# Rules of both hosts.  Packets are dropped where they arrive, never where they are sent: a sender
# would be told of a local drop.  Neighbour discovery passes, as if the failure were some hops away.
# Sending this text again changes nothing, so every command may send it first.
FILTER = """
add table inet lab
add set inet lab cut { type ifname; }
add set inet lab refused { type ifname . inet_service; }
add chain inet lab cut { type filter hook prerouting priority raw; }
flush chain inet lab cut
add rule inet lab cut iifname @cut icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
add rule inet lab cut iifname @cut drop
add chain inet lab strip { type filter hook prerouting priority mangle; }
add chain inet lab refuse { type filter hook input priority filter; }
flush chain inet lab refuse
add rule inet lab refuse iifname . tcp dport @refused reject with tcp reset
"""

UNSTRIP = "flush chain inet lab strip\n"


def interface(path: int) -> str:
    return f"path{path}"


def _address(path: int, host: int, family: int) -> str:
    if family not in (4, 6):
        raise ValueError(f"family is 4 or 6, not {family}")
    return f"10.77.{path}.{host}" if family == 4 else f"fd77:{path:x}::{host}"


def client_address(path: int, family: int = 4) -> str:
    return _address(path, 1, family)


def server_address(path: int, family: int = 4) -> str:
    return _address(path, 2, family)


def _lines(lines: Iterable[str]) -> str:
    return "".join(line + "\n" for line in lines)


def _addresses(path: int, host: int) -> list[str]:
    device = interface(path)
    return [
        f"address add {_address(path, host, 4)}/24 dev {device}",
        f"address add {_address(path, host, 6)}/64 dev {device} nodad",
        f"link set {device} up",
    ]


def _limits() -> str:
    return f"mptcp limits set subflows {MAX_SUBFLOWS} add_addr_accepted {MAX_SUBFLOWS}"


def server_setup(paths: int, client_pid: int) -> str:
    """Input for `ip -batch -` on the server; it also makes the client's interfaces."""
    lines = ["link set lo up", _limits()]
    for path in range(1, paths + 1):
        name = interface(path)
        lines.append(f"link add {name} type veth peer name {name} netns {client_pid}")
        lines += _addresses(path, 2)
    return _lines(lines)


def client_setup(paths: int, endpoints: bool) -> str:
    """Input for `ip -batch -` on the client, but for the IPv6 routes."""
    lines = ["link set lo up", _limits()]
    for path in range(1, paths + 1):
        lines += _addresses(path, 1)
    if endpoints:
        lines += [f"mptcp endpoint add {address} subflow" for address in _endpoint_addresses(paths)]
    return _lines(lines) + client_routes(paths, 4)


def _endpoint_addresses(paths: int) -> list[str]:
    """Path 1 has none: it is the path of the connection's first subflow."""
    addresses = [client_address(path, family) for family in (4, 6) for path in range(2, paths + 1)]
    return addresses[:MAX_ENDPOINTS]


def client_routes(paths: int, family: int) -> str:
    """What is sent from an address of path i leaves through path i, whatever its destination."""
    lines = []
    for path in range(1, paths + 1):
        lines.append(f"rule add from {client_address(path, family)} table {_table(path)}\n")
        lines.append(client_route(path, family))
    return "".join(lines)


def client_route(path: int, family: int) -> str:
    gateway = server_address(path, family)
    return f"route replace default via {gateway} dev {interface(path)} table {_table(path)}\n"


def _table(path: int) -> int:
    return 100 + path


def shape_commands(path: int, rate: str | None) -> str:
    """Input for `tc -batch -` on either host."""
    device = interface(path)
    if rate is None:
        return f"qdisc replace dev {device} root pfifo_fast\n"
    return f"qdisc replace dev {device} root tbf rate {rate} burst 64kb latency 50ms\n"


def cut_rules(path: int) -> str:
    return f"add element inet lab cut {{ {interface(path)} }}\n"


def heal_rules(path: int) -> str:
    # Adding first makes deleting succeed also where there was nothing.
    return cut_rules(path) + f"delete element inet lab cut {{ {interface(path)} }}\n"


def strip_rules(path: int | None, keep_syn: bool) -> str:
    where = "" if path is None else f"iifname {interface(path)} "
    which = "tcp flags & syn == 0 " if keep_syn else "meta l4proto tcp "
    return f"add rule inet lab strip {where}{which}reset tcp option mptcp\n"


def _refused(paths: Iterable[int], port: int) -> str:
    return ", ".join(f"{interface(path)} . {port}" for path in paths)


def refuse_rules(paths: Iterable[int], port: int) -> str:
    return f"add element inet lab refused {{ {_refused(paths, port)} }}\n"


def allow_rules(paths: Iterable[int], port: int) -> str:
    paths = list(paths)
    return refuse_rules(paths, port) + f"delete element inet lab refused {{ {_refused(paths, port)} }}\n"

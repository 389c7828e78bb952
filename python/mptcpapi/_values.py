# SPDX-License-Identifier: MIT OR Apache-2.0
"""Values whose types are made in Python."""

from __future__ import annotations

import ipaddress
from enum import Enum
from typing import NamedTuple


class Address(NamedTuple):
    """The address of one end of a subflow: the tuple (host, port), as the standard library has it."""

    host: str
    """The IP address as text; of a link-local one with its zone: fe80::1%2."""
    port: int

    @property
    def ip(self) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
        """The host as an object of the module ipaddress."""
        return ipaddress.ip_address(self.host)

    def __str__(self) -> str:
        """10.0.0.1:443 or [2001:db8::1]:443."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class _Word(str, Enum):
    """A word of the API: equal to the same word as str."""

    def __str__(self) -> str:
        return str.__str__(self)

    def __format__(self, spec: str, /) -> str:
        return format(str(self), spec)


class Status(_Word):
    """What a socket is now."""

    UNCONNECTED = "unconnected"
    """An MPTCP socket without a connection: fresh, connecting, listening, or its connection is over."""
    MPTCP = "mptcp"
    """A connection that speaks MPTCP."""
    FALLBACK = "fallback"
    """An MPTCP socket whose connection speaks plain TCP: the peer or the path did not carry MPTCP."""
    TCP = "tcp"
    """A plain TCP socket (protocol 6), such as one accepted from a plain TCP peer."""


class PathManager(_Word):
    """Who decides which subflows a connection has."""

    UNKNOWN = "unknown"
    """It cannot be known: no connection, another network namespace, or a kernel older than 6.9."""
    KERNEL = "kernel"
    """The kernel, by the endpoints and limits of the network namespace."""
    USERSPACE = "userspace"
    """Programs: the application through this library, or a daemon."""


class EventKind(_Word):
    """What an Event tells."""

    ESTABLISHED = "established"
    """Data has flowed: the connection can be joined now."""
    SUBFLOW_ESTABLISHED = "subflow_established"
    """A subflow has come."""
    SUBFLOW_CLOSED = "subflow_closed"
    """A subflow has gone."""
    PRIORITY_CHANGED = "priority_changed"
    """The peer wants a subflow to be a backup, or not any more."""
    ADDRESS_ANNOUNCED = "address_announced"
    """The peer offers an address."""
    ADDRESS_REMOVED = "address_removed"
    """The peer takes an address back."""
    FALLBACK = "fallback"
    """The connection speaks plain TCP from now on; no more events come of it."""
    CLOSED = "closed"
    """The connection is over; no more events come of it."""
    RESYNCED = "resynced"
    """Events were lost, because they came faster than they were read. What had changed has been found out by a new
    listing and was told as ordinary events before this one."""


class EventSource(_Word):
    """Where the events of a Monitor come from."""

    NETLINK = "netlink"
    """The kernel tells of each change; needs CAP_NET_ADMIN in the network namespace."""
    POLLING = "polling"
    """Listings are compared ten times a second: what comes and goes in between is not seen, reasons are unknown."""


class PathEventKind(_Word):
    """What a PathEvent tells."""

    LINK_DOWN = "link_down"
    """The interface of a subflow lost its carrier, or was set down."""
    LINK_UP = "link_up"
    """An interface works again. Of no subflow: it names the interface."""
    ADDRESS_REMOVED = "address_removed"
    """The local address of a subflow was removed."""
    STALLED = "stalled"
    """Nothing came back on a subflow for longer than the limit, although something was under way."""
    RESUMED = "resumed"
    """A subflow that had stalled goes on."""
    CLOSED = "closed"
    """The connection is over, or fell back to TCP. Of no subflow: nothing more comes."""


for _class in (Address, Status, PathManager, EventKind, EventSource, PathEventKind):
    _class.__module__ = "mptcpapi"
del _class

# SPDX-License-Identifier: MIT OR Apache-2.0
"""A socket that the agent lets hear the events of one connection hears of no other one, whatever its holder does."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import socket
import struct
from collections.abc import Iterator

import pytest
from lab import Lab
from test_hostile import OTHER, Connect
from wire import WATCH, Client, Request

SOL_NETLINK, ADD_MEMBERSHIP, DROP_MEMBERSHIP, LISTEN_ALL_NSID, LIST_MEMBERSHIPS = 270, 1, 2, 8, 9
SO_ATTACH_FILTER, SO_DETACH_FILTER, SO_LOCK_FILTER, SO_ATTACH_BPF = 26, 27, 44, 50
#: Classic BPF: return everything.
ALL = ctypes.create_string_buffer(struct.pack("=HBBI", 0x06, 0, 0, 0xFFFFFFFF))
ACCEPT_ALL = struct.pack("=HxxxxxxQ", 1, ctypes.addressof(ALL))


def token_of(connection: socket.socket) -> int:
    """struct mptcp_info, behind six bytes of counts, two of padding and the flags."""
    return struct.unpack_from("=I", connection.getsockopt(284, 1, 200), 12)[0]


def event_token(message: bytes) -> int:
    """struct nlmsghdr, struct genlmsghdr, attributes."""
    place = 20
    while place < len(message):
        length, kind = struct.unpack_from("=HH", message, place)
        if kind == 1:
            return struct.unpack_from("=I", message, place + 4)[0]
        place += (length + 3) & ~3
    raise AssertionError("an event without a token")


@pytest.fixture
def events(lab: Lab) -> Iterator[socket.socket]:
    with lab.enter(), socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16) as made:
        made.bind((0, 0))
        made.settimeout(20)
        yield made


def groups(events: socket.socket) -> list[int]:
    """Of which it is a member."""
    words = struct.unpack("=8I", events.getsockopt(SOL_NETLINK, LIST_MEMBERSHIPS, 32).ljust(32, b"\0"))
    return [32 * place + bit + 1 for place, word in enumerate(words) for bit in range(32) if word >> bit & 1]


@contextlib.contextmanager
def ordinary() -> Iterator[None]:
    """A user without privilege: this process, for a while."""
    os.seteuid(OTHER)
    try:
        yield
    finally:
        os.seteuid(0)


def wait_for(everything: socket.socket, *tokens: int) -> None:
    """Until somebody who hears of all connections has heard of these."""
    left = set(tokens)
    while left:
        left.discard(event_token(everything.recv(4096)))


def listener_of(group: int) -> socket.socket:
    """With the privilege to hear of all, in the namespace of this thread."""
    made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16)
    made.bind((0, 0))
    made.setsockopt(SOL_NETLINK, ADD_MEMBERSHIP, group)
    made.settimeout(20)
    return made


def tokens_told(events: socket.socket) -> set[int]:
    """Of which connections something lies there."""
    told = set()
    events.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            told.add(event_token(events.recv(4096)))
    events.settimeout(20)
    return told


def test_events_are_of_this_connection_only(client: Client, connect: Connect, lab: Lab, events: socket.socket) -> None:
    own, other, third = connect(), connect(), connect()
    assert client.ask(Request(WATCH), [own.fileno(), events.fileno()]).errno == 0
    tokens = [token_of(one) for one in (own, other, third)]
    assert len(set(tokens)) == 3
    [group] = groups(events)
    with lab.enter():
        everything = listener_of(group)
    # The other one's are first, and there is nothing of them.
    other.close()
    wait_for(everything, tokens[1])
    assert tokens_told(events) == set()
    add = struct.pack("=i", group)
    attempts = {
        "another filter": (socket.SOL_SOCKET, SO_ATTACH_FILTER, ACCEPT_ALL),
        "a program": (socket.SOL_SOCKET, SO_ATTACH_BPF, struct.pack("=i", events.fileno())),
        "no filter": (socket.SOL_SOCKET, SO_DETACH_FILTER, 0),
        "no lock": (socket.SOL_SOCKET, SO_LOCK_FILTER, 0),
        "the group, once more": (SOL_NETLINK, ADD_MEMBERSHIP, add),
        "of all namespaces": (SOL_NETLINK, LISTEN_ALL_NSID, 1),
    }
    with ordinary():
        for what, option in attempts.items():
            with pytest.raises(PermissionError):
                events.setsockopt(*option)
                print(what)
        with pytest.raises(PermissionError):
            # Groups beyond the 32nd have no bit there.
            events.bind((events.getsockname()[0], 1 << (group - 1) if group <= 32 else 0xFFFFFFFF))
    third.close()
    wait_for(everything, tokens[2])
    own.close()
    assert event_token(events.recv(4096)) == tokens[0]
    assert tokens_told(events) <= {tokens[0]}
    everything.close()
    # Once given up, it cannot be had again.
    with ordinary():
        events.setsockopt(SOL_NETLINK, DROP_MEMBERSHIP, add)
        assert groups(events) == []
        with pytest.raises(PermissionError):
            events.setsockopt(SOL_NETLINK, ADD_MEMBERSHIP, add)
        # The filter stays all the same.
        with pytest.raises(PermissionError):
            events.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)
    assert groups(events) == []


def test_events_for_a_filter_of_the_clients(client: Client, connect: Connect, lab: Lab, events: socket.socket) -> None:
    """One that lets everything through. Locked, it is there for good: then there are no events."""
    own, other = connect(), connect()
    tokens = [token_of(one) for one in (own, other)]
    events.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, ACCEPT_ALL)
    with lab.enter(), socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16) as locked_before:
        locked_before.bind((0, 0))
        locked_before.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, ACCEPT_ALL)
        locked_before.setsockopt(socket.SOL_SOCKET, SO_LOCK_FILTER, 1)
        assert client.ask(Request(WATCH), [own.fileno(), locked_before.fileno()]).errno == errno.EPERM
        assert groups(locked_before) == []
        # One that can be replaced is.
        assert client.ask(Request(WATCH), [own.fileno(), events.fileno()]).errno == 0
        with listener_of(*groups(events)) as everything:
            other.close()
            wait_for(everything, tokens[1])
        own.close()
        assert event_token(events.recv(4096)) == tokens[0] != tokens[1]
        assert tokens_told(events) <= {tokens[0]}
        assert tokens_told(locked_before) == set()

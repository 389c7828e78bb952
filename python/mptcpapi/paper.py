# SPDX-License-Identifier: MIT OR Apache-2.0
"""The socket options of the paper "An enhanced socket API for Multipath TCP" (Hesmans and Bonaventure, ANRW '16).

For programs that were written for them, and for who wants to try them. No stock kernel knows these options: they are
answered here, by what mptcpapi.Connection does too.

    from mptcpapi import paper

    second = paper.open_sub_tuple(sock, local="10.0.1.5")
    for subflow in paper.get_sub_ids(sock):
        print(subflow.id, *paper.get_sub_tuple(sock, subflow.id))
    paper.close_sub_id(sock, 1)

Ids are the paper's: 1 to 31, and given again after a round. They are not those of mptcpapi.Subflow. sock: a socket, an
object with fileno(), or a file descriptor. All may be called from several threads, and need the rights that
mptcpapi.Connection needs.

A subflow that is opened before the connection can be joined (no data has flowed) is listed at once, and asked for
later: at the next call of any function here on that connection, as this library has no thread. `mptcpapi run` does it
in the moment when it is possible.

Errors are OSErrors with the errno of the paper's kernel, in the classes of mptcpapi.MptcpError where there is one. All
functions raise EOPNOTSUPP where there is no MPTCP connection, or not any more, EBADF and ENOTSOCK; ValueError and
TypeError for arguments that cannot be meant.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, overload

from . import _native
from ._values import Address

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from ._native import _Address, _HasFileno, _Value

__all__ = [
    "MPTCP_CLOSE_SUB_ID",
    "MPTCP_ENABLED",
    "MPTCP_GET_SUB_IDS",
    "MPTCP_GET_SUB_INFO",
    "MPTCP_GET_SUB_TUPLE",
    "MPTCP_INFO",
    "MPTCP_OPEN_SUB_TUPLE",
    "MPTCP_PATH_MANAGER",
    "MPTCP_SCHEDULER",
    "MPTCP_SUB_GETSOCKOPT",
    "MPTCP_SUB_SETSOCKOPT",
    "SubStatus",
    "close_sub_id",
    "get_sub_ids",
    "get_sub_tuple",
    "getsockopt",
    "open_sub_tuple",
    "setsockopt",
    "stock_options",
    "sub_getsockopt",
    "sub_setsockopt",
]

MPTCP_GET_SUB_IDS: Final = _native.MPTCP_GET_SUB_IDS
"""Lists the ids of the subflows: struct mptcp_sub_ids."""
MPTCP_CLOSE_SUB_ID: Final = _native.MPTCP_CLOSE_SUB_ID
"""Closes a subflow: struct mptcp_close_sub_id."""
MPTCP_GET_SUB_TUPLE: Final = _native.MPTCP_GET_SUB_TUPLE
"""The addresses of a subflow: struct mptcp_sub_tuple."""
MPTCP_OPEN_SUB_TUPLE: Final = _native.MPTCP_OPEN_SUB_TUPLE
"""Opens a subflow: struct mptcp_sub_tuple."""
MPTCP_GET_SUB_INFO: Final = _native.MPTCP_GET_SUB_INFO
"""A number without a meaning: no kernel ever answered it."""
MPTCP_SUB_GETSOCKOPT: Final = _native.MPTCP_SUB_GETSOCKOPT
"""Reads an option of a subflow: struct mptcp_sub_getsockopt."""
MPTCP_SUB_SETSOCKOPT: Final = _native.MPTCP_SUB_SETSOCKOPT
"""Sets an option of a subflow: struct mptcp_sub_setsockopt; the only one of the paper's for setsockopt."""
MPTCP_ENABLED: Final = _native.MPTCP_ENABLED
"""Of the kernels 0.9x, as the next three (see stock_options): whether the connection is, or would be, MPTCP."""
MPTCP_SCHEDULER: Final = _native.MPTCP_SCHEDULER
"""The name of the scheduler."""
MPTCP_PATH_MANAGER: Final = _native.MPTCP_PATH_MANAGER
"""The name of the path manager."""
MPTCP_INFO: Final = _native.MPTCP_INFO
"""Statistics of the connection and of its subflows: their struct mptcp_info."""


class SubStatus(NamedTuple):
    """What MPTCP_GET_SUB_IDS says of one subflow."""

    id: int
    """1 to 31."""
    slave: bool
    """Not the subflow that the connection began with."""
    fully_established: bool
    """Data can flow on it."""
    attached: bool
    """It belongs to the connection: true of all that are listed."""
    low_prio: bool
    """This side asked the peer to use it as a backup only."""
    pre_established: bool
    """The peer has answered, and not yet confirmed the join."""


def get_sub_ids(sock: int | _HasFileno) -> list[SubStatus]:
    """The subflows, newest first, those on their way included; possibly none."""
    return [SubStatus(*status) for status in _native.paper_get_sub_ids(sock)]


def get_sub_tuple(sock: int | _HasFileno, id: int) -> tuple[Address, Address]:
    """The local and the remote address of a subflow. Raises EINVAL for an unknown id."""
    return _native.paper_get_sub_tuple(sock, id)


def open_sub_tuple(
    sock: int | _HasFileno,
    local: _Address | None = None,
    remote: _Address | None = None,
    low_prio: bool = False,
) -> int:
    """Ask for a subflow, and return its id before the peer has answered: one that is refused leaves the list.

    local: where from; without it, or with 0.0.0.0 or ::, the kernel chooses. remote: where to; without it, or without
    its port, where the connection goes. Addresses are as those of Connection.open_subflow. low_prio: as a backup.

    Raises the errors of bind(2), and of connect(2) but EINPROGRESS; EOPNOTSUPP also on a connection that the kernel's
    path manager runs; EPERM without the right to it, and where 31 subflows are there; EAFNOSUPPORT for IPv6 on a socket
    of AF_INET.
    """
    return _native.paper_open_sub_tuple(sock, local, remote, low_prio)


def close_sub_id(sock: int | _HasFileno, id: int) -> None:
    """Close a subflow, the last one too. What was in flight is sent again on the others.

    Raises EINVAL for an unknown id, EPERM.
    """
    _native.paper_close_sub_id(sock, id)


@overload
def sub_getsockopt(sock: int | _HasFileno, id: int, level: int, name: int) -> int: ...
@overload
def sub_getsockopt(sock: int | _HasFileno, id: int, level: int, name: int, buflen: int) -> bytes: ...
def sub_getsockopt(sock: int | _HasFileno, id: int, level: int, name: int, buflen: int = 0) -> int | bytes:
    """Read an option of a subflow, in the way of socket.getsockopt: an int, or with buflen at most so many bytes.

    Raises EINVAL for an unknown id; ENOPROTOOPT where the option cannot be read of one of several subflows: `mptcpapi
    doctor --options` lists them.
    """
    return _native.paper_sub_getsockopt(sock, id, level, name, buflen)


def sub_setsockopt(sock: int | _HasFileno, id: int, level: int, name: int, value: _Value) -> None:
    """Set an option of a subflow and of no other, in the way of socket.setsockopt: value is an int, bytes, or a str.

    Raises what sub_getsockopt raises, and the errors of setsockopt(2).
    """
    _native.paper_sub_setsockopt(sock, id, level, name, value)


def getsockopt(sock: int | _HasFileno, name: int, data: Buffer) -> bytes:
    """getsockopt(2) at IPPROTO_TCP with the bytes of a request in its buffer; the buffer's bytes afterwards, as many as
    the call says that there are. Other options than the paper's go to the kernel.

    Addresses in a struct mptcp_sub_getsockopt are of this process, and are written to.

    Raises EINVAL for a length or an id, EFAULT; as the functions that say the same in types.
    """
    return _native.paper_getsockopt(sock, name, data)


def setsockopt(sock: int | _HasFileno, name: int, data: Buffer) -> None:
    """setsockopt(2) at IPPROTO_TCP with these bytes, as getsockopt; of the paper's options MPTCP_SUB_SETSOCKOPT.

    Of other options, subflows that were given a value of their own by this process keep it: Connection.set_option.
    """
    _native.paper_setsockopt(sock, name, data)


def stock_options(on: bool) -> bool:
    """Whether getsockopt and setsockopt of this process also answer the options 42 to 45 as the MPTCP kernels 0.9x did.

    Off at first: Linux uses these numbers otherwise. Returns what it was.
    """
    return _native.paper_stock_options(on)

# SPDX-License-Identifier: MIT OR Apache-2.0
"""The errors that every language of mptcpapi tells apart."""

from __future__ import annotations


class MptcpError(OSError):
    """An operation failed for a reason that has to do with Multipath TCP.

    `errno` and the text are those of OSError. Errors without a class of their own (EBADF of a closed socket, ENOTSOCK,
    …) are the OSErrors that Python has for their errno, with the same attributes.
    """

    operation: str = ""
    """What was asked: "subflows", "info", …"""
    subflow: int | None = None
    """The id of the subflow that was asked about, if one was."""
    kernel_message: str | None = None
    """The kernel's own words, if it had any."""
    hint: str = ""
    """What the user can do; empty where there is nothing to say."""


class NotMptcp(MptcpError):
    """The socket is plain TCP or another protocol (EOPNOTSUPP)."""


class FellBack(MptcpError):
    """An MPTCP socket that speaks TCP now: the peer or the path did not carry MPTCP (EOPNOTSUPP)."""


class Unsupported(MptcpError):
    """The kernel lacks it, or a part is not loaded (ENOSYS)."""


class PermissionDenied(MptcpError, PermissionError):
    """No privilege, and nobody who lends it (EPERM)."""


class KernelPathManager(MptcpError):
    """The kernel's path manager runs this connection (EACCES)."""


class NotReady(MptcpError):
    """There is no connection, or it is too young (ENOTCONN)."""


class NoSuchSubflow(MptcpError):
    """The id names no live subflow (ENOENT)."""


class Refused(MptcpError, ConnectionRefusedError):
    """The peer said no (ECONNREFUSED or ECONNRESET)."""


class TimedOut(MptcpError, TimeoutError):
    """The deadline passed (ETIMEDOUT)."""


for _class in (MptcpError, *MptcpError.__subclasses__()):
    _class.__module__ = "mptcpapi"
del _class

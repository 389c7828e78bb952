# SPDX-License-Identifier: MIT OR Apache-2.0
"""Multipath TCP sockets that are ordinary Python sockets."""

from __future__ import annotations

import os
import socket as _stdlib
import sys
from typing import TYPE_CHECKING, Any, Literal

from . import _native

if TYPE_CHECKING:
    from typing_extensions import Self

Control = Literal["default", "app"]


class socket(_stdlib.socket):
    """A stream socket that speaks Multipath TCP, or plain TCP where the kernel has no MPTCP for us.

    family: AF_INET or AF_INET6. control: who is to run the subflows, "default": whoever the network namespace says;
    "app": this application (where that cannot be had: an error, never silently the default). fileno: wraps this
    descriptor and makes no socket.

    Everything that takes a socket.socket takes it: ssl, selectors, asyncio, http.client. `proto` is truthful: 262 for
    MPTCP, 6 for TCP.

    Raises ValueError for another control, Unsupported or PermissionDenied with "app", OSError as socket.socket does.
    """

    __slots__ = ("fallback_reason",)

    fallback_reason: OSError | None
    """Why a new socket is plain TCP; None of an MPTCP socket and of one that was accepted or wrapped.

    Its errno: EINVAL (Linux before 5.6), EPROTONOSUPPORT (built without MPTCP), ENOPROTOOPT (net.mptcp.enabled is 0)
    or EPERM (forbidden); its hint says what to do.
    """

    def __init__(
        self, family: int = _stdlib.AF_INET, control: Control = "default", *, fileno: int | None = None
    ) -> None:
        self.fallback_reason = None
        if fileno is not None:
            super().__init__(fileno=fileno)
            return
        number, self.fallback_reason = _native.make_socket(family, control)
        try:
            super().__init__(fileno=number)
        except BaseException:
            os.close(number)
            raise

    def accept(self) -> tuple[socket, Any]:
        """Wait for a connection; a new socket for it, and the peer's address.

        A plain TCP peer is accepted too: its socket has the proto 6 and the status `tcp`.
        """
        # The standard library's own accept gives it the proto of the listening socket, true or not.
        accepted, address = super().accept()
        return socket(fileno=accepted.detach()), address

    def dup(self) -> Self:
        """A socket for a duplicate of the descriptor, not inheritable."""
        number = os.dup(self.fileno())
        try:
            copy = self.__class__(fileno=number)
        except BaseException:
            os.close(number)
            raise
        copy.fallback_reason = self.fallback_reason
        copy.settimeout(self.gettimeout())
        return copy


socket.__module__ = "mptcpapi"


def create_connection(
    address: tuple[str | None, int],
    timeout: float | None = _stdlib._GLOBAL_DEFAULT_TIMEOUT,  # type: ignore[attr-defined]
    source_address: tuple[str, int] | None = None,
    control: Control = "default",
    *,
    all_errors: bool = False,
) -> socket:
    """Connect to (host, port) by Multipath TCP: socket.create_connection with an MPTCP socket.

    Each address of the host is tried until one answers. timeout: seconds for each, None for the kernel's own limit,
    omitted: the default of the socket module; the socket keeps it. control: see socket. all_errors: raise an
    ExceptionGroup with the error of each address (Python 3.11), in place of the last one.

    A peer that only speaks TCP is connected too: the kernel falls back, and Connection(sock).status tells.
    """
    host, port = address
    errors: list[OSError] = []
    for family, _, _, _, resolved in _stdlib.getaddrinfo(host, port, 0, _stdlib.SOCK_STREAM):
        try:
            return _connected(family, control, resolved, timeout, source_address)
        except OSError as error:
            if not all_errors:
                errors.clear()
            errors.append(error)
    try:
        if not errors:
            raise OSError("getaddrinfo returns an empty list")
        if all_errors and sys.version_info >= (3, 11):
            raise ExceptionGroup("create_connection failed", errors)  # noqa: F821
        raise errors[-1]
    finally:
        # Each error refers to this frame: break the cycle.
        errors.clear()


def _connected(family: int, control: Control, address: Any, timeout: Any, source: tuple[str, int] | None) -> socket:
    sock = socket(family, control)
    try:
        if timeout is not _stdlib._GLOBAL_DEFAULT_TIMEOUT:  # type: ignore[attr-defined]
            sock.settimeout(timeout)
        if source:
            sock.bind(source)
        sock.connect(address)
    except BaseException:
        sock.close()
        raise
    return sock


def create_server(
    address: tuple[str, int],
    *,
    family: int = _stdlib.AF_INET,
    backlog: int | None = None,
    reuse_port: bool = False,
    dualstack_ipv6: bool = False,
) -> socket:
    """Listen on (host, port) for Multipath TCP: socket.create_server with an MPTCP socket.

    Plain TCP peers are accepted too. dualstack_ipv6, with AF_INET6: IPv4 peers too. Raises ValueError where these
    arguments do not fit together.
    """
    if dualstack_ipv6 and not _stdlib.has_dualstack_ipv6():
        raise ValueError("dualstack_ipv6 not supported on this platform")
    if dualstack_ipv6 and family != _stdlib.AF_INET6:
        raise ValueError("dualstack_ipv6 requires AF_INET6 family")
    sock = socket(family)
    try:
        sock.setsockopt(_stdlib.SOL_SOCKET, _stdlib.SO_REUSEADDR, 1)
        if reuse_port:
            sock.setsockopt(_stdlib.SOL_SOCKET, _stdlib.SO_REUSEPORT, 1)
        if family == _stdlib.AF_INET6:
            sock.setsockopt(_stdlib.IPPROTO_IPV6, _stdlib.IPV6_V6ONLY, 0 if dualstack_ipv6 else 1)
        try:
            sock.bind(address)
        except OSError as error:
            text = f"{error.strerror} (while attempting to bind on address {address!r})"
            raise OSError(error.errno, text) from None
        if backlog is None:
            sock.listen()
        else:
            sock.listen(backlog)
    except BaseException:
        sock.close()
        raise
    return sock

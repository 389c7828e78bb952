# SPDX-License-Identifier: MIT OR Apache-2.0
"""The enhanced socket API for Multipath TCP on stock Linux.

A program sees its own MPTCP connection through its own socket: which subflows there are, over which addresses, how each
is doing.

    import mptcpapi

    sock = mptcpapi.create_connection(("server.example", 443))
    connection = mptcpapi.Connection(sock)
    print(connection.status)
    for subflow in connection.subflows():
        print(subflow.id, subflow.local, subflow.remote, subflow.rtt_us)

With control="app" the program itself opens and closes its subflows, and is told what becomes of them:

    sock = mptcpapi.create_connection(("server.example", 443), control="app")
    connection = mptcpapi.Connection(sock)
    second = connection.open_subflow(local="10.0.1.5", backup=True)
    with connection.events() as events:
        for event in events:
            print(event.kind, event.subflow)

The sockets are real `socket.socket`s, plain TCP where the kernel has no MPTCP for us. Any other socket can be looked at
too, for example one of ssl or asyncio. The same operations, with the same words and answers, are in C, Go and Rust.

Reading needs no privilege and Linux 5.16, control needs CAP_NET_ADMIN in the network namespace and 5.19; 6.5 gives
subflows the kernel's own ids, 6.15 shows priorities and address ids to everybody. Everything may be used from several
threads at once, and no system call holds up other threads.

Errors of the library are OSErrors: see MptcpError. asyncio: see mptcpapi.aio.
"""

from ._errors import (
    FellBack,
    KernelPathManager,
    MptcpError,
    NoSuchSubflow,
    NotMptcp,
    NotReady,
    PermissionDenied,
    Refused,
    TimedOut,
    Unsupported,
)
from ._native import (
    Connection,
    Event,
    Features,
    Info,
    Monitor,
    PathEvent,
    PathWatch,
    Subflow,
    __version__,
    features,
)
from ._socket import create_connection, create_server, socket
from ._values import Address, EventKind, EventSource, PathEventKind, PathManager, Status

__all__ = [
    "Address",
    "Connection",
    "Event",
    "EventKind",
    "EventSource",
    "Features",
    "FellBack",
    "Info",
    "KernelPathManager",
    "Monitor",
    "MptcpError",
    "NoSuchSubflow",
    "NotMptcp",
    "NotReady",
    "PathEvent",
    "PathEventKind",
    "PathManager",
    "PathWatch",
    "PermissionDenied",
    "Refused",
    "Status",
    "Subflow",
    "TimedOut",
    "Unsupported",
    "__version__",
    "create_connection",
    "create_server",
    "features",
    "socket",
]

// SPDX-License-Identifier: MIT OR Apache-2.0

/*
Package mptcpapi is the enhanced socket API for Multipath TCP on stock Linux.

A program sees its own MPTCP connection through its own socket: which subflows there are, over which addresses, and how
each is doing.

	conn, err := mptcpapi.Dial(ctx, "tcp", "server.example:443")
	...
	view, err := mptcpapi.From(conn)
	...
	subflows, err := view.Subflows()

A connection made with [WithControl]([ControlApp]) has its subflows in the application's hand: [Conn.OpenSubflow] and the
methods beside it. [Conn.Events] tells what happens to a connection, [Conn.PathEvents] when one of its paths fails.

[Dial] and [Listen] give the ordinary types of package net. [From] takes any connection that has a SyscallConn method
and touches nothing of it: the descriptor stays with the connection, non-blocking and in Go's poller. The connection
may as well have been made by package net (net.Dialer.SetMultipathTCP, Go 1.21); a *tls.Conn lends its own by NetConn.

Package paper beside this one has the socket options of the paper of 2016, for programs that were written for them.

# Where it runs

Linux. Control needs CAP_NET_ADMIN in the network namespace. Reading needs no privilege and Linux 5.16; 6.5 gives subflows the kernel's own ids, and 6.15 shows priorities and
address ids to everybody. [Probe] tells what there is. On a kernel without MPTCP, Dial and Listen make plain TCP
sockets, as MPTCP itself does when the peer speaks only TCP: [Conn.Status] tells which it is.

# Building

The package is a thin layer of cgo over libmptcpapi. By default the static library beside the module is linked
(internal/capi/lib; in a checkout, "make go-lib" builds it). With the build tag mptcpapi_system the installed library is
used, found by pkg-config. Without cgo (CGO_ENABLED=0), or elsewhere than on Linux, the package builds too, with the
same names; then every call answers an error that is [ErrUnsupported].

# Errors

Errors of this package are of type *[OpError]. errors.Is finds the sentinels ([ErrNotMptcp], ...) and the errno
(syscall.EBADF, ...) in them. Dial and Listen answer *net.OpError, as package net does.

# Concurrency

Everything here may be used by several goroutines at once. No goroutine stays behind when a call has returned; those of
Events and PathEvents end with the channel. Only OpenSubflow holds a thread while it waits.
*/
package mptcpapi

//go:generate go run ./internal/gen

// SPDX-License-Identifier: MIT OR Apache-2.0

package mptcpapi

import (
	"context"
	"net/netip"
	"syscall"

	"github.com/mptcpapi/mptcpapi/go/internal/capi"
)

// Open is what subflow to open. The zero value is one from the address that the route prefers, to the peer's address.
type Open struct {
	// Local is the address to open it from. The zero AddrPort leaves it to the route; port 0 is the kernel's choice:
	// netip.AddrPortFrom(address, 0).
	Local netip.AddrPort
	// Remote is the address to open it to: one that the peer announced, or any other of the peer's. The zero AddrPort is the
	// peer's address; port 0 is the connection's.
	Remote netip.AddrPort
	// Backup: both ends shall use it only where no other subflow is left.
	Backup bool
	// Interface is the network interface to bind it to; empty: none. Without a local address, it also gives that.
	Interface string
	// Options are those of the new subflow, in force before it carries data, as until then it is a backup; their field
	// Subflow is not looked at. Where one cannot be set, there is no subflow.
	Options []SubflowOption
}

// OpenSubflow opens a subflow and waits until the peer has confirmed it, or it is clear why not. A connection that is too
// young to be joined (no data has flowed) is waited for too.
//
// It waits as long as ctx allows, and 5 seconds where ctx has no deadline. Whatever goes wrong, also where ctx ends first,
// no half-open subflow stays behind. While it waits it holds a thread, as any blocking system call does, and keeps the
// connection open: a Close in the meantime takes effect when OpenSubflow has returned.
//
// Needs a connection whose subflows the application runs (WithControl(ControlApp)) and CAP_NET_ADMIN in its network
// namespace; Linux 5.19. Several may be under way at once.
//
// Errors, as *OpError: ErrTimedOut, which is context.DeadlineExceeded too where the deadline was that of ctx; the end of ctx
// (context.Canceled); ErrRefused (the peer said no); ErrNotReady (no connection, or too young at the deadline);
// ErrKernelPathManager; ErrPermissionDenied; ErrNotMptcp; ErrFellBack; EADDRNOTAVAIL, EADDRINUSE, ENETUNREACH,
// EHOSTUNREACH, ENODEV, EINVAL (address families). ErrNoSuchSubflow for one that opened, and was closed at once.
//
// Source: generic netlink mptcp_pm (SUBFLOW_CREATE) and mptcp_pm_events.
func (c *Conn) OpenSubflow(ctx context.Context, open Open) (Subflow, error) {
	const op = "open_subflow"
	if err := c.usableUntil(ctx, op); err != nil {
		return Subflow{}, err
	}
	return c.openSubflow(ctx, op, open)
}

// CloseSubflow closes a subflow, any of them, the initial and the last one included; what was in flight on it is sent again
// on the others. It ends with a FIN where the application runs the subflows, else by a reset. A connection without subflows
// lives on for net.mptcp.close_timeout seconds, and OpenSubflow revives it.
//
// Needs CAP_NET_ADMIN in the network namespace.
//
// Errors: ErrNoSuchSubflow; ErrPermissionDenied; ErrNotMptcp; ErrFellBack; ErrNotReady for the initial subflow of a
// connection on which no data has flowed; EBADF and net.ErrClosed where the connection is closed.
//
// Source: generic netlink mptcp_pm (SUBFLOW_DESTROY), else sock_diag (SOCK_DESTROY).
func (c *Conn) CloseSubflow(id uint32) error {
	return c.control("close_subflow", func(fd int, e *capi.Error) int {
		return capi.CloseSubflow(fd, id, capi.CloseFin, e)
	})
}

// ResetSubflow is CloseSubflow by a reset at once, whoever runs the subflows.
//
// Errors and privilege: as CloseSubflow. Source: sock_diag (SOCK_DESTROY).
func (c *Conn) ResetSubflow(id uint32) error {
	return c.control("close_subflow", func(fd int, e *capi.Error) int {
		return capi.CloseSubflow(fd, id, capi.CloseReset, e)
	})
}

// AbandonSubflow leaves the path of a subflow that does not work any more: the peer is told on another path to use it no
// longer (RM_ADDR), so that it sends again at once what it had under way there, and the subflow is closed. Where this is
// the last subflow, open another one first.
//
// Errors and privilege: as CloseSubflow.
func (c *Conn) AbandonSubflow(id uint32) error {
	return c.control("abandon_subflow", func(fd int, e *capi.Error) int {
		return capi.AbandonSubflow(fd, id, e)
	})
}

// SetBackup tells the peer, and the own scheduler, whether to use a subflow only where no other is left (MP_PRIO).
//
// Needs a connection whose subflows the application runs (WithControl(ControlApp)) and CAP_NET_ADMIN.
//
// Errors: ErrNoSuchSubflow; ErrKernelPathManager; ErrPermissionDenied; ErrNotMptcp; ErrFellBack; EBADF and net.ErrClosed
// where the connection is closed.
//
// Source: generic netlink mptcp_pm (SET_FLAGS).
func (c *Conn) SetBackup(id uint32, on bool) error {
	return c.control("set_backup", func(fd int, e *capi.Error) int {
		return capi.SetBackup(fd, id, on, e)
	})
}

// Announce offers the peer an address to open subflows to (ADD_ADDR), and answers its address id. Port 0 stands for the
// connection's. Something must listen there: this call does not.
//
// Needs what SetBackup needs. Errors: as SetBackup; EINVAL for an address that is not valid.
//
// Source: generic netlink mptcp_pm (ANNOUNCE).
func (c *Conn) Announce(address netip.AddrPort) (addressId uint8, err error) {
	to := capi.SockaddrOf(address)
	err = c.control("announce", func(fd int, e *capi.Error) int {
		return capi.Announce(fd, &to, &addressId, e)
	})
	return addressId, err
}

// Withdraw takes an address back (RM_ADDR): the peer is told on a living path, and both ends close the subflows of this
// local address. Address id 0 is the address that the connection began with.
//
// Needs what SetBackup needs. Errors: as SetBackup; ENOENT for an id that this connection does not have.
//
// Source: generic netlink mptcp_pm (REMOVE).
func (c *Conn) Withdraw(addressId uint8) error {
	return c.control("withdraw", func(fd int, e *capi.Error) int {
		return capi.Withdraw(fd, addressId, e)
	})
}

// control runs a call of the library that does not wait. Unlike the readers it has memory of its own, so that these calls
// need not take turns.
func (c *Conn) control(op string, call func(fd int, e *capi.Error) int) error {
	if err := c.usable(op); err != nil {
		return err
	}
	var detail capi.Error
	result := 0
	if err := c.raw.Control(func(fd uintptr) { result = call(int(fd), &detail) }); err != nil {
		return notLent(op, err)
	}
	if result < 0 {
		return opError(&detail)
	}
	return nil
}

// usableUntil is usable, for the calls that take a context.
func (c *Conn) usableUntil(ctx context.Context, op string) error {
	if err := c.usable(op); err != nil {
		return err
	}
	if ctx == nil {
		return &OpError{Op: op, Errno: syscall.EINVAL, Kind: ErrOs, Hint: "the context is nil"}
	}
	if err := ctx.Err(); err != nil {
		return endOf(ctx, op)
	}
	return nil
}

// endOf is the error of a call that ctx has ended.
func endOf(ctx context.Context, op string) *OpError {
	e := &OpError{Op: op, Errno: syscall.ECANCELED, Kind: ErrOs, cause: ctx.Err()}
	if ctx.Err() == context.DeadlineExceeded {
		e.Errno, e.Kind = syscall.ETIMEDOUT, ErrTimedOut
	}
	return e
}

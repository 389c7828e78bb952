// SPDX-License-Identifier: MIT OR Apache-2.0

package mptcpapi

import (
	"reflect"
	"sync"
	"syscall"

	"github.com/mptcpapi/mptcpapi/go/internal/bridge"
	"github.com/mptcpapi/mptcpapi/go/internal/capi"
)

// Conn is a view of the connection behind a socket. It owns nothing and closes nothing: the socket stays the caller's, and
// is only touched while a method runs.
//
// Its methods may be called by several goroutines at once, also while others read, write or close the connection; they
// take turns, as the memory for the kernel's answer is used again and again. They wait for nothing else. None needs
// privilege.
type Conn struct {
	raw syscall.RawConn
	// What RawConn.Control calls: made once, because a closure made for each call would be an allocation.
	readStatus, readInfo, readSubflows func(fd uintptr)

	mu sync.Mutex // guards all below: what these three work with
	// result is what the library answered; detail says more where that is -errno.
	result int
	detail capi.Error
	info   capi.Info
	// array is where the library writes a listing; as long as the connection has needed so far.
	array []capi.Subflow
	flags int
	names names
}

// From is a view of the connection behind anything that lends its descriptor: *net.TCPConn, *net.TCPListener, *os.File
// and so on. It does not look at the socket: what it is will be seen at the first call.
//
// Errors: EINVAL for nil; ErrUnsupported in a program built without cgo.
func From(conn syscall.Conn) (*Conn, error) {
	raw, err := lend("connection", conn)
	if err != nil {
		return nil, err
	}
	c := &Conn{raw: raw}
	c.readStatus = func(fd uintptr) { c.result = capi.Status(int(fd), &c.detail) }
	c.readInfo = func(fd uintptr) { c.result = capi.ReadInfo(int(fd), &c.info, &c.detail) }
	c.readSubflows = func(fd uintptr) { c.result = capi.Subflows(int(fd), c.array, c.flags, &c.detail) }
	return c, nil
}

func lend(op string, conn syscall.Conn) (syscall.RawConn, error) {
	if err := unavailable(op); err != nil {
		return nil, err
	}
	if isNil(conn) {
		return nil, &OpError{Op: op, Errno: syscall.EINVAL, Kind: ErrOs, Hint: "the connection is nil"}
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, notLent(op, err)
	}
	return raw, nil
}

func init() {
	bridge.Control = func(op string, conn syscall.Conn, call func(fd int, e *capi.Error) int) error {
		raw, err := lend(op, conn)
		if err != nil {
			return err
		}
		return (&Conn{raw: raw}).control(op, call)
	}
}

// isNil is also true of a nil pointer in the interface, with which package net panics.
func isNil(conn syscall.Conn) bool {
	value := reflect.ValueOf(conn)
	return !value.IsValid() || value.Kind() == reflect.Ptr && value.IsNil()
}

// do runs one of the three with the descriptor; c.mu must be held.
func (c *Conn) do(op string, read func(fd uintptr)) error {
	if err := c.raw.Control(read); err != nil {
		return notLent(op, err)
	}
	if c.result < 0 {
		return opError(&c.detail)
	}
	return nil
}

// usable is an error for a view that From did not make.
func (c *Conn) usable(op string) error {
	if c == nil || c.raw == nil {
		return &OpError{Op: op, Errno: syscall.EINVAL, Kind: ErrOs, Hint: "a Conn comes from From"}
	}
	return nil
}

// Status tells what the socket is now. Three cheap system calls. Any kernel with MPTCP; telling a fallback apart needs
// Linux 5.16.
//
// Errors: ErrNotMptcp for a socket that is neither MPTCP nor TCP; EBADF and net.ErrClosed where it is closed; ENOTSOCK.
func (c *Conn) Status() (Status, error) {
	const op = "status"
	if err := c.usable(op); err != nil {
		return 0, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.do(op, c.readStatus); err != nil {
		return 0, err
	}
	return Status(c.result), nil
}

// Info tells about the connection as a whole; all counters are from one moment. On an unconnected socket the token is zero
// and there are no subflows.
//
// Errors: ErrNotMptcp; ErrFellBack; ErrUnsupported before Linux 5.16; EBADF and net.ErrClosed where it is closed; ENOTSOCK.
//
// Source: MPTCP_FULL_INFO (6.5), else MPTCP_INFO and MPTCP_TCPINFO; sock_diag and generic netlink mptcp_pm for ServerSide
// and PathManager.
func (c *Conn) Info() (Info, error) {
	const op = "info"
	if err := c.usable(op); err != nil {
		return Info{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.do(op, c.readInfo); err != nil {
		return Info{}, err
	}
	return infoOf(&c.info), nil
}

// Subflows lists the live subflows, oldest first, all from one moment. The list is empty on an unconnected or listening
// socket. The fields of detail are not filled.
//
// Errors: ErrNotMptcp; ErrFellBack; ErrUnsupported before Linux 5.16; EBADF and net.ErrClosed where it is closed; ENOTSOCK.
//
// Source: MPTCP_FULL_INFO (6.5), else MPTCP_TCPINFO and MPTCP_SUBFLOW_ADDRS (5.16).
func (c *Conn) Subflows() ([]Subflow, error) {
	return c.AppendSubflows(nil)
}

// AppendSubflows appends what Subflows lists to buf, and answers the longer buf. Nothing is allocated where buf has room
// and the connection does not have more subflows than ever before. After an error buf is as it was.
//
// To list again and again: subflows, err = view.AppendSubflows(subflows[:0]).
func (c *Conn) AppendSubflows(buf []Subflow) ([]Subflow, error) {
	return c.list(buf, 0)
}

// SubflowsDetail is Subflows with priorities, address ids, congestion control, TOS and interface: one exact sock_diag
// look-up more per subflow. A subflow that dies in between is left out.
//
// Errors: as Subflows; EXDEV where the socket is in another network namespace than the calling thread.
func (c *Conn) SubflowsDetail() ([]Subflow, error) {
	return c.list(nil, capi.Detail)
}

func (c *Conn) list(buf []Subflow, flags int) ([]Subflow, error) {
	const op = "subflows"
	if err := c.usable(op); err != nil {
		return buf, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.flags = flags
	if c.array == nil {
		c.array = make([]capi.Subflow, 4)
	}
	for {
		if err := c.do(op, c.readSubflows); err != nil {
			return buf, err
		}
		if c.result <= len(c.array) {
			return c.decode(buf, c.array[:c.result]), nil
		}
		c.array = make([]capi.Subflow, c.result+c.result/4+4)
	}
}

// decode appends the library's subflows to buf.
func (c *Conn) decode(buf []Subflow, listed []capi.Subflow) []Subflow {
	before, after := len(buf), len(buf)+len(listed)
	if cap(buf) < after {
		longer := make([]Subflow, before, after)
		copy(longer, buf)
		buf = longer
	}
	buf = buf[:after]
	for i := range listed {
		buf[before+i].decode(&listed[i], &c.names)
	}
	return buf
}

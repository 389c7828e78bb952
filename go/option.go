// SPDX-License-Identifier: MIT OR Apache-2.0

package mptcpapi

import (
	"math"
	"syscall"
	"unsafe"

	"github.com/mptcpapi/mptcpapi/go/internal/capi"
)

const (
	opGet       = "subflow_option"
	opSet       = "set_subflow_option"
	opSetOption = "set_option"
)

// SubflowOption is one option to set on one subflow.
type SubflowOption struct {
	// Subflow is the id of the subflow; not looked at in Open.
	Subflow uint32
	// Level is syscall.SOL_SOCKET, IPPROTO_TCP, IPPROTO_IP or IPPROTO_IPV6.
	Level int
	// Name is the number of the option: syscall.TCP_NODELAY and so on.
	Name int
	// Value is as setsockopt(2) wants it: IntValue(1), []byte("cubic").
	Value []byte
}

// IntValue is a number as setsockopt(2) wants it, a C int; as in package syscall, what is too large is cut.
func IntValue(value int) []byte {
	var bytes [4]byte
	*(*int32)(unsafe.Pointer(&bytes)) = int32(value)
	return bytes[:]
}

// GetsockoptInt reads an option of one subflow, as syscall.GetsockoptInt reads one of a TCP socket.
//
// TCP_INFO, TCP_CONGESTION, TCP_MAXSEG, IP_TOS, IPV6_TCLASS, SO_SNDBUF, SO_RCVBUF and the device need nothing, and SO_MARK
// CAP_NET_ADMIN or the BPF program; others need that program, which root loads once ("mptcpapi load-bpf").
// "mptcpapi doctor --options" lists all. No privilege.
//
// Errors: ErrNoSuchSubflow; ErrNotMptcp; ErrFellBack; ErrUnsupported where the program is needed and not loaded;
// ENOPROTOOPT (not an option of one subflow), EXDEV; EBADF and net.ErrClosed where the connection is closed.
//
// Source: sock_diag, else BPF iter/tcp (6.1).
func (c *Conn) GetsockoptInt(id uint32, level, name int) (int, error) {
	value, err := c.GetsockoptBytes(id, level, name, 4)
	if err != nil {
		return 0, err
	}
	// What was not filled is zero.
	var bytes [4]byte
	copy(bytes[:], value)
	return int(*(*int32)(unsafe.Pointer(&bytes))), nil
}

// GetsockoptBytes is GetsockoptInt for a value that is no int: at most size bytes of it. Text ends with a zero byte, if
// there is room.
//
// Errors: as GetsockoptInt; EINVAL for a negative size.
func (c *Conn) GetsockoptBytes(id uint32, level, name, size int) ([]byte, error) {
	l, n, err := levelAndName(opGet, level, name)
	if err != nil {
		return nil, err
	}
	if size < 0 || size > math.MaxInt32 {
		return nil, &OpError{Op: opGet, Subflow: id, Errno: syscall.EINVAL, Kind: ErrOs, Hint: "the size is out of range"}
	}
	// No option is longer.
	if size > 4096 {
		size = 4096
	}
	value := make([]byte, size)
	var length uint32
	err = c.control(opGet, func(fd int, e *capi.Error) int {
		return capi.Getsockopt(fd, id, l, n, value, &length, e)
	})
	if err != nil {
		return nil, err
	}
	return value[:length], nil
}

// SetsockoptInt sets an option of one subflow and of no other, as syscall.SetsockoptInt sets one of a TCP socket. It stays
// when other subflows are opened; a later setsockopt on the connection itself overwrites it, SetOption does not.
//
// Needs the BPF program ("mptcpapi load-bpf"), and no privilege but what the option needs of any TCP socket.
//
// Errors: as GetsockoptInt; ErrPermissionDenied; EINVAL (too short, or refused); ENOENT, which is not ErrNoSuchSubflow, for
// an algorithm that there is not.
//
// Source: BPF iter/tcp (6.1).
func (c *Conn) SetsockoptInt(id uint32, level, name, value int) error {
	return c.SetsockoptBytes(id, level, name, IntValue(value))
}

// SetsockoptString is SetsockoptInt for a name, of a congestion control or a device.
func (c *Conn) SetsockoptString(id uint32, level, name int, value string) error {
	return c.SetsockoptBytes(id, level, name, []byte(value))
}

// SetsockoptBytes is SetsockoptInt for a value of any shape.
func (c *Conn) SetsockoptBytes(id uint32, level, name int, value []byte) error {
	l, n, err := levelAndName(opSet, level, name)
	if err != nil {
		return err
	}
	return c.control(opSet, func(fd int, e *capi.Error) int {
		return capi.Setsockopt(fd, id, l, n, value, e)
	})
}

// SetOptions sets several options of several subflows for the price of one, up to 64 at once. It answers an error for each,
// in the same order, nil where it was set: what SetsockoptBytes would have answered, but for the Hint.
func (c *Conn) SetOptions(options []SubflowOption) []error {
	errs := make([]error, len(options))
	wanted, err := optionsOf(opSet, options)
	if err == nil && len(options) > 0 {
		err = c.control(opSet, func(fd int, e *capi.Error) int { return capi.Setsockopts(fd, wanted, e) })
	}
	for i := range errs {
		if err != nil {
			errs[i] = err
		} else if errno := wanted[i].Error; errno != 0 {
			kind := ErrorKind(wanted[i].Kind)
			errs[i] = &OpError{Op: opSet, Subflow: wanted[i].Subflow, Errno: syscall.Errno(errno), Kind: kind}
		}
	}
	return errs
}

// SetOption is setsockopt(2) on the whole connection. Afterwards the subflows that were given a value of their own for this
// option, by this process, get it again.
//
// Errors: the kernel's for the connection; those of SetsockoptInt where a subflow did not get its value again.
func (c *Conn) SetOption(level, name int, value []byte) error {
	l, n, err := levelAndName(opSetOption, level, name)
	if err != nil {
		return err
	}
	return c.control(opSetOption, func(fd int, e *capi.Error) int {
		return capi.SetOption(fd, l, n, value, e)
	})
}

func optionsOf(op string, options []SubflowOption) ([]capi.Option, error) {
	wanted := make([]capi.Option, len(options))
	for i, option := range options {
		level, name, err := levelAndName(op, option.Level, option.Name)
		if err != nil {
			return nil, err
		}
		wanted[i] = capi.Option{Subflow: option.Subflow, Level: level, Name: name, Value: option.Value}
	}
	return wanted, nil
}

// levelAndName are no option where they are not ints of C.
func levelAndName(op string, level, name int) (int32, int32, error) {
	if int(int32(level)) != level || int(int32(name)) != name {
		return 0, 0, &OpError{Op: op, Errno: syscall.ENOPROTOOPT, Kind: ErrOs, Hint: "level or name is out of range"}
	}
	return int32(level), int32(name), nil
}

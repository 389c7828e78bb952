// SPDX-License-Identifier: MIT OR Apache-2.0

/*
Package paper has the socket options of "An enhanced socket API for Multipath TCP" (Hesmans and Bonaventure, ANRW '16), for
programs that were written for them, and for who wants to try them. No stock kernel knows these options: they are answered
by what [mptcpapi.Conn] does too.

	second, err := paper.OpenSubTuple(conn, netip.MustParseAddrPort("10.0.1.5:0"), netip.AddrPort{}, false)
	...
	subflows, err := paper.GetSubIDs(conn)
	...
	err = paper.CloseSubID(conn, 1)

Ids are the paper's: 1 to 31, and given again after a round. They are not those of mptcpapi.Subflow. A connection is whatever
[mptcpapi.From] takes. All may be used by several goroutines at once, and need the rights that mptcpapi.Conn needs.

A subflow that is opened before the connection can be joined (no data has flowed) is listed at once, and asked for later: at
the next call of any function here on that connection, as this package has no goroutine. "mptcpapi run" does it in the
moment when it is possible.

Errors are of type *[mptcpapi.OpError], with the errno of the paper's kernel; of the options in bytes, Op is "get_sub_ids"
and so on too. All functions answer EOPNOTSUPP where there is
no MPTCP connection, or not any more; EBADF and net.ErrClosed where it is closed; ENOTSOCK; and ErrUnsupported in a program
built without cgo.
*/
package paper

import (
	"math"
	"net/netip"
	"syscall"
	"unsafe"

	mptcpapi "github.com/mptcpapi/mptcpapi/go"
	"github.com/mptcpapi/mptcpapi/go/internal/bridge"
	"github.com/mptcpapi/mptcpapi/go/internal/capi"
)

const (
	opGet    = "getsockopt"
	opSet    = "setsockopt"
	opIDs    = "get_sub_ids"
	opTuple  = "get_sub_tuple"
	opOpen   = "open_sub_tuple"
	opClose  = "close_sub_id"
	opSubGet = "sub_getsockopt"
	opSubSet = "sub_setsockopt"
)

const (
	maxIDs = 31
	// No option is longer.
	maxValue = 4096

	sizeOfStatus    = 2
	sizeOfSockaddr4 = 16
	sizeOfSockaddr6 = 28
)

// The bits of struct mptcp_sub_status.
const (
	flagSlave = 1 << iota
	flagFullyEstablished
	flagAttached
	flagLowPrio
	flagPreEstablished
)

// SubStatus is what MPTCP_GET_SUB_IDS says of one subflow.
type SubStatus struct {
	// ID is 1 to 31.
	ID uint8
	// Slave: not the subflow that the connection began with.
	Slave bool
	// FullyEstablished: data can flow on it.
	FullyEstablished bool
	// Attached: it belongs to the connection; true of all that are listed.
	Attached bool
	// LowPrio: this side asked the peer to use it as a backup only.
	LowPrio bool
	// PreEstablished: the peer has answered, and not yet confirmed the join.
	PreEstablished bool
}

// GetSubIDs lists the subflows, newest first, those on their way included; possibly none.
func GetSubIDs(c syscall.Conn) ([]SubStatus, error) {
	bytes := make([]byte, sizeOfStatus*(1+maxIDs))
	if _, err := get(opIDs, c, MPTCP_GET_SUB_IDS, bytes); err != nil {
		return nil, err
	}
	list := make([]SubStatus, bytes[0])
	for i := range list {
		id, flags := bytes[sizeOfStatus*(1+i)], bytes[sizeOfStatus*(1+i)+1]
		list[i] = SubStatus{
			ID:               id,
			Slave:            flags&flagSlave != 0,
			FullyEstablished: flags&flagFullyEstablished != 0,
			Attached:         flags&flagAttached != 0,
			LowPrio:          flags&flagLowPrio != 0,
			PreEstablished:   flags&flagPreEstablished != 0,
		}
	}
	return list, nil
}

// GetSubTuple answers the local and the remote address of a subflow. IPv4 over an IPv6 socket is shown as the kernel has
// it, mostly as ::ffff:a.b.c.d.
//
// Errors: EINVAL for an unknown id.
func GetSubTuple(c syscall.Conn, id uint8) (local, remote netip.AddrPort, err error) {
	bytes := make([]byte, 1+2*sizeOfSockaddr6)
	bytes[0] = id
	length, err := get(opTuple, c, MPTCP_GET_SUB_TUPLE, bytes)
	if err != nil {
		return local, remote, err
	}
	size := (length - 1) / 2
	return addrPort(bytes[1 : 1+size]), addrPort(bytes[1+size : 1+2*size]), nil
}

// OpenSubTuple asks for a subflow and answers its id, before the peer has answered: one that is refused leaves the list. Of
// the zero local address, 0.0.0.0 and :: the kernel chooses one. Without a remote address, or without its port, it is where
// the connection goes.
//
// Errors: those of bind(2), and of connect(2) but EINPROGRESS; EOPNOTSUPP also on a connection that the kernel's path
// manager runs; EPERM without the right to it, and where 31 subflows are there; EAFNOSUPPORT for IPv6 on a socket of
// AF_INET.
func OpenSubTuple(c syscall.Conn, local, remote netip.AddrPort, lowPrio bool) (uint8, error) {
	bytes := tuple(local, remote, lowPrio)
	if _, err := get(opOpen, c, MPTCP_OPEN_SUB_TUPLE, bytes); err != nil {
		return 0, err
	}
	return bytes[0], nil
}

// CloseSubID closes a subflow, the last one too. What was in flight is sent again on the others.
//
// Errors: EINVAL for an unknown id; EPERM.
func CloseSubID(c syscall.Conn, id uint8) error {
	_, err := get(opClose, c, MPTCP_CLOSE_SUB_ID, []byte{id})
	return err
}

// SubGetsockoptInt reads an option of a subflow, as syscall.GetsockoptInt reads one of a TCP socket.
//
// Errors: EINVAL for an unknown id; ENOPROTOOPT where the option cannot be read of one of several subflows:
// "mptcpapi doctor --options" lists them.
func SubGetsockoptInt(c syscall.Conn, id uint8, level, name int) (int, error) {
	value, err := SubGetsockoptBytes(c, id, level, name, 4)
	if err != nil {
		return 0, err
	}
	// What was not filled is zero.
	var bytes [4]byte
	copy(bytes[:], value)
	return int(*(*int32)(unsafe.Pointer(&bytes))), nil
}

// SubGetsockoptBytes is SubGetsockoptInt for a value that is no int: at most size bytes of it.
//
// Errors: as SubGetsockoptInt; EINVAL for a negative size.
func SubGetsockoptBytes(c syscall.Conn, id uint8, level, name, size int) ([]byte, error) {
	if err := numbers(opSubGet, level, name); err != nil {
		return nil, err
	}
	if size < 0 || size > math.MaxInt32 {
		return nil, wrong(opSubGet, syscall.EINVAL, "the size is out of range")
	}
	if size > maxValue {
		size = maxValue
	}
	value := make([]byte, size)
	var length uint32
	err := bridge.Control(opSubGet, c, func(fd int, e *capi.Error) int {
		return capi.PaperSubGetsockopt(fd, id, int32(level), int32(name), value, &length, e)
	})
	if err != nil {
		return nil, err
	}
	return value[:length], nil
}

// SubSetsockoptInt sets an option of a subflow and of no other, as syscall.SetsockoptInt sets one of a TCP socket.
//
// Errors: as SubGetsockoptInt, and those of setsockopt(2).
func SubSetsockoptInt(c syscall.Conn, id uint8, level, name, value int) error {
	return SubSetsockoptBytes(c, id, level, name, mptcpapi.IntValue(value))
}

// SubSetsockoptBytes is SubSetsockoptInt for a value of any shape.
func SubSetsockoptBytes(c syscall.Conn, id uint8, level, name int, value []byte) error {
	if err := numbers(opSubSet, level, name); err != nil {
		return err
	}
	if len(value) > math.MaxInt32 {
		return wrong(opSubSet, syscall.EINVAL, "the value is too long")
	}
	return bridge.Control(opSubSet, c, func(fd int, e *capi.Error) int {
		return capi.PaperSubSetsockopt(fd, id, int32(level), int32(name), value, e)
	})
}

// Getsockopt is getsockopt(2) at IPPROTO_TCP with one of the paper's options: data is the request, and then the reply. It
// answers the length that the call says. Other options go to the kernel.
//
// The addresses in a struct mptcp_sub_getsockopt are of this process, and are written to: they must be of memory that Go
// does not move, C's or pinned.
//
// Errors: EINVAL (a length, an id), EFAULT, and those of the functions that say the same in types.
func Getsockopt(c syscall.Conn, name int, data []byte) (int, error) {
	return get(opGet, c, name, data)
}

// Setsockopt is setsockopt(2) at IPPROTO_TCP, as Getsockopt; of the paper's options MPTCP_SUB_SETSOCKOPT. Of other options,
// subflows that were given a value of their own by this process keep it: see mptcpapi.Conn.SetOption.
func Setsockopt(c syscall.Conn, name int, data []byte) error {
	if err := sized(opSet, name, data); err != nil {
		return err
	}
	return bridge.Control(opSet, c, func(fd int, e *capi.Error) int {
		return capi.PaperSetsockopt(fd, int32(name), data, e)
	})
}

// StockOptions tells whether Getsockopt and Setsockopt of this process shall also answer the options 42 to 45 as the MPTCP
// kernels 0.9x did. Not at first: Linux uses these numbers otherwise. It answers what it was.
func StockOptions(on bool) bool {
	return capi.StockOptions(on)
}

func get(op string, c syscall.Conn, name int, data []byte) (int, error) {
	if err := sized(op, name, data); err != nil {
		return 0, err
	}
	var length uint32
	err := bridge.Control(op, c, func(fd int, e *capi.Error) int {
		return capi.PaperGetsockopt(fd, int32(name), data, &length, e)
	})
	if err != nil {
		return 0, err
	}
	return int(length), nil
}

func wrong(op string, errno syscall.Errno, hint string) error {
	return &mptcpapi.OpError{Op: op, Errno: errno, Kind: mptcpapi.ErrOs, Hint: hint}
}

func sized(op string, name int, data []byte) error {
	if len(data) > math.MaxInt32 {
		return wrong(op, syscall.EINVAL, "the data is too long")
	}
	return numbers(op, name)
}

// numbers are no option where they are not ints of C.
func numbers(op string, numbers ...int) error {
	for _, number := range numbers {
		if int(int32(number)) != number {
			return wrong(op, syscall.ENOPROTOOPT, "level or name is out of range")
		}
	}
	return nil
}

// tuple is struct mptcp_sub_tuple as the draft has it, with prio. What is not given is any address.
func tuple(local, remote netip.AddrPort, lowPrio bool) []byte {
	from, to := orAny(local.Addr(), remote.Addr()), orAny(remote.Addr(), local.Addr())
	size := sizeOfSockaddr4
	if from.Is6() || to.Is6() {
		// The two have one length: the other one is written as IPv6 has it.
		size = sizeOfSockaddr6
		from, to = mapped(from), mapped(to)
	}
	bytes := make([]byte, 2, 2+2*size)
	if lowPrio {
		bytes[1] = 1
	}
	for _, address := range []netip.AddrPort{
		netip.AddrPortFrom(from, local.Port()), netip.AddrPortFrom(to, remote.Port()),
	} {
		c := capi.SockaddrOf(address)
		bytes = append(bytes, c.Bytes()[:size]...)
	}
	return bytes
}

func orAny(ip, other netip.Addr) netip.Addr {
	switch ip, other = ip.Unmap(), other.Unmap(); {
	case ip.IsValid():
		return ip
	case other.Is6():
		return netip.IPv6Unspecified()
	default:
		return netip.IPv4Unspecified()
	}
}

func mapped(ip netip.Addr) netip.Addr {
	if ip.Is4() {
		return netip.AddrFrom16(ip.As16())
	}
	return ip
}

func addrPort(bytes []byte) netip.AddrPort {
	var c capi.Sockaddr
	copy(c.Bytes(), bytes)
	return c.AddrPort()
}

// SPDX-License-Identifier: MIT OR Apache-2.0

package mptcpapi

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"github.com/mptcpapi/mptcpapi/go/internal/capi"
)

const (
	// fallbackDelay is how long the first family is alone (RFC 6555 says 150 to 250 ms, package net has 300).
	fallbackDelay = 300 * time.Millisecond
	// leastTime is what one of several addresses gets at least, while the deadline has so much left.
	leastTime = 2 * time.Second
	// keepAlive is package net's default.
	keepAlive = 15 * time.Second
)

// timeoutError is the end of a deadline, by all its names.
type timeoutError struct{}

func (timeoutError) Error() string   { return "i/o timeout" }
func (timeoutError) Timeout() bool   { return true }
func (timeoutError) Temporary() bool { return true }
func (timeoutError) Unwrap() error   { return syscall.ETIMEDOUT }
func (timeoutError) Is(target error) bool {
	return target == ErrTimedOut || target == context.DeadlineExceeded || target == os.ErrDeadlineExceeded
}

// ended is why an attempt stopped at the end of a context.
func ended(ctx context.Context) error {
	if ctx.Err() == context.Canceled {
		return context.Canceled
	}
	return timeoutError{}
}

func (d *dialer) dial(ctx context.Context, address string) (*net.TCPConn, error) {
	addresses, err := resolve(ctx, d.network, address)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: d.network, Err: err}
	}
	var first, second []netip.AddrPort
	for _, address := range addresses {
		if address.Addr().Is4() == addresses[0].Addr().Is4() {
			first = append(first, address)
		} else {
			second = append(second, address)
		}
	}
	if len(second) == 0 {
		return d.inTurn(ctx, first)
	}
	return d.beside(ctx, first, second)
}

type outcome struct {
	conn    *net.TCPConn
	err     error
	isFirst bool
}

// beside tries the first addresses, and the second ones too when the first have failed or do not answer soon. All attempts
// are over when it returns. The error is that of the first.
func (d *dialer) beside(ctx context.Context, first, second []netip.AddrPort) (*net.TCPConn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	outcomes := make(chan outcome)
	try := func(addresses []netip.AddrPort, isFirst bool) {
		conn, err := d.inTurn(ctx, addresses)
		outcomes <- outcome{conn, err, isFirst}
	}
	running := 1
	go try(first, true)
	delay := time.NewTimer(fallbackDelay)
	defer delay.Stop()

	var won *net.TCPConn
	var failure error
	for running > 0 {
		select {
		case <-delay.C:
		case o := <-outcomes:
			running--
			switch {
			case o.err != nil:
				if failure == nil || o.isFirst {
					failure = o.err
				}
			case won == nil:
				won = o.conn
				cancel()
			default:
				o.conn.Close()
			}
		}
		if won == nil && second != nil {
			running++
			go try(second, false)
			second = nil
		}
	}
	if won != nil {
		return won, nil
	}
	return nil, failure
}

// inTurn tries the addresses one after the other; the error is that of the first.
func (d *dialer) inTurn(ctx context.Context, addresses []netip.AddrPort) (*net.TCPConn, error) {
	var failure error
	for i, address := range addresses {
		conn, err := d.attempt(ctx, address, len(addresses)-i)
		if err == nil {
			return conn, nil
		}
		if failure == nil {
			failure = &net.OpError{Op: "dial", Net: d.network, Addr: tcpAddr(address), Err: err}
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, failure
}

// attempt connects to one address in its share of the time, where so many are left to try.
func (d *dialer) attempt(ctx context.Context, address netip.AddrPort, left int) (*net.TCPConn, error) {
	if ctx.Err() != nil {
		return nil, ended(ctx)
	}
	if deadline, ok := ctx.Deadline(); ok && left > 1 {
		remaining := time.Until(deadline)
		share := remaining / time.Duration(left)
		if share < leastTime {
			share = leastTime
		}
		if share < remaining {
			shared, cancel := context.WithTimeout(ctx, share)
			defer cancel()
			ctx = shared
		}
	}
	to, family := sockaddr(address)
	file, err := newSocket(family, d.flags)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if err := connect(ctx, file, to); err != nil {
		return nil, err
	}
	return tcpConn(file)
}

// newSocket makes a non-blocking socket that Go's poller watches.
func newSocket(family, flags int) (*os.File, error) {
	var detail capi.Error
	fd := capi.Socket(family, flags|syscall.SOCK_NONBLOCK, &detail)
	if fd < 0 {
		return nil, opError(&detail)
	}
	return os.NewFile(uintptr(fd), "mptcp"), nil
}

// connect connects the socket; it returns when that is done, has failed, or ctx ends.
func connect(ctx context.Context, file *os.File, to syscall.Sockaddr) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	stop := interruptAtEnd(ctx, file)
	defer stop()
	begun, done, failure := false, false, error(nil)
	err = raw.Write(func(fd uintptr) bool {
		if !begun {
			begun = true
			done, failure = begin(int(fd), to)
		} else {
			done, failure = look(int(fd))
		}
		return done || failure != nil
	})
	if failure != nil || done {
		return failure
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return ended(ctx)
	}
	return err
}

// interruptAtEnd ends the waiting of file when ctx ends. What it began is over when stop returns.
func interruptAtEnd(ctx context.Context, file *os.File) (stop func()) {
	if ctx.Done() == nil {
		return func() {}
	}
	finish, finished := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(finished)
		select {
		case <-ctx.Done():
			// An error could only mean that the file is closed, which it is not before stop.
			_ = file.SetWriteDeadline(time.Unix(1, 0))
		case <-finish:
		}
	}()
	return func() {
		close(finish)
		<-finished
	}
}

// begin starts to connect: done at once, under way, or failed.
func begin(fd int, to syscall.Sockaddr) (done bool, err error) {
	switch err := syscall.Connect(fd, to); err {
	case nil:
		return true, nil
	case syscall.EINPROGRESS, syscall.EALREADY, syscall.EINTR:
		return false, nil
	default:
		return false, os.NewSyscallError("connect", err)
	}
}

// look is called when the poller thinks that something has happened, which need not be so.
func look(fd int) (done bool, err error) {
	number, err := syscall.GetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_ERROR)
	if err != nil {
		return false, os.NewSyscallError("getsockopt", err)
	}
	switch errno := syscall.Errno(number); errno {
	case 0, syscall.EINPROGRESS, syscall.EALREADY, syscall.EINTR:
		_, err := syscall.Getpeername(fd)
		return err == nil, nil
	default:
		return false, os.NewSyscallError("connect", errno)
	}
}

// tcpConn makes a *net.TCPConn of a connected socket. The file stays the caller's to close.
func tcpConn(file *os.File) (*net.TCPConn, error) {
	conn, err := net.FileConn(file)
	if err != nil {
		return nil, err
	}
	tcp, ok := conn.(*net.TCPConn)
	if !ok || tcp.RemoteAddr() == nil {
		// The peer has reset the connection since: it has no remote address any more.
		conn.Close()
		return nil, os.NewSyscallError("connect", syscall.ECONNRESET)
	}
	// As net.Dialer does, without a look at the outcome: an older kernel may lack an option.
	_ = tcp.SetNoDelay(true)
	_ = tcp.SetKeepAlive(true)
	_ = tcp.SetKeepAlivePeriod(keepAlive)
	return tcp, nil
}

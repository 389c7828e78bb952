// SPDX-License-Identifier: MIT OR Apache-2.0

package mptcpapi

import (
	"context"
	"math"
	"os"
	"syscall"
	"time"

	"github.com/mptcpapi/mptcpapi/go/internal/capi"
)

func (c *Conn) openSubflow(ctx context.Context, op string, open Open) (Subflow, error) {
	// A descriptor of its own: Control would let a Close of the connection wait for the peer.
	fd, err := c.duplicate(op)
	if err != nil {
		return Subflow{}, err
	}
	defer syscall.Close(fd)
	wanted := capi.Open{Local: capi.SockaddrOf(open.Local), Remote: capi.SockaddrOf(open.Remote), TimeoutMs: timeLeft(ctx)}
	copy(wanted.Interface[:], open.Interface)
	if open.Backup {
		wanted.Backup = 1
	}
	stop, err := cancelFd(ctx, op, &wanted.CancelFd)
	if err != nil {
		return Subflow{}, err
	}
	defer stop()
	var id uint32
	var detail capi.Error
	options, err := optionsOf(op, open.Options)
	if err != nil {
		return Subflow{}, err
	}
	if capi.OpenSubflow(fd, &wanted, options, &id, &detail) < 0 {
		return Subflow{}, openError(ctx, &detail)
	}
	return opened(fd, op, id)
}

// openError is the library's error, and that of ctx where ctx is why.
func openError(ctx context.Context, detail *capi.Error) *OpError {
	e := opError(detail)
	deadline, limited := ctx.Deadline()
	switch late := limited && !time.Now().Before(deadline); {
	case e.Errno == syscall.ECANCELED:
		e.cause = ctx.Err()
	case late && (e.Kind == ErrTimedOut || e.Kind == ErrNotReady):
		e.cause = context.DeadlineExceeded
	}
	return e
}

// opened is the new subflow as it is now.
func opened(fd int, op string, id uint32) (Subflow, error) {
	view, err := From(lent(fd))
	if err != nil {
		return Subflow{}, err
	}
	subflows, err := view.Subflows()
	if err != nil {
		return Subflow{}, err
	}
	for _, subflow := range subflows {
		if subflow.Id == id {
			return subflow, nil
		}
	}
	return Subflow{}, &OpError{Op: op, Subflow: id, Errno: syscall.ENOENT, Kind: ErrNoSuchSubflow,
		Hint: "it was opened, and closed at once"}
}

// lent is a descriptor of our own, for Conn.
type lent int

func (fd lent) Control(f func(fd uintptr)) error      { f(uintptr(fd)); return nil }
func (fd lent) Read(func(fd uintptr) bool) error      { return syscall.ENOTSUP }
func (fd lent) Write(func(fd uintptr) bool) error     { return syscall.ENOTSUP }
func (fd lent) SyscallConn() (syscall.RawConn, error) { return fd, nil }

// timeLeft is until the deadline of ctx in milliseconds, rounded up: the library's default, 0, where there is none.
func timeLeft(ctx context.Context) uint32 {
	deadline, limited := ctx.Deadline()
	if !limited {
		return 0
	}
	switch left := time.Until(deadline); {
	case left <= 0:
		return 1
	case left > math.MaxUint32*time.Millisecond:
		return math.MaxUint32
	default:
		return uint32((left + time.Millisecond - 1) / time.Millisecond)
	}
}

// cancelFd puts a descriptor in place that becomes readable when ctx ends by anything but its deadline, which the library
// knows. A context that never ends needs none.
func cancelFd(ctx context.Context, op string, place *int32) (stop func(), err error) {
	if ctx.Done() == nil {
		return func() {}, nil
	}
	number, _, errno := syscall.Syscall(syscall.SYS_EVENTFD2, 0, syscall.O_CLOEXEC|syscall.O_NONBLOCK, 0)
	if errno == 0 && number == 0 {
		// For the library, 0 is none.
		number, errno = duplicate(0)
		syscall.Close(0)
	}
	if errno != 0 {
		return nil, &OpError{Op: op, Errno: errno, Kind: ErrOs}
	}
	fd := int(number)
	*place = int32(fd)
	finished := make(chan struct{})
	cancelled := afterDone(ctx, func() {
		defer close(finished)
		_, limited := ctx.Deadline()
		if !limited || ctx.Err() != context.DeadlineExceeded {
			// It cannot fail: the counter is 0.
			_, _ = syscall.Write(fd, []byte{1, 0, 0, 0, 0, 0, 0, 1})
		}
	})
	return func() {
		if !cancelled() {
			<-finished
		}
		syscall.Close(fd)
	}, nil
}

// duplicate is another descriptor of the socket, the caller's to close.
func (c *Conn) duplicate(op string) (int, error) {
	var fd uintptr
	var errno syscall.Errno
	if err := c.raw.Control(func(original uintptr) { fd, errno = duplicate(original) }); err != nil {
		return -1, notLent(op, err)
	}
	if errno != 0 {
		return -1, &OpError{Op: op, Errno: errno, Kind: ErrOs}
	}
	return int(fd), nil
}

// duplicate answers no number below 3: nothing good comes of a socket that is somebody's standard output.
func duplicate(fd uintptr) (uintptr, syscall.Errno) {
	number, _, errno := syscall.Syscall(syscall.SYS_FCNTL, fd, syscall.F_DUPFD_CLOEXEC, 3)
	return number, errno
}

// pollable is a descriptor of the library, which stays the library's, in Go's poller.
func pollable(op string, fd int) (*os.File, syscall.RawConn, error) {
	number, errno := duplicate(uintptr(fd))
	if errno == 0 {
		if err := syscall.SetNonblock(int(number), true); err != nil {
			syscall.Close(int(number))
			errno = err.(syscall.Errno)
		}
	}
	if errno != 0 {
		return nil, nil, &OpError{Op: op, Errno: errno, Kind: ErrOs}
	}
	file := os.NewFile(number, "mptcpapi")
	raw, err := file.SyscallConn()
	if err == nil {
		// Refused where the poller does not have it.
		err = file.SetReadDeadline(time.Time{})
	}
	if err != nil {
		file.Close()
		return nil, nil, &OpError{Op: op, Errno: syscall.EMFILE, Kind: ErrOs, cause: err}
	}
	return file, raw, nil
}

// SPDX-License-Identifier: MIT OR Apache-2.0

package mptcpapi

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	"github.com/mptcpapi/mptcpapi/go/internal/capi"
)

// ErrorKind says what went wrong, in the words that every language uses. The kinds are errors themselves, for errors.Is:
//
//	if errors.Is(err, mptcpapi.ErrFellBack) { ... }
type ErrorKind uint32

const (
	// ErrNotMptcp: the socket is plain TCP or another protocol (EOPNOTSUPP).
	ErrNotMptcp ErrorKind = capi.ErrorNotMptcp
	// ErrFellBack: an MPTCP socket that speaks TCP now (EOPNOTSUPP).
	ErrFellBack ErrorKind = capi.ErrorFellBack
	// ErrUnsupported: the kernel lacks it, or a part is not loaded, or the program was built without cgo (ENOSYS).
	ErrUnsupported ErrorKind = capi.ErrorUnsupported
	// ErrPermissionDenied: no privilege, and nobody who lends it (EPERM).
	ErrPermissionDenied ErrorKind = capi.ErrorPermissionDenied
	// ErrKernelPathManager: the kernel's path manager runs this connection (EACCES).
	ErrKernelPathManager ErrorKind = capi.ErrorKernelPathManager
	// ErrNotReady: there is no connection, or it is too young (ENOTCONN).
	ErrNotReady ErrorKind = capi.ErrorNotReady
	// ErrNoSuchSubflow: the id names no live subflow (ENOENT).
	ErrNoSuchSubflow ErrorKind = capi.ErrorNoSuchSubflow
	// ErrRefused: the peer said no (ECONNREFUSED or ECONNRESET).
	ErrRefused ErrorKind = capi.ErrorRefused
	// ErrTimedOut: the deadline passed (ETIMEDOUT).
	ErrTimedOut ErrorKind = capi.ErrorTimedOut
	// ErrOs: anything else; the errno tells.
	ErrOs ErrorKind = capi.ErrorOs
)

var errorKinds = map[ErrorKind]struct{ name, sentence string }{
	ErrNotMptcp:          {"NotMptcp", "not an MPTCP socket"},
	ErrFellBack:          {"FellBack", "the connection fell back to TCP"},
	ErrUnsupported:       {"Unsupported", "not supported here"},
	ErrPermissionDenied:  {"PermissionDenied", "permission denied"},
	ErrKernelPathManager: {"KernelPathManager", "the kernel's path manager runs this connection"},
	ErrNotReady:          {"NotReady", "the connection is not ready"},
	ErrNoSuchSubflow:     {"NoSuchSubflow", "no such subflow"},
	ErrRefused:           {"Refused", "refused by the peer"},
	ErrTimedOut:          {"TimedOut", "timed out"},
	ErrOs:                {"Os", "system error"},
}

// Name is the kind's name, the same in every language: "NotMptcp", "FellBack", ...
func (k ErrorKind) Name() string {
	if kind, ok := errorKinds[k]; ok {
		return kind.name
	}
	return fmt.Sprintf("ErrorKind(%d)", uint32(k))
}

// Error is the kind in words.
func (k ErrorKind) Error() string {
	if kind, ok := errorKinds[k]; ok {
		return "mptcpapi: " + kind.sentence
	}
	return "mptcpapi: " + k.Name()
}

// OpError is an operation of this package that failed.
type OpError struct {
	// Op is what was asked: "status", "info", "subflows", ...
	Op string
	// Subflow is the id of the subflow that was asked about; 0 if none was.
	Subflow uint32
	// Errno is the system's error number, never 0.
	Errno syscall.Errno
	// Kind is what went wrong; ErrOs where only the errno tells.
	Kind ErrorKind
	// KernelMessage is what the kernel said in its own words, if it did.
	KernelMessage string
	// Hint is what the user can do; empty where there is nothing to say.
	Hint string

	// The library's own sentence about all of the above.
	message string
	// The error of the Go connection, where it did not lend its descriptor.
	cause error
}

// Error tells all of it in one line.
func (e *OpError) Error() string {
	if e.message != "" {
		return "mptcpapi: " + e.message
	}
	text := "mptcpapi: " + e.Op
	if e.Subflow != 0 {
		text += fmt.Sprintf(" of subflow %d", e.Subflow)
	}
	if e.cause != nil {
		text += ": " + e.cause.Error()
	} else if kind, ok := errorKinds[e.Kind]; ok && e.Kind != ErrOs {
		text += ": " + kind.sentence
	} else {
		text += ": " + e.Errno.Error()
	}
	if e.KernelMessage != "" {
		text += " (the kernel says: " + e.KernelMessage + ")"
	}
	if e.Hint != "" {
		text += "; " + e.Hint
	}
	return text
}

// Unwrap answers the errno: errors.Is(err, syscall.EBADF) works, and errors.As with a *syscall.Errno.
func (e *OpError) Unwrap() error {
	return e.Errno
}

// Is reports whether target is this error's kind. An operation on a closed connection also is net.ErrClosed and
// os.ErrClosed.
func (e *OpError) Is(target error) bool {
	if kind, ok := target.(ErrorKind); ok {
		return kind == e.Kind
	}
	if e.cause == nil {
		return false
	}
	closed := e.Errno == syscall.EBADF && (target == net.ErrClosed || target == os.ErrClosed)
	return closed || errors.Is(e.cause, target)
}

// Timeout reports whether a deadline passed.
func (e *OpError) Timeout() bool {
	return e.Kind == ErrTimedOut || e.Errno.Timeout()
}

// opError is what the library says about a call that failed.
func opError(c *capi.Error) *OpError {
	return &OpError{
		Op:            capi.Text(c.Operation[:]),
		Subflow:       c.Subflow,
		Errno:         syscall.Errno(c.Error),
		Kind:          ErrorKind(c.Kind),
		KernelMessage: capi.Text(c.KernelMessage[:]),
		Hint:          capi.Text(c.Hint[:]),
		message:       capi.Text(c.Message[:]),
	}
}

// notLent is the error of a connection that did not lend its descriptor: most often it is closed.
func notLent(op string, cause error) *OpError {
	errno := syscall.EBADF
	errors.As(cause, &errno)
	return &OpError{Op: op, Errno: errno, Kind: ErrOs, cause: cause}
}

// unavailable is nil where the library is part of this program.
func unavailable(op string) error {
	if capi.Available {
		return nil
	}
	return &OpError{Op: op, Errno: syscall.ENOSYS, Kind: ErrUnsupported, Hint: capi.WhyMissing}
}

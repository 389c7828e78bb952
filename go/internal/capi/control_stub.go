// SPDX-License-Identifier: MIT OR Apache-2.0

//go:build !cgo || !linux

package capi

import "syscall"

// OpenSubflow is missing.
func OpenSubflow(fd int, open *Open, options []Option, id *uint32, e *Error) int {
	return missing("open_subflow", e)
}

// Getsockopt is missing.
func Getsockopt(fd int, id uint32, level, name int32, value []byte, length *uint32, e *Error) int {
	return missing("subflow_option", e)
}

// Setsockopt is missing.
func Setsockopt(fd int, id uint32, level, name int32, value []byte, e *Error) int {
	return missing("set_subflow_option", e)
}

// SetOption is missing.
func SetOption(fd int, level, name int32, value []byte, e *Error) int {
	return missing("set_option", e)
}

// Setsockopts is missing.
func Setsockopts(fd int, options []Option, e *Error) int { return missing("set_subflow_option", e) }

// CloseSubflow is missing.
func CloseSubflow(fd int, id uint32, how int, e *Error) int { return missing("close_subflow", e) }

// AbandonSubflow is missing.
func AbandonSubflow(fd int, id uint32, e *Error) int { return missing("abandon_subflow", e) }

// SetBackup is missing.
func SetBackup(fd int, id uint32, on bool, e *Error) int { return missing("set_backup", e) }

// Announce is missing.
func Announce(fd int, address *Sockaddr, addressId *uint8, e *Error) int {
	return missing("announce", e)
}

// Withdraw is missing.
func Withdraw(fd int, addressId uint8, e *Error) int { return missing("withdraw", e) }

// Monitor cannot be made.
type Monitor struct{}

// New is missing.
func (m *Monitor) New(fd int, e *Error) int { return missing("monitor", e) }

// Add is missing.
func (m *Monitor) Add(fd int, token *uint32, e *Error) int { return missing("monitor", e) }

// Remove is missing.
func (m *Monitor) Remove(token uint32) {}

// Source is missing.
func (m *Monitor) Source() int { return -int(syscall.ENOSYS) }

// Fd is missing.
func (m *Monitor) Fd() int { return -int(syscall.ENOSYS) }

// Next is missing.
func (m *Monitor) Next(event *Event) int { return -int(syscall.ENOSYS) }

// Free is missing.
func (m *Monitor) Free() {}

// PathWatch cannot be made.
type PathWatch struct{}

// New is missing.
func (w *PathWatch) New(fd, stallMs, flags int, e *Error) int { return missing("path_watch", e) }

// Fd is missing.
func (w *PathWatch) Fd() int { return -int(syscall.ENOSYS) }

// Next is missing.
func (w *PathWatch) Next(event *PathEvent) int { return -int(syscall.ENOSYS) }

// Free is missing.
func (w *PathWatch) Free() {}

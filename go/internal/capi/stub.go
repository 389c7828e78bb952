// SPDX-License-Identifier: MIT OR Apache-2.0

//go:build !cgo || !linux

package capi

import (
	"runtime"
	"syscall"
)

// Available: the library is not part of this program.
const Available = false

// WhyMissing is what the user can do about it.
const WhyMissing = "the program was built without cgo (or not for Linux), so without libmptcpapi: " +
	"build it with CGO_ENABLED=1 and a C compiler; this is " + runtime.GOOS + "/" + runtime.GOARCH

func missing(operation string, e *Error) int {
	*e = Error{Kind: ErrorUnsupported, Error: int32(syscall.ENOSYS)}
	copy(e.Operation[:len(e.Operation)-1], operation)
	copy(e.Hint[:len(e.Hint)-1], WhyMissing)
	return -int(syscall.ENOSYS)
}

// Socket is missing.
func Socket(family, flags int, e *Error) int { return missing("socket", e) }

// Status is missing.
func Status(fd int, e *Error) int { return missing("status", e) }

// ReadInfo is missing.
func ReadInfo(fd int, info *Info, e *Error) int { return missing("info", e) }

// Subflows is missing.
func Subflows(fd int, array []Subflow, flags int, e *Error) int { return missing("subflows", e) }

// Probe is missing.
func Probe(features *Features, e *Error) int { return missing("features", e) }

// LibraryVersion is empty.
func LibraryVersion() string { return "" }

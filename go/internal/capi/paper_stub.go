// SPDX-License-Identifier: MIT OR Apache-2.0

//go:build !cgo || !linux

package capi

// PaperGetsockopt is missing.
func PaperGetsockopt(fd int, name int32, value []byte, length *uint32, e *Error) int {
	return missing("getsockopt", e)
}

// PaperSetsockopt is missing.
func PaperSetsockopt(fd int, name int32, value []byte, e *Error) int { return missing("setsockopt", e) }

// PaperSubGetsockopt is missing.
func PaperSubGetsockopt(fd int, id uint8, level, name int32, value []byte, length *uint32, e *Error) int {
	return missing("sub_getsockopt", e)
}

// PaperSubSetsockopt is missing.
func PaperSubSetsockopt(fd int, id uint8, level, name int32, value []byte, e *Error) int {
	return missing("sub_setsockopt", e)
}

// StockOptions is missing.
func StockOptions(on bool) bool { return false }

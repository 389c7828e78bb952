// SPDX-License-Identifier: MIT OR Apache-2.0

//go:build !cgo || !linux

package capi

import "syscall"

// PaperGetsockopt is missing.
func PaperGetsockopt(fd int, name int32, value []byte, length *uint32) int {
	return -int(syscall.ENOSYS)
}

// PaperSetsockopt is missing.
func PaperSetsockopt(fd int, name int32, value []byte) int { return -int(syscall.ENOSYS) }

// PaperSubGetsockopt is missing.
func PaperSubGetsockopt(fd int, id uint8, level, name int32, value []byte, length *uint32) int {
	return -int(syscall.ENOSYS)
}

// PaperSubSetsockopt is missing.
func PaperSubSetsockopt(fd int, id uint8, level, name int32, value []byte) int {
	return -int(syscall.ENOSYS)
}

// StockOptions is missing.
func StockOptions(on bool) bool { return false }

// SPDX-License-Identifier: MIT OR Apache-2.0

//go:build cgo && linux

package capi

// #include <netinet/in.h>
// #include <stdlib.h>
// #include "mptcpapi.h"
// #include "mptcpapi_paper.h"
import "C"

import (
	"syscall"
	"unsafe"
)

// PaperGetsockopt is mptcpapi_getsockopt at IPPROTO_TCP: 0 and the length that value has afterwards, or -errno.
func PaperGetsockopt(fd int, name int32, value []byte, length *uint32) int {
	*length = uint32(len(value))
	result, err := C.mptcpapi_getsockopt(C.int(fd), C.IPPROTO_TCP, C.int(name), pointer(value),
		(*C.socklen_t)(unsafe.Pointer(length)))
	return orErrno(result, err)
}

// PaperSetsockopt is mptcpapi_setsockopt at IPPROTO_TCP: 0, or -errno.
func PaperSetsockopt(fd int, name int32, value []byte) int {
	result, err := C.mptcpapi_setsockopt(C.int(fd), C.IPPROTO_TCP, C.int(name), pointer(value), C.socklen_t(len(value)))
	return orErrno(result, err)
}

// PaperSubGetsockopt is mptcpapi_getsockopt of MPTCP_SUB_GETSOCKOPT: 0 and how much of value was filled, or -errno.
func PaperSubGetsockopt(fd int, id uint8, level, name int32, value []byte, length *uint32) int {
	// The request holds addresses, and memory of Go may move: all of it is C's.
	type memory struct {
		request C.struct_mptcp_sub_getsockopt
		length  C.uint
	}
	size := unsafe.Sizeof(memory{})
	block := C.malloc(C.size_t(size + uintptr(len(value)) + 1))
	defer C.free(block)
	there := (*memory)(block)
	place := unsafe.Add(block, size)
	there.length = C.uint(len(value))
	there.request = C.struct_mptcp_sub_getsockopt{
		id: C.__u8(id), level: C.int(level), optname: C.int(name), optval: (*C.char)(place), optlen: &there.length,
	}
	outer := C.socklen_t(unsafe.Sizeof(there.request))
	result, err := C.mptcpapi_getsockopt(C.int(fd), C.IPPROTO_TCP, C.MPTCP_SUB_GETSOCKOPT, block, &outer)
	if result == 0 {
		*length = uint32(copy(value, unsafe.Slice((*byte)(place), int(there.length))))
	}
	return orErrno(result, err)
}

// PaperSubSetsockopt is mptcpapi_setsockopt of MPTCP_SUB_SETSOCKOPT: 0, or -errno.
func PaperSubSetsockopt(fd int, id uint8, level, name int32, value []byte) int {
	size := unsafe.Sizeof(C.struct_mptcp_sub_setsockopt{})
	block := C.malloc(C.size_t(size + uintptr(len(value)) + 1))
	defer C.free(block)
	place := unsafe.Add(block, size)
	copy(unsafe.Slice((*byte)(place), len(value)), value)
	*(*C.struct_mptcp_sub_setsockopt)(block) = C.struct_mptcp_sub_setsockopt{
		id: C.__u8(id), level: C.int(level), optname: C.int(name), optval: (*C.char)(place), optlen: C.uint(len(value)),
	}
	result, err := C.mptcpapi_setsockopt(C.int(fd), C.IPPROTO_TCP, C.MPTCP_SUB_SETSOCKOPT, block, C.socklen_t(size))
	return orErrno(result, err)
}

// StockOptions is mptcpapi_stock_options.
func StockOptions(on bool) bool {
	var number C.int
	if on {
		number = 1
	}
	return C.mptcpapi_stock_options(number) != 0
}

// orErrno is what the other calls of the library answer.
func orErrno(result C.int, err error) int {
	if result >= 0 {
		return int(result)
	}
	if errno, ok := err.(syscall.Errno); ok && errno != 0 {
		return -int(errno)
	}
	return -int(syscall.EIO)
}

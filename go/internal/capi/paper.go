// SPDX-License-Identifier: MIT OR Apache-2.0

//go:build cgo && linux

package capi

// #include <netinet/in.h>
// #include <stdlib.h>
// #include "mptcpapi.h"
// #include "mptcpapi_paper.h"
import "C"

import "unsafe"

// PaperGetsockopt is mptcpapi_getsockopt_e at IPPROTO_TCP: 0 and the length that value has afterwards, or -errno and e.
func PaperGetsockopt(fd int, name int32, value []byte, length *uint32, e *Error) int {
	*length = uint32(len(value))
	return int(C.mptcpapi_getsockopt_e(C.int(fd), C.IPPROTO_TCP, C.int(name), pointer(value),
		(*C.socklen_t)(unsafe.Pointer(length)), e.c()))
}

// PaperSetsockopt is mptcpapi_setsockopt_e at IPPROTO_TCP: 0, or -errno and e.
func PaperSetsockopt(fd int, name int32, value []byte, e *Error) int {
	return int(C.mptcpapi_setsockopt_e(C.int(fd), C.IPPROTO_TCP, C.int(name), pointer(value), C.socklen_t(len(value)), e.c()))
}

// PaperSubGetsockopt is PaperGetsockopt of MPTCP_SUB_GETSOCKOPT: 0 and how much of value was filled, or -errno and e.
func PaperSubGetsockopt(fd int, id uint8, level, name int32, value []byte, length *uint32, e *Error) int {
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
	result := C.mptcpapi_getsockopt_e(C.int(fd), C.IPPROTO_TCP, C.MPTCP_SUB_GETSOCKOPT, block, &outer, e.c())
	if result == 0 {
		*length = uint32(copy(value, unsafe.Slice((*byte)(place), int(there.length))))
	}
	return int(result)
}

// PaperSubSetsockopt is PaperSetsockopt of MPTCP_SUB_SETSOCKOPT: 0, or -errno and e.
func PaperSubSetsockopt(fd int, id uint8, level, name int32, value []byte, e *Error) int {
	size := unsafe.Sizeof(C.struct_mptcp_sub_setsockopt{})
	block := C.malloc(C.size_t(size + uintptr(len(value)) + 1))
	defer C.free(block)
	place := unsafe.Add(block, size)
	copy(unsafe.Slice((*byte)(place), len(value)), value)
	*(*C.struct_mptcp_sub_setsockopt)(block) = C.struct_mptcp_sub_setsockopt{
		id: C.__u8(id), level: C.int(level), optname: C.int(name), optval: (*C.char)(place), optlen: C.uint(len(value)),
	}
	return int(C.mptcpapi_setsockopt_e(C.int(fd), C.IPPROTO_TCP, C.MPTCP_SUB_SETSOCKOPT, block, C.socklen_t(size), e.c()))
}

// StockOptions is mptcpapi_stock_options.
func StockOptions(on bool) bool {
	var number C.int
	if on {
		number = 1
	}
	return C.mptcpapi_stock_options(number) != 0
}

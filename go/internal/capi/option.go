// SPDX-License-Identifier: MIT OR Apache-2.0

//go:build cgo && linux

package capi

// #include <stdlib.h>
// #include "mptcpapi.h"
import "C"

import "unsafe"

// Getsockopt is mptcpapi_subflow_getsockopt_e: 0 and how much of value was filled, or -errno and e.
func Getsockopt(fd int, id uint32, level, name int32, value []byte, length *uint32, e *Error) int {
	*length = uint32(len(value))
	return int(C.mptcpapi_subflow_getsockopt_e(C.int(fd), C.uint32_t(id), C.int(level), C.int(name), pointer(value),
		(*C.socklen_t)(unsafe.Pointer(length)), e.c()))
}

// Setsockopt is mptcpapi_subflow_setsockopt_e: 0, or -errno and e.
func Setsockopt(fd int, id uint32, level, name int32, value []byte, e *Error) int {
	return int(C.mptcpapi_subflow_setsockopt_e(C.int(fd), C.uint32_t(id), C.int(level), C.int(name), pointer(value),
		C.socklen_t(len(value)), e.c()))
}

// SetOption is mptcpapi_set_option_e: 0, or -errno and e.
func SetOption(fd int, level, name int32, value []byte, e *Error) int {
	return int(C.mptcpapi_set_option_e(C.int(fd), C.int(level), C.int(name), pointer(value), C.socklen_t(len(value)), e.c()))
}

// Setsockopts is mptcpapi_subflow_setsockopts_e: how many were set, and each one's Error and Kind; or -errno and e.
func Setsockopts(fd int, options []Option, e *Error) int {
	array := optionsInC(options)
	defer C.free(unsafe.Pointer(array))
	result := int(C.mptcpapi_subflow_setsockopts_e(C.int(fd), array, C.size_t(len(options)), e.c()))
	for i, outcome := range unsafe.Slice(array, len(options)) {
		options[i].Error, options[i].Kind = int32(outcome.error), uint32(outcome.kind)
	}
	return result
}

// optionsInC is a copy for C, values and all, to be freed by the caller: memory of Go that holds pointers to memory of Go
// cannot be lent.
func optionsInC(options []Option) *C.struct_mptcpapi_option {
	size := uintptr(len(options)) * unsafe.Sizeof(C.struct_mptcpapi_option{})
	length := size
	for i := range options {
		length += uintptr(len(options[i].Value))
	}
	// malloc(0) may be NULL, which Go would take for a failure.
	memory := C.malloc(C.size_t(length + 1))
	array := (*C.struct_mptcpapi_option)(memory)
	values := unsafe.Slice((*byte)(unsafe.Add(memory, size)), int(length-size))
	places := unsafe.Slice(array, len(options))
	for i := range places {
		option := &places[i]
		*option = C.struct_mptcpapi_option{
			size:    C.uint32_t(unsafe.Sizeof(*option)),
			subflow: C.uint32_t(options[i].Subflow),
			level:   C.int(options[i].Level),
			name:    C.int(options[i].Name),
			length:  C.socklen_t(len(options[i].Value)),
		}
		if len(options[i].Value) > 0 {
			option.value = unsafe.Pointer(&values[0])
			values = values[copy(values, options[i].Value):]
		}
	}
	return array
}

func pointer(value []byte) unsafe.Pointer {
	if len(value) == 0 {
		return nil
	}
	return unsafe.Pointer(&value[0])
}

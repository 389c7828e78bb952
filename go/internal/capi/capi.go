// SPDX-License-Identifier: MIT OR Apache-2.0

//go:build cgo && linux

package capi

// #include "mptcpapi.h"
import "C"

import "unsafe"

// Available: the library is part of this program.
const Available = true

// WhyMissing is empty: nothing is missing.
const WhyMissing = ""

func (e *Error) c() *C.struct_mptcpapi_error {
	e.Size = uint32(unsafe.Sizeof(*e))
	return (*C.struct_mptcpapi_error)(unsafe.Pointer(e))
}

// Socket is mptcpapi_socket_e: a descriptor, or -errno and e.
func Socket(family, flags int, e *Error) int {
	return int(C.mptcpapi_socket_e(C.int(family), C.int(flags), e.c()))
}

// Status is mptcpapi_status_e: Status..., or -errno and e.
func Status(fd int, e *Error) int {
	return int(C.mptcpapi_status_e(C.int(fd), e.c()))
}

// ReadInfo is mptcpapi_info_e: 0, or -errno and e.
func ReadInfo(fd int, info *Info, e *Error) int {
	info.Size = uint32(unsafe.Sizeof(*info))
	return int(C.mptcpapi_info_e(C.int(fd), (*C.struct_mptcpapi_info)(unsafe.Pointer(info)), e.c()))
}

// Subflows is mptcpapi_subflows: how many there are, or -errno and e. The array must not be empty.
//
// The library writes all of e with success too, which takes about as long as one more subflow. So e is only there when
// the call has failed: it is asked again, and that answer counts.
func Subflows(fd int, array []Subflow, flags int, e *Error) int {
	array[0].Size = uint32(unsafe.Sizeof(array[0]))
	first := (*C.struct_mptcpapi_subflow)(unsafe.Pointer(&array[0]))
	if count := C.mptcpapi_subflows(C.int(fd), first, C.size_t(len(array)), C.int(flags)); count >= 0 {
		return int(count)
	}
	return int(C.mptcpapi_subflows_e(C.int(fd), first, C.size_t(len(array)), C.int(flags), e.c()))
}

// Probe is mptcpapi_features_e: 0, or -errno and e.
func Probe(features *Features, e *Error) int {
	features.Size = uint32(unsafe.Sizeof(*features))
	return int(C.mptcpapi_features_e((*C.struct_mptcpapi_features)(unsafe.Pointer(features)), e.c()))
}

// LibraryVersion is mptcpapi_version.
func LibraryVersion() string {
	return C.GoString(C.mptcpapi_version())
}

// StatusName is mptcpapi_status_name. This and the next three are for the test that Go has the same words.
func StatusName(status int) string {
	return C.GoString(C.mptcpapi_status_name(C.int(status)))
}

// StateName is mptcpapi_state_name.
func StateName(state uint32) string {
	return C.GoString(C.mptcpapi_state_name(C.uint32_t(state)))
}

// PathManagerName is mptcpapi_path_manager_name.
func PathManagerName(pathManager uint32) string {
	return C.GoString(C.mptcpapi_path_manager_name(C.uint32_t(pathManager)))
}

// ErrorName is mptcpapi_error_name.
func ErrorName(kind uint32) string {
	return C.GoString(C.mptcpapi_error_name(C.uint32_t(kind)))
}

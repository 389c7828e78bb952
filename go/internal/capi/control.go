// SPDX-License-Identifier: MIT OR Apache-2.0

//go:build cgo && linux

package capi

// #include <stdlib.h>
// #include "mptcpapi.h"
import "C"

import "unsafe"

// OpenSubflow is mptcpapi_subflow_open_e: 0 and the id, or -errno and e. It waits as long as open says.
func OpenSubflow(fd int, open *Open, options []Option, id *uint32, e *Error) int {
	open.Size = uint32(unsafe.Sizeof(*open))
	if len(options) > 0 {
		array := optionsInC(options)
		defer C.free(unsafe.Pointer(array))
		open.options, open.optionCount = unsafe.Pointer(array), uintptr(len(options))
	}
	return int(C.mptcpapi_subflow_open_e(C.int(fd), (*C.struct_mptcpapi_open)(unsafe.Pointer(open)),
		(*C.uint32_t)(unsafe.Pointer(id)), e.c()))
}

// CloseSubflow is mptcpapi_subflow_close_e: 0, or -errno and e; so are those below.
func CloseSubflow(fd int, id uint32, how int, e *Error) int {
	return int(C.mptcpapi_subflow_close_e(C.int(fd), C.uint32_t(id), C.int(how), e.c()))
}

// AbandonSubflow is mptcpapi_subflow_abandon_e.
func AbandonSubflow(fd int, id uint32, e *Error) int {
	return int(C.mptcpapi_subflow_abandon_e(C.int(fd), C.uint32_t(id), e.c()))
}

// SetBackup is mptcpapi_subflow_set_backup_e.
func SetBackup(fd int, id uint32, on bool, e *Error) int {
	var number C.int
	if on {
		number = 1
	}
	return int(C.mptcpapi_subflow_set_backup_e(C.int(fd), C.uint32_t(id), number, e.c()))
}

// Announce is mptcpapi_announce_e.
func Announce(fd int, address *Sockaddr, addressId *uint8, e *Error) int {
	return int(C.mptcpapi_announce_e(C.int(fd), (*C.struct_sockaddr)(unsafe.Pointer(address)),
		C.socklen_t(unsafe.Sizeof(*address)), (*C.uint8_t)(unsafe.Pointer(addressId)), e.c()))
}

// Withdraw is mptcpapi_withdraw_e.
func Withdraw(fd int, addressId uint8, e *Error) int {
	return int(C.mptcpapi_withdraw_e(C.int(fd), C.uint8_t(addressId), e.c()))
}

// Monitor is struct mptcpapi_monitor, once New has made it and until Free.
type Monitor struct {
	c *C.struct_mptcpapi_monitor
}

// New is mptcpapi_monitor_new_e: 0, or -errno and e.
func (m *Monitor) New(fd int, e *Error) int {
	return int(C.mptcpapi_monitor_new_e(C.int(fd), 0, &m.c, e.c()))
}

// Add is mptcpapi_monitor_add_e: 0 and the token, or -errno and e.
func (m *Monitor) Add(fd int, token *uint32, e *Error) int {
	return int(C.mptcpapi_monitor_add_e(m.c, C.int(fd), (*C.uint32_t)(unsafe.Pointer(token)), e.c()))
}

// Remove is mptcpapi_monitor_remove.
func (m *Monitor) Remove(token uint32) {
	C.mptcpapi_monitor_remove(m.c, C.uint32_t(token))
}

// Source is mptcpapi_monitor_source.
func (m *Monitor) Source() int {
	return int(C.mptcpapi_monitor_source(m.c))
}

// Fd is mptcpapi_monitor_fd. It is the monitor's.
func (m *Monitor) Fd() int {
	return int(C.mptcpapi_monitor_fd(m.c))
}

// Next is mptcpapi_monitor_next without waiting: 1, 0 where there is none, or -errno.
func (m *Monitor) Next(event *Event) int {
	event.Size = uint32(unsafe.Sizeof(*event))
	return int(C.mptcpapi_monitor_next(m.c, (*C.struct_mptcpapi_event)(unsafe.Pointer(event)), 0))
}

// Free is mptcpapi_monitor_free.
func (m *Monitor) Free() {
	C.mptcpapi_monitor_free(m.c)
	m.c = nil
}

// PathWatch is struct mptcpapi_path_watch, once New has made it and until Free.
type PathWatch struct {
	c *C.struct_mptcpapi_path_watch
}

// New is mptcpapi_path_watch_new_e: 0, or -errno and e.
func (w *PathWatch) New(fd, stallMs, flags int, e *Error) int {
	return int(C.mptcpapi_path_watch_new_e(C.int(fd), C.int(stallMs), C.int(flags), &w.c, e.c()))
}

// Fd is mptcpapi_path_watch_fd. It is the watch's.
func (w *PathWatch) Fd() int {
	return int(C.mptcpapi_path_watch_fd(w.c))
}

// Next is mptcpapi_path_watch_next without waiting: 1, 0 where there is none, or -errno.
func (w *PathWatch) Next(event *PathEvent) int {
	event.Size = uint32(unsafe.Sizeof(*event))
	return int(C.mptcpapi_path_watch_next(w.c, (*C.struct_mptcpapi_path_event)(unsafe.Pointer(event)), 0))
}

// Free is mptcpapi_path_watch_free.
func (w *PathWatch) Free() {
	C.mptcpapi_path_watch_free(w.c)
	w.c = nil
}

// EventName is mptcpapi_event_name. This and the next two are for the test that Go has the same words.
func EventName(kind uint32) string {
	return C.GoString(C.mptcpapi_event_name(C.uint32_t(kind)))
}

// PathEventName is mptcpapi_path_event_name.
func PathEventName(kind uint32) string {
	return C.GoString(C.mptcpapi_path_event_name(C.uint32_t(kind)))
}

// SourceName is mptcpapi_source_name.
func SourceName(source int) string {
	return C.GoString(C.mptcpapi_source_name(C.int(source)))
}

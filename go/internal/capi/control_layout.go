// SPDX-License-Identifier: MIT OR Apache-2.0

//go:build cgo && linux

package capi

// #include "mptcpapi.h"
import "C"

import "unsafe"

// As in layout.go.
func controlLayout(open C.struct_mptcpapi_open, event C.struct_mptcpapi_event, pathEvent C.struct_mptcpapi_path_event) {
	_ = same[unsafe.Sizeof(Open{})-unsafe.Sizeof(open)]
	_ = same[unsafe.Offsetof(Open{}.Size)-unsafe.Offsetof(open.size)]
	_ = same[unsafe.Sizeof(Open{}.Size)-unsafe.Sizeof(open.size)]
	_ = same[unsafe.Offsetof(Open{}.TimeoutMs)-unsafe.Offsetof(open.timeout_ms)]
	_ = same[unsafe.Sizeof(Open{}.TimeoutMs)-unsafe.Sizeof(open.timeout_ms)]
	_ = same[unsafe.Offsetof(Open{}.Local)-unsafe.Offsetof(open.local)]
	_ = same[unsafe.Sizeof(Open{}.Local)-unsafe.Sizeof(open.local)]
	_ = same[unsafe.Offsetof(Open{}.Remote)-unsafe.Offsetof(open.remote)]
	_ = same[unsafe.Sizeof(Open{}.Remote)-unsafe.Sizeof(open.remote)]
	_ = same[unsafe.Offsetof(Open{}.Backup)-unsafe.Offsetof(open.backup)]
	_ = same[unsafe.Sizeof(Open{}.Backup)-unsafe.Sizeof(open.backup)]
	_ = same[unsafe.Offsetof(Open{}.CancelFd)-unsafe.Offsetof(open.cancel_fd)]
	_ = same[unsafe.Sizeof(Open{}.CancelFd)-unsafe.Sizeof(open.cancel_fd)]
	_ = same[unsafe.Offsetof(Open{}.Interface)-unsafe.Offsetof(open._interface)]
	_ = same[unsafe.Sizeof(Open{}.Interface)-unsafe.Sizeof(open._interface)]
	_ = same[unsafe.Offsetof(Open{}.options)-unsafe.Offsetof(open.options)]
	_ = same[unsafe.Sizeof(Open{}.options)-unsafe.Sizeof(open.options)]
	_ = same[unsafe.Offsetof(Open{}.optionCount)-unsafe.Offsetof(open.option_count)]
	_ = same[unsafe.Sizeof(Open{}.optionCount)-unsafe.Sizeof(open.option_count)]

	_ = same[unsafe.Sizeof(Event{})-unsafe.Sizeof(event)]
	_ = same[unsafe.Offsetof(Event{}.Size)-unsafe.Offsetof(event.size)]
	_ = same[unsafe.Sizeof(Event{}.Size)-unsafe.Sizeof(event.size)]
	_ = same[unsafe.Offsetof(Event{}.Kind)-unsafe.Offsetof(event.kind)]
	_ = same[unsafe.Sizeof(Event{}.Kind)-unsafe.Sizeof(event.kind)]
	_ = same[unsafe.Offsetof(Event{}.Token)-unsafe.Offsetof(event.token)]
	_ = same[unsafe.Sizeof(Event{}.Token)-unsafe.Sizeof(event.token)]
	_ = same[unsafe.Offsetof(Event{}.Subflow)-unsafe.Offsetof(event.subflow)]
	_ = same[unsafe.Sizeof(Event{}.Subflow)-unsafe.Sizeof(event.subflow)]
	_ = same[unsafe.Offsetof(Event{}.Error)-unsafe.Offsetof(event.error)]
	_ = same[unsafe.Sizeof(Event{}.Error)-unsafe.Sizeof(event.error)]
	_ = same[unsafe.Offsetof(Event{}.ResetReason)-unsafe.Offsetof(event.reset_reason)]
	_ = same[unsafe.Sizeof(Event{}.ResetReason)-unsafe.Sizeof(event.reset_reason)]
	_ = same[unsafe.Offsetof(Event{}.AddressId)-unsafe.Offsetof(event.address_id)]
	_ = same[unsafe.Sizeof(Event{}.AddressId)-unsafe.Sizeof(event.address_id)]
	_ = same[unsafe.Offsetof(Event{}.Backup)-unsafe.Offsetof(event.backup)]
	_ = same[unsafe.Sizeof(Event{}.Backup)-unsafe.Sizeof(event.backup)]
	_ = same[unsafe.Offsetof(Event{}.Polled)-unsafe.Offsetof(event.polled)]
	_ = same[unsafe.Sizeof(Event{}.Polled)-unsafe.Sizeof(event.polled)]
	_ = same[unsafe.Offsetof(Event{}.Local)-unsafe.Offsetof(event.local)]
	_ = same[unsafe.Sizeof(Event{}.Local)-unsafe.Sizeof(event.local)]
	_ = same[unsafe.Offsetof(Event{}.Remote)-unsafe.Offsetof(event.remote)]
	_ = same[unsafe.Sizeof(Event{}.Remote)-unsafe.Sizeof(event.remote)]
	_ = same[unsafe.Offsetof(Event{}.Last)-unsafe.Offsetof(event.last)]
	_ = same[unsafe.Sizeof(Event{}.Last)-unsafe.Sizeof(event.last)]

	_ = same[unsafe.Sizeof(PathEvent{})-unsafe.Sizeof(pathEvent)]
	_ = same[unsafe.Offsetof(PathEvent{}.Size)-unsafe.Offsetof(pathEvent.size)]
	_ = same[unsafe.Sizeof(PathEvent{}.Size)-unsafe.Sizeof(pathEvent.size)]
	_ = same[unsafe.Offsetof(PathEvent{}.Kind)-unsafe.Offsetof(pathEvent.kind)]
	_ = same[unsafe.Sizeof(PathEvent{}.Kind)-unsafe.Sizeof(pathEvent.kind)]
	_ = same[unsafe.Offsetof(PathEvent{}.Subflow)-unsafe.Offsetof(pathEvent.subflow)]
	_ = same[unsafe.Sizeof(PathEvent{}.Subflow)-unsafe.Sizeof(pathEvent.subflow)]
	_ = same[unsafe.Offsetof(PathEvent{}.Local)-unsafe.Offsetof(pathEvent.local)]
	_ = same[unsafe.Sizeof(PathEvent{}.Local)-unsafe.Sizeof(pathEvent.local)]
	_ = same[unsafe.Offsetof(PathEvent{}.Interface)-unsafe.Offsetof(pathEvent._interface)]
	_ = same[unsafe.Sizeof(PathEvent{}.Interface)-unsafe.Sizeof(pathEvent._interface)]
}

// SPDX-License-Identifier: MIT OR Apache-2.0

package capi

import "unsafe"

// Open is struct mptcpapi_open. Its options are memory of C, or none: see OpenSubflow.
type Open struct {
	Size        uint32
	TimeoutMs   uint32
	Local       Sockaddr
	Remote      Sockaddr
	Backup      uint8
	_           [3]uint8
	CancelFd    int32
	Interface   [16]byte
	options     unsafe.Pointer
	optionCount uintptr
}

// Option is struct mptcpapi_option, with a value of Go.
type Option struct {
	Subflow uint32
	Level   int32
	Name    int32
	Value   []byte
	Error   int32
	Kind    uint32
}

// Event is struct mptcpapi_event.
type Event struct {
	Size        uint32
	Kind        uint32
	Token       uint32
	Subflow     uint32
	Error       int32
	ResetReason int32
	AddressId   int16
	Backup      int8
	Polled      uint8
	_           uint32
	Local       Sockaddr
	Remote      Sockaddr
	_           [8]uint64
	Last        Subflow
}

// PathEvent is struct mptcpapi_path_event.
type PathEvent struct {
	Size      uint32
	Kind      uint32
	Subflow   uint32
	_         uint32
	Local     Sockaddr
	Interface [16]byte
}

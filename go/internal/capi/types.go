// SPDX-License-Identifier: MIT OR Apache-2.0

// Package capi is libmptcpapi as Go sees it: the only package that uses cgo. Without cgo it has the same names, and every
// call says that it is missing.
//
// The structs mirror those of mptcpapi.h field by field; layout.go checks that at compile time. They hold no Go pointers,
// so memory of Go can be handed to C.
package capi

// Subflow is struct mptcpapi_subflow.
type Subflow struct {
	Size             uint32
	Id               uint32
	Local            Sockaddr
	Remote           Sockaddr
	Flags            uint32
	State            uint32
	RttUs            uint32
	RttvarUs         uint32
	SndCwnd          uint32
	Mss              uint32
	BytesSent        uint64
	BytesAcked       uint64
	BytesReceived    uint64
	BytesRetrans     uint64
	DeliveryRate     uint64
	Retransmits      uint32
	Unacked          uint32
	LastAckMs        uint32
	Initial          uint8
	Backup           uint8
	BackupByPeer     uint8
	FullyEstablished uint8
	LocalId          int16
	RemoteId         int16
	Tos              uint8
	_                [3]uint8
	Congestion       [16]byte
	Interface        [16]byte
}

// Info is struct mptcpapi_info.
type Info struct {
	Size          uint32
	Token         uint32
	Subflows      uint32
	Retransmits   uint32
	BytesSent     uint64
	BytesReceived uint64
	BytesAcked    uint64
	BytesRetrans  uint64
	PathManager   uint32
	Fallback      uint8
	ServerSide    int8
	_             [2]uint8
}

// Features is struct mptcpapi_features.
type Features struct {
	Size             uint32
	SocketErrno      int32
	Mptcp            uint8
	Info             uint8
	FullInfo         uint8
	Detail           uint8
	PathManagerKnown uint8
	NetAdmin         uint8
	_                [2]uint8
	PathManager      uint32
	Hint             [128]byte
	SubflowOptions   uint8
	Agent            uint8
	_                [2]uint8
}

// Error is struct mptcpapi_error.
type Error struct {
	Size          uint32
	Kind          uint32
	Error         int32
	Subflow       uint32
	Operation     [32]byte
	KernelMessage [128]byte
	Hint          [192]byte
	Message       [512]byte
}

// Text is a C string in an array: up to its zero byte.
func Text(array []byte) string {
	for i, b := range array {
		if b == 0 {
			return string(array[:i])
		}
	}
	return string(array)
}

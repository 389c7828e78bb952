// SPDX-License-Identifier: MIT OR Apache-2.0

//go:build cgo && linux && (amd64 || arm64) && !mptcpapi_system

package capi

// By full path, so that no other libmptcpapi on this machine is taken by chance. If this file is missing: "make go-lib".

// #cgo linux,amd64 LDFLAGS: ${SRCDIR}/lib/linux_amd64/libmptcpapi.a -lpthread -ldl
// #cgo linux,arm64 LDFLAGS: ${SRCDIR}/lib/linux_arm64/libmptcpapi.a -lpthread -ldl
import "C"

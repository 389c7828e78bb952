// SPDX-License-Identifier: MIT OR Apache-2.0

//go:build cgo && linux && (mptcpapi_system || !(amd64 || arm64))

package capi

// The installed library, by pkg-config; its header must be the one beside this file, or newer.

// #cgo pkg-config: mptcpapi
import "C"

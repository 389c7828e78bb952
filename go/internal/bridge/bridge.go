// SPDX-License-Identifier: MIT OR Apache-2.0

// Package bridge lends what is not exported of package mptcpapi to the other packages of this module.
package bridge

import (
	"syscall"

	"github.com/mptcpapi/mptcpapi/go/internal/capi"
)

// Control runs call, which answers -errno and e for a failure, with the descriptor of conn. An error is of type
// *mptcpapi.OpError. Package mptcpapi sets it.
var Control func(op string, conn syscall.Conn, call func(fd int, e *capi.Error) int) error

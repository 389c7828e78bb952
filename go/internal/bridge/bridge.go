// SPDX-License-Identifier: MIT OR Apache-2.0

// Package bridge lends what is not exported of package mptcpapi to the other packages of this module.
package bridge

import "syscall"

// Control runs call with the descriptor of conn. An error is of type *mptcpapi.OpError. Package mptcpapi sets it.
var Control func(op string, conn syscall.Conn, call func(fd int)) error

// SPDX-License-Identifier: MIT OR Apache-2.0

// Package linux_arm64 holds libmptcpapi.a. It is a package so that "go mod vendor" keeps the directory.
package linux_arm64

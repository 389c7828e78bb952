// SPDX-License-Identifier: MIT OR Apache-2.0

//go:build mptcpapi_never

package capi

// Never built: "go mod vendor" keeps the directories of the static libraries because they are imported here.
import (
	_ "github.com/mptcpapi/mptcpapi/go/internal/capi/lib/linux_amd64"
	_ "github.com/mptcpapi/mptcpapi/go/internal/capi/lib/linux_arm64"
)

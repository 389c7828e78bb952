// SPDX-License-Identifier: MIT OR Apache-2.0

//go:build !linux

package mptcpapi

import (
	"context"
	"net"
)

func (d *dialer) dial(context.Context, string) (*net.TCPConn, error) {
	return nil, unavailable("dial")
}

func listen(context.Context, string, string) (net.Listener, error) {
	return nil, unavailable("listen")
}

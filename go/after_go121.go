// SPDX-License-Identifier: MIT OR Apache-2.0

//go:build go1.21

package mptcpapi

import "context"

// afterDone calls f in a goroutine of its own when ctx ends. No goroutine waits for that. stop answers whether f will not
// be called any more.
func afterDone(ctx context.Context, f func()) (stop func() bool) {
	return context.AfterFunc(ctx, f)
}

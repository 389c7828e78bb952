// SPDX-License-Identifier: MIT OR Apache-2.0

//go:build !go1.21

package mptcpapi

import (
	"context"
	"sync/atomic"
)

// afterDone calls f in a goroutine of its own when ctx ends. stop answers whether f will not be called any more. Before
// Go 1.21 it takes a goroutine that waits.
func afterDone(ctx context.Context, f func()) (stop func() bool) {
	if ctx.Done() == nil {
		return func() bool { return true }
	}
	var decided atomic.Bool
	quit := make(chan struct{})
	go func() {
		select {
		case <-ctx.Done():
			if decided.CompareAndSwap(false, true) {
				f()
			}
		case <-quit:
		}
	}()
	return func() bool {
		if !decided.CompareAndSwap(false, true) {
			return false
		}
		close(quit)
		return true
	}
}

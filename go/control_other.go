// SPDX-License-Identifier: MIT OR Apache-2.0

//go:build !linux

package mptcpapi

import "context"

func (c *Conn) openSubflow(_ context.Context, op string, _ Open) (Subflow, error) {
	return Subflow{}, unavailable(op)
}

func (c *Conn) events(_ context.Context, op string) (<-chan Event, error) {
	return nil, unavailable(op)
}

func (c *Conn) eventSource(op string) (EventSource, error) {
	return 0, unavailable(op)
}

func (c *Conn) pathEvents(_ context.Context, op string, _ PathOptions) (<-chan PathEvent, error) {
	return nil, unavailable(op)
}

// SPDX-License-Identifier: MIT OR Apache-2.0

package mptcpapi

import (
	"context"
	"net/netip"
	"time"

	"github.com/mptcpapi/mptcpapi/go/internal/capi"
)

// PathEventKind is what has happened to a path.
type PathEventKind uint32

const (
	// PathLinkDown: the interface of a subflow lost its carrier, or was set down.
	PathLinkDown PathEventKind = capi.PathEventLinkDown
	// PathLinkUp: an interface works again. Of no subflow.
	PathLinkUp PathEventKind = capi.PathEventLinkUp
	// PathAddressRemoved: the local address of a subflow was removed.
	PathAddressRemoved PathEventKind = capi.PathEventAddressRemoved
	// PathStalled: nothing came back on a subflow for longer than the limit, although something was under way.
	PathStalled PathEventKind = capi.PathEventStalled
	// PathResumed: a subflow that had stalled goes on.
	PathResumed PathEventKind = capi.PathEventResumed
	// PathClosed: the connection is over, or fell back to TCP. Of no subflow; the channel is closed next.
	PathClosed PathEventKind = capi.PathEventClosed
)

var pathEventKindNames = [...]string{
	PathLinkDown:       "link_down",
	PathLinkUp:         "link_up",
	PathAddressRemoved: "address_removed",
	PathStalled:        "stalled",
	PathResumed:        "resumed",
	PathClosed:         "closed",
}

// String is the word used in every language: "link_down" and so on.
func (k PathEventKind) String() string {
	return nameOf("PathEventKind", pathEventKindNames[:], uint32(k))
}

// PathOptions is what to look for.
type PathOptions struct {
	// Stall is after how long without an answer a subflow counts as stalled: at least the round trip and 10 ms, in steps of
	// a millisecond. 0 stands for 50 ms; negative: never.
	Stall time.Duration
	// ExpectData: the peer is to send without pause, as in a download. A subflow that has brought data and brings none for
	// that long has stalled too. Else only what was sent and is not acknowledged counts.
	ExpectData bool
}

// PathEvent is one thing that has happened to one path.
type PathEvent struct {
	// Kind is what has happened. A newer library may tell kinds that have no constant here.
	Kind PathEventKind
	// Subflow is the subflow concerned; 0 of PathLinkUp and PathClosed.
	Subflow uint32
	// Local is its local address, or one of the interface that works again; not valid where unknown.
	Local netip.Addr
	// Interface is the name of the interface; empty where unknown.
	Interface string
}

// PathEvents watches the paths of the connection, from now until it is over or ctx ends: its links and addresses, and its subflows for
// stalls. It is what the kernel gives no MPTCP event for. The connection must be connected, or connecting.
//
// The channel is closed when ctx ends, or after PathClosed. The connection is not kept open. There is one goroutine, which waits in Go's poller and holds no thread; it waits for a reader that is slow.
//
// Needs no privilege. Linux 5.16.
//
// Errors: ErrNotReady on an unconnected or listening socket; ErrNotMptcp; ErrFellBack; EXDEV where the socket is in another
// network namespace than the calling thread; EMFILE and the like; EBADF and net.ErrClosed where the connection is closed;
// the error of a ctx that has ended.
//
// Source: rtnetlink for links and addresses, MPTCP_FULL_INFO for stalls, looked at ten times within the limit.
func (c *Conn) PathEvents(ctx context.Context, options PathOptions) (<-chan PathEvent, error) {
	const op = "path_watch"
	if err := c.usableUntil(ctx, op); err != nil {
		return nil, err
	}
	return c.pathEvents(ctx, op, options)
}

// pathEventOf translates the library's event.
func pathEventOf(c *capi.PathEvent) PathEvent {
	return PathEvent{
		Kind:      PathEventKind(c.Kind),
		Subflow:   c.Subflow,
		Local:     c.Local.AddrPort().Addr(),
		Interface: capi.Text(c.Interface[:]),
	}
}
